package process

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// helperExecutable is a path of this program for the helpers, which exists in children as well. It is a copy in memory
// that nobody can change: the processes of a sandbox find what a helper runs in /proc, and as the sandbox's root could
// give the host's own file another mode. All runtimes of this process share it, until the process ends.
var helperExecutable = sync.OnceValues(func() (string, error) {
	fd, err := sealedCopy(selfExecutable)
	if err != nil {
		return "", fmt.Errorf("copy this program: %w", err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
})

// sealedCopy returns a descriptor of a file in memory with the content of another one.
func sealedCopy(name string) (int, error) {
	original, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer original.Close()
	fd, err := newMemoryFile()
	if err != nil {
		return 0, err
	}
	memory := os.NewFile(uintptr(fd), "memory")
	defer memory.Close()
	if _, err := io.Copy(memory, original); err != nil {
		return 0, err
	}
	if err := seal(fd); err != nil {
		return 0, err
	}
	// A high number, because children put their own descriptors at low ones before they run the file.
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 16)
}

// newMemoryFile says that the file is to be run, which kernels before 6.3 neither know nor need.
func newMemoryFile() (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("cwsandbox", flags|unix.MFD_EXEC)
	if err == unix.EINVAL {
		fd, err = unix.MemfdCreate("cwsandbox", flags)
	}
	return fd, os.NewSyscallError("memfd_create", err)
}

// seal fixes the content of a file in memory and, since kernel 6.3, that it can be run.
func seal(fd int) error {
	const content = unix.F_SEAL_WRITE | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, content|unix.F_SEAL_EXEC|unix.F_SEAL_SEAL)
	if err == unix.EINVAL {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, content|unix.F_SEAL_SEAL)
	}
	return os.NewSyscallError("seal", err)
}
