//go:build unix

package reaper

import (
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// detach cuts what still ties the helper to the program and its surroundings.
func detach() {
	signal.Ignore(syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE)
	os.Unsetenv(roleVariable)
	unix.CloseOnExec(ordersFD)
	unix.CloseOnExec(confirmationsFD)
	closeInherited()
}

// closeInherited closes the descriptors that the program itself was started with, such as the other end of a pipeline:
// they are the ones above ours that survive an exec. Those of the Go runtime do not.
func closeInherited() {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // no way to tell which ones there are
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		if err != nil || fd <= confirmationsFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
}
