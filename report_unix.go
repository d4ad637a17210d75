//go:build unix

package cwsandbox

import (
	"os"

	"golang.org/x/sys/unix"
)

// duplicateStderr returns standard error under another descriptor: writing to a closed pipe on descriptor 2 itself would
// kill a Go program.
func duplicateStderr() (*os.File, error) { return privateCopy(os.Stderr) }

// privateCopy returns another descriptor of a file, which programs that this one starts do not get.
func privateCopy(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
