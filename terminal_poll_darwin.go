package cwsandbox

import (
	"errors"

	"golang.org/x/sys/unix"
)

// awaitInput waits until fd can be read, or has hung up, and reports false when wake can be read. It does not use poll,
// which has known systems on which terminals do not work with it.
func awaitInput(fd, wake int) (bool, error) {
	if max(fd, wake) >= unix.FD_SETSIZE {
		return false, errors.New("too many open files to wait for keys")
	}
	for {
		var both unix.FdSet
		both.Set(fd)
		both.Set(wake)
		_, err := unix.Select(max(fd, wake)+1, &both, nil, nil, nil)
		if err == unix.EINTR {
			continue
		}
		return err == nil && !both.IsSet(wake), err
	}
}
