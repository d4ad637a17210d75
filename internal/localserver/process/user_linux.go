package process

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// isRoot reports whether the processes of the container run as its root, as init itself does.
func (in *initProcess) isRoot() bool { return in.security.User == 0 && in.security.Group == 0 }

// credential is that of processes that are started.
func (in *initProcess) credential() *syscall.Credential {
	if in.isRoot() {
		return nil
	}
	return &syscall.Credential{Uid: in.security.User, Gid: in.security.Group}
}

// handOver gives the standard streams of a process to its user, who may want to open them again by their names in /dev.
func (in *initProcess) handOver(fds []int) error {
	if in.isRoot() {
		return nil
	}
	for _, fd := range fds {
		if err := unix.Fchown(fd, int(in.security.User), int(in.security.Group)); err != nil {
			return fmt.Errorf("hand over a stream: %w", err)
		}
	}
	return nil
}

// becomeUser makes files open to this thread as they are to the container's user, until the function that it returns is
// called.
func (in *initProcess) becomeUser() (back func()) {
	if in.isRoot() {
		return func() {}
	}
	setFileOwner(int(in.security.User), int(in.security.Group))
	return func() { setFileOwner(0, 0) }
}

// setFileOwner concerns the calling thread only. The calls report no failure that a thread which may change its user could
// meet.
func setFileOwner(uid, gid int) {
	_ = unix.Setfsgid(gid)
	_ = unix.Setfsuid(uid)
}
