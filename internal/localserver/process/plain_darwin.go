package process

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownSession starts a process in a session of its own.
func ownSession(terminal bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: terminal}
}

// awaitEnd waits until a child has ended and leaves it in place, so that its number stays taken.
func awaitEnd(pid int) {
	const processID = 1   // the kind of number that follows
	var ignored [128]byte // room for what the system has to tell
	where := unsafe.Pointer(&ignored)
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, processID, uintptr(pid), uintptr(where),
			syscall.WEXITED|syscall.WNOWAIT, 0, 0)
		if errno != unix.EINTR {
			return
		}
	}
}

// killRemains kills the process group of a child that has not been waited for.
func killRemains(pid int) {
	_ = unix.Kill(-pid, unix.SIGKILL) // fails only when it is empty
}
