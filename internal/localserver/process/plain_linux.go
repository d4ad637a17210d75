package process

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// ownSession starts a process in a session of its own that does not outlive the thread which starts it.
func ownSession(terminal bool) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setsid: true, Setctty: terminal, Pdeathsig: unix.SIGKILL}
}

// awaitEnd waits until a child has ended and leaves it in place, so that its number stays taken.
func awaitEnd(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// killRemains kills the session of a child that has not been waited for.
func killRemains(pid int) { killSession(pid) }
