package process

import (
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A reaper starts the children of this process and waits for them and for every orphan that it inherits. Nothing else
// may wait for children here.
type reaper struct {
	// leaving runs for a known child that has ended while its number is still taken.
	leaving func(pid int)
	// ended reports a known child.
	ended func(id uint64, status unix.WaitStatus)

	mu       sync.Mutex
	started  sync.Cond
	children map[int]uint64 // by process id
	stopping bool
}

func newReaper(leaving func(pid int), ended func(id uint64, status unix.WaitStatus)) *reaper {
	r := &reaper{leaving: leaving, ended: ended, children: make(map[int]uint64)}
	r.started.L = &r.mu
	return r
}

// start runs fork and remembers the child under id. The loop does not take the child away meanwhile, however quickly
// it ends.
func (r *reaper) start(id uint64, fork func() (pid int, err error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return errStopping
	}
	pid, err := fork()
	if err != nil {
		return err
	}
	r.children[pid] = id
	r.started.Signal()
	return nil
}

// with calls f with the process id of a child that has not been waited for.
func (r *reaper) with(id uint64, f func(pid int)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pid, child := range r.children {
		if child == id {
			f(pid)
			return
		}
	}
}

// stop refuses further children; run returns when there are none left.
func (r *reaper) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopping = true
}

// run waits for children until stop was called and the last one is gone.
func (r *reaper) run() error {
	for {
		pid, err := nextEnded()
		switch err {
		case nil:
			r.reap(pid)
		case unix.EINTR:
		case unix.ECHILD:
			if r.awaitChild() {
				return nil
			}
		default:
			return os.NewSyscallError("waitid", err)
		}
	}
}

func (r *reaper) reap(pid int) {
	r.mu.Lock()
	id, known := r.children[pid]
	if known {
		delete(r.children, pid)
		r.leaving(pid)
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(pid, &status, 0, nil)
	r.mu.Unlock()
	if known && err == nil {
		r.ended(id, status)
	}
}

// awaitChild waits for a child to be there, and reports whether there will never be one again.
func (r *reaper) awaitChild() (over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.children) == 0 && !r.stopping {
		r.started.Wait()
	}
	return len(r.children) == 0
}

// nextEnded waits for a child to end and leaves it in place.
func nextEnded() (pid int, err error) {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	// The process id is the first member of a union, which begins at a multiple of the size of a pointer.
	const word = unsafe.Sizeof(uintptr(0))
	const offset = (3*unsafe.Sizeof(int32(0)) + word - 1) / word * word
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), offset))), nil
}
