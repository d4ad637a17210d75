package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// An initProcess is PID 1 of a container.
type initProcess struct {
	conn     *conn
	reaper   *reaper
	main     uint64 // the request that started the main process
	mainCode int
	dir      string // where relative paths start
	security container.Security
}

// runInit is the life of an init: it makes the root file system, starts the main process and then what it is asked
// for, until the main process ends or the server goes. Its own end ends every process of the container.
func runInit() error {
	// Children are started and files opened on this thread, which gives up the rights that a container must not have.
	runtime.LockOSThread()
	c, err := newConn(controlFD)
	if err != nil {
		return err
	}
	ignoreSignals()
	in := &initProcess{conn: c}
	in.reaper = newReaper(killSession, in.childEnded)
	for {
		var req request
		fds, err := c.receive(&req)
		if err != nil {
			return nil
		}
		answer, sent := in.handle(&req, fds)
		closeFDs(fds)
		if req.Signal == nil {
			answer.ID = req.ID
			err = c.send(&answer, sent...)
		}
		closeFDs(sent)
		if err != nil {
			return nil
		}
		if req.Root != nil && answer.err() == nil {
			// Not before the answer is out: a main process that is quick takes this process with it.
			go in.reap()
		}
	}
}

// handle serves one request. The descriptors that it returns go to the server.
func (in *initProcess) handle(req *request, fds []int) (reply, []int) {
	switch {
	case req.Root != nil:
		return failed(in.begin(req, fds)), nil
	case req.Run != nil:
		master, err := in.run(req.ID, req.Run, fds)
		return failed(err), master
	case req.Signal != nil:
		in.signal(req.Signal)
		return reply{}, nil
	case req.Open != nil:
		file, err := in.open(req.Open)
		return failed(err), file
	default:
		return failed(errors.New("unknown request to init")), nil
	}
}

// begin builds the container and starts its main process.
func (in *initProcess) begin(req *request, fds []int) error {
	if err := buildRoot(req.Root); err != nil {
		return err
	}
	in.dir, in.security = req.Root.WorkingDir, req.Root.Security
	if err := restrict(in.security); err != nil {
		return fmt.Errorf("give up rights: %w", err)
	}
	in.main = req.ID
	_, err := in.run(req.ID, req.Run, fds)
	return err
}

// reap waits for children until the main process and then all others have ended, and takes the container down.
func (in *initProcess) reap() {
	err := in.reaper.run()
	if err == nil {
		in.report(in.main, in.mainCode)
	}
	leave(roleInit, err)
}

func (in *initProcess) childEnded(id uint64, status unix.WaitStatus) {
	if id != in.main {
		in.report(id, exitCode(status))
		return
	}
	in.mainCode = exitCode(status)
	in.reaper.stop()
	// As PID 1 this reaches every process of the container, including those that are being forked.
	_ = unix.Kill(-1, unix.SIGKILL)
}

func (in *initProcess) report(id uint64, code int) {
	// When this cannot be sent the server is gone, and so will we be.
	_ = in.conn.send(&reply{ID: id, Ended: true, Code: code})
}

// run starts a process. For one with a terminal it returns the terminal's other side.
func (in *initProcess) run(id uint64, run *runCommand, fds []int) (master []int, err error) {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer unix.Close(null)

	var files []uintptr
	switch {
	case run.TTY != nil:
		m, slave, err := openTerminal(*run.TTY)
		if err != nil {
			return nil, fmt.Errorf("open terminal: %w", err)
		}
		defer unix.Close(slave)
		fds = []int{slave}
		master, files = []int{m}, descriptorTable(slave, slave, slave)
	case run.Stdin && len(fds) == 3:
		files = descriptorTable(fds...)
	case !run.Stdin && len(fds) == 2:
		files = descriptorTable(null, fds[0], fds[1])
	default:
		return nil, fmt.Errorf("got %d streams", len(fds))
	}
	err = in.handOver(fds)
	if err == nil {
		err = in.fork(id, run, files)
	}
	if err != nil {
		closeFDs(master)
		return nil, err
	}
	return master, nil
}

func descriptorTable(fds ...int) []uintptr {
	table := make([]uintptr, len(fds))
	for i, fd := range fds {
		table[i] = uintptr(fd)
	}
	return table
}

func (in *initProcess) fork(id uint64, run *runCommand, files []uintptr) error {
	file, argv, env := selfExecutable, []string{roleIdle}, run.Env
	if len(run.Argv) > 0 {
		var err error
		if file, err = lookPath(run.Argv[0], run.Dir, env["PATH"]); err != nil {
			return err
		}
		argv = run.Argv
	} else {
		env = mergeEnv(env, map[string]string{roleVariable: roleIdle})
	}
	if info, err := os.Stat(run.Dir); err != nil || !info.IsDir() {
		return &container.StartError{Code: codeNotExecutable, Text: run.Dir + ": working directory is missing"}
	}
	return in.reaper.start(id, func() (int, error) {
		pid, err := syscall.ForkExec(file, argv, &syscall.ProcAttr{
			Dir:   run.Dir,
			Env:   environ(env),
			Files: files,
			Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: run.TTY != nil, Credential: in.credential()},
		})
		if err != nil {
			return 0, startError(run.name(), err)
		}
		return pid, nil
	})
}

func (r *runCommand) name() string {
	if len(r.Argv) == 0 {
		return roleIdle
	}
	return r.Argv[0]
}

// openTerminal makes a terminal in the container's own instance of the terminals' file system.
func openTerminal(s container.Size) (master, slave int, err error) {
	m, t, err := pty.Open()
	if err != nil {
		return 0, 0, err
	}
	defer m.Close()
	defer t.Close()
	if err := setSize(int(t.Fd()), sizeOrDefault(s)); err != nil {
		return 0, 0, err
	}
	if master, err = duplicate(m); err != nil {
		return 0, 0, err
	}
	if slave, err = duplicate(t); err != nil {
		unix.Close(master)
		return 0, 0, err
	}
	return master, slave, nil
}

// duplicate returns a descriptor that lives on when f is closed or collected.
func duplicate(f *os.File) (int, error) {
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

func (in *initProcess) signal(s *signalChild) {
	in.reaper.with(s.Target, func(pid int) {
		_ = unix.Kill(-pid, unix.Signal(s.Signal)) // fails only when it has just ended
		if s.Session {
			killSession(pid)
		}
	})
}

func (in *initProcess) open(o *openFile) ([]int, error) {
	defer in.becomeUser()()
	tree := rootTree{dir: in.dir}
	var f *os.File
	var err error
	if o.Write {
		f, err = openToWrite(tree, o.Path, o.Strict)
	} else {
		f, err = openToRead(tree, o.Path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fd, err := duplicate(f)
	if err != nil {
		return nil, err
	}
	return []int{fd}, nil
}

// A rootTree resolves paths as any process of the container does: below its root, from its working directory.
type rootTree struct{ dir string }

// OpenFile refuses names in /proc that stand for what this process itself has open: its standard error, say, is the
// server's.
func (t rootTree) OpenFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	how := unix.OpenHow{Flags: uint64(flag | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_MAGICLINKS}
	if flag&os.O_CREATE != 0 {
		how.Mode = uint64(perm)
	}
	for {
		fd, err := unix.Openat2(unix.AT_FDCWD, t.path(name), &how)
		if err == nil {
			return os.NewFile(uintptr(fd), name), nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

func (t rootTree) MkdirAll(name string, perm os.FileMode) error {
	return os.MkdirAll(t.path(name), perm)
}

// path does not clean name, because ".." behind a link is not what it looks like.
func (t rootTree) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return t.dir + "/" + name
}
