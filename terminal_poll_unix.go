//go:build unix && !darwin

package cwsandbox

import "golang.org/x/sys/unix"

// awaitInput waits until fd can be read, or has hung up, and reports false when wake can be read.
func awaitInput(fd, wake int) (bool, error) {
	both := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(both, -1)
		if err == unix.EINTR {
			continue
		}
		return err == nil && both[1].Revents == 0, err
	}
}
