//go:build linux || darwin

package process

import (
	"errors"
	"os"
	"path"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// A fileTree is where paths of a container are resolved.
type fileTree interface {
	OpenFile(name string, flag int, perm os.FileMode) (*os.File, error)
	MkdirAll(name string, perm os.FileMode) error
}

// openToRead opens a regular file. Anything else is refused without waiting for it.
func openToRead(tree fileTree, name string) (*os.File, error) {
	return openRegular(tree, name, os.O_RDONLY)
}

// openToWrite opens or creates a regular file and leaves its content alone. Unless strict is set, missing parent
// directories are made.
func openToWrite(tree fileTree, name string, strict bool) (*os.File, error) {
	f, err := openRegular(tree, name, os.O_WRONLY|os.O_CREATE)
	if refused := (*container.FileError)(nil); strict || !errors.As(err, &refused) || refused.Kind != container.FileNotFound {
		return f, err
	}
	if err := tree.MkdirAll(path.Dir(name), 0o755); err != nil {
		return nil, fileError(name, err)
	}
	return openRegular(tree, name, os.O_WRONLY|os.O_CREATE)
}

func openRegular(tree fileTree, name string, flag int) (*os.File, error) {
	if strings.HasSuffix(name, "/") {
		return nil, fileError(name, unix.EISDIR)
	}
	// Non-blocking, so that a FIFO without a peer does not hold the caller up.
	f, err := tree.OpenFile(name, flag|unix.O_NONBLOCK|unix.O_NOCTTY, 0o644)
	if err != nil {
		return nil, fileError(name, err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = fileError(name, err)
	case info.IsDir():
		err = fileError(name, unix.EISDIR)
	case !info.Mode().IsRegular():
		err = &container.FileError{Kind: container.FileIO, Text: name + ": not a regular file"}
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

// readFile returns the content behind fd, unless it is more than limit bytes.
func readFile(fd int, name string, limit int64) ([]byte, error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, fileError(name, err)
	}
	if stat.Size > limit {
		return nil, &container.FileError{Kind: container.FileTooLarge, Size: stat.Size, Text: name + ": file too large"}
	}
	if stat.Size == 0 {
		return readUnsized(fd, name, limit)
	}
	content := make([]byte, stat.Size)
	n := 0
	for n < len(content) {
		more, err := readSome(fd, content[n:])
		if err != nil {
			return nil, fileError(name, err)
		}
		if more == 0 {
			break // it shrank meanwhile
		}
		n += more
	}
	return content[:n], nil
}

// readUnsized reads what says that it is empty: it may be, or be a file that the kernel makes up while it is read.
func readUnsized(fd int, name string, limit int64) ([]byte, error) {
	var content []byte
	chunk := make([]byte, 32<<10)
	for {
		n, err := readSome(fd, chunk)
		if err != nil {
			return nil, fileError(name, err)
		}
		if n == 0 {
			return content, nil
		}
		content = append(content, chunk[:n]...)
		if int64(len(content)) > limit {
			return nil, &container.FileError{Kind: container.FileTooLarge, Size: -1, Text: name + ": file too large"}
		}
	}
}

func readSome(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// writeFile replaces the content behind fd.
func writeFile(fd int, name string, content []byte) error {
	if err := unix.Ftruncate(fd, 0); err != nil {
		return fileError(name, err)
	}
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && err != unix.EINTR {
			return fileError(name, err)
		}
		content = content[max(n, 0):]
	}
	return nil
}

// fileError translates an error of the system. An error that is none, such as the refusal to follow a link out of a
// directory, is a matter of permission.
func fileError(name string, err error) *container.FileError {
	var errno syscall.Errno
	if !errors.As(err, &errno) {
		return &container.FileError{Kind: container.FilePermission, Text: name + ": path is outside of the sandbox"}
	}
	kind := container.FileIO
	switch errno {
	case unix.ENOENT:
		kind = container.FileNotFound
	case unix.EISDIR:
		kind = container.FileIsDirectory
	case unix.EACCES, unix.EPERM, unix.EROFS:
		kind = container.FilePermission
	}
	return &container.FileError{Kind: kind, Text: name + ": " + errno.Error()}
}

// fileLocks keep writes to one file apart, whatever names it goes by.
type fileLocks struct {
	mu   sync.Mutex
	held map[fileID]*fileLock
}

type fileID struct{ dev, ino uint64 }

type fileLock struct {
	sync.Mutex
	users int
}

// write replaces the content of the file behind fd when nobody else does.
func (l *fileLocks) write(fd int, name string, content []byte) error {
	unlock, err := l.lock(fd)
	if err != nil {
		return fileError(name, err)
	}
	defer unlock()
	return writeFile(fd, name, content)
}

// lock waits for the file behind fd and returns the function that gives it back.
func (l *fileLocks) lock(fd int) (unlock func(), err error) {
	var stat unix.Stat_t
	if err := unix.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	id := fileID{dev: uint64(stat.Dev), ino: stat.Ino}

	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[fileID]*fileLock)
	}
	if l.held[id] == nil {
		l.held[id] = new(fileLock)
	}
	held := l.held[id]
	held.users++
	l.mu.Unlock()

	held.Lock()
	return func() {
		held.Unlock()
		l.mu.Lock()
		defer l.mu.Unlock()
		if held.users--; held.users == 0 {
			delete(l.held, id)
		}
	}, nil
}
