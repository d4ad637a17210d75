//go:build linux || darwin

package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// copying asks for a copy of what is in a directory, in another one that is empty.
type copying struct {
	From, To string
	Limit    int64 // bytes that may be copied; zero: no limit
}

// A treeCopier copies a directory that others may change meanwhile: modes, owners, times, links, holes and extended
// attributes as far as this user may. Sockets and devices are left out. No link leads it out of either directory.
type treeCopier struct {
	ctx    context.Context
	limit  int64
	size   int64
	top    *os.Root
	linked map[fileID]string // where a file with several names has been copied to
	buffer []byte
}

// copyTree returns how many bytes the copied files have.
func copyTree(ctx context.Context, c copying) (int64, error) {
	from, err := os.OpenRoot(c.From)
	if err != nil {
		return 0, err
	}
	defer from.Close()
	to, err := os.OpenRoot(c.To)
	if err != nil {
		return 0, err
	}
	defer to.Close()
	t := &treeCopier{ctx: ctx, limit: c.Limit, top: to, linked: make(map[fileID]string), buffer: make([]byte, 128<<10)}
	if err := t.copyDir(from, to, "."); err != nil {
		return 0, err
	}
	return t.size, nil
}

// copyDir copies what is in a directory, and then what is known of the directory itself, since that may forbid writing
// to it. path is where it is below the top.
func (t *treeCopier) copyDir(from, to *os.Root, path string) error {
	dir, err := from.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		entries, err := dir.ReadDir(256)
		for _, entry := range entries {
			if err := t.copyEntry(from, to, entry.Name(), path+"/"+entry.Name()); err != nil {
				return fmt.Errorf("%s: %w", entry.Name(), err)
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	same, err := to.Open(".")
	if err != nil {
		return err
	}
	defer same.Close()
	return describe(dir, same, info, to, ".")
}

func (t *treeCopier) copyEntry(from, to *os.Root, name, path string) error {
	if err := context.Cause(t.ctx); err != nil {
		return err
	}
	info, err := from.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // gone since the directory was read
	}
	if err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return t.copySubDir(from, to, name, path)
	case fs.ModeSymlink:
		return copyLink(from, to, name, info)
	case fs.ModeNamedPipe:
		return copyPipe(to, name, info)
	case 0:
		return t.copyFile(from, to, name, path)
	}
	return nil
}

func (t *treeCopier) copySubDir(from, to *os.Root, name, path string) error {
	// With a step more the name itself must be a directory: a pipe that has taken its place is not waited for.
	source, err := from.OpenRoot(name + "/.")
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // gone, or replaced by something else
	}
	if err != nil {
		return err
	}
	defer source.Close()
	if err := to.Mkdir(name, 0o700); err != nil {
		return err
	}
	target, err := to.OpenRoot(name)
	if err != nil {
		return err
	}
	defer target.Close()
	return t.copyDir(source, target, path)
}

func copyLink(from, to *os.Root, name string, info fs.FileInfo) error {
	target, err := from.Readlink(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) {
		return nil // gone, or replaced by something else
	}
	if err != nil {
		return err
	}
	if err := to.Symlink(target, name); err != nil {
		return err
	}
	dir, err := to.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return describeName(dir, to, name, info)
}

func copyPipe(to *os.Root, name string, info fs.FileInfo) error {
	dir, err := to.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := mkfifoat(dir, name); err != nil {
		return err
	}
	if err := describeName(dir, to, name, info); err != nil {
		return err
	}
	return to.Chmod(name, info.Mode())
}

// describeName gives a link or a pipe in dir, which is what to is about, the owner and times of the original.
func describeName(dir *os.File, to *os.Root, name string, info fs.FileInfo) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	_ = to.Lchown(name, int(stat.Uid), int(stat.Gid)) // as far as this user may
	access, err := unix.TimeToTimespec(accessTime(stat))
	if err != nil {
		return err
	}
	change, err := unix.TimeToTimespec(info.ModTime())
	if err != nil {
		return err
	}
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{access, change}, unix.AT_SYMLINK_NOFOLLOW)
}

func (t *treeCopier) copyFile(from, to *os.Root, name, path string) error {
	source, err := from.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Nlink > 1 {
		id := fileID{uint64(stat.Dev), stat.Ino}
		if known, copied := t.linked[id]; copied {
			return t.top.Link(known, path)
		}
		t.linked[id] = path
	}
	target, err := to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = t.copyContent(io.LimitReader(source, info.Size()), target)
	if err == nil {
		err = describe(source, target, info, to, name)
	}
	return errors.Join(err, target.Close())
}

// copyContent leaves holes where there are only zeros. What a writer appends faster than it is copied has no end, so that
// the source ends where it did when it was opened.
func (t *treeCopier) copyContent(source io.Reader, target *os.File) error {
	var at int64
	for {
		if err := context.Cause(t.ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(source, t.buffer)
		if t.size += int64(n); t.limit > 0 && t.size > t.limit {
			return &container.SizeError{Limit: t.limit}
		}
		if block := t.buffer[:n]; !allZero(block) {
			if _, err := target.WriteAt(block, at); err != nil {
				return err
			}
		}
		at += int64(n)
		switch {
		case err == io.EOF, err == io.ErrUnexpectedEOF:
			return target.Truncate(at)
		case err != nil:
			return err
		}
	}
}

var zeros [4096]byte

func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}

// describe gives a copy the owner, attributes, times and mode of the original, in the order in which one does not undo
// another. Owners and attributes are copied as far as this user may.
func describe(original, same *os.File, info fs.FileInfo, to *os.Root, name string) error {
	stat, ok := info.Sys().(*syscall.Stat_t)
	access := info.ModTime()
	if ok {
		_ = same.Chown(int(stat.Uid), int(stat.Gid))
		access = accessTime(stat)
	}
	copyAttributes(int(original.Fd()), int(same.Fd()))
	if err := to.Chtimes(name, access, info.ModTime()); err != nil {
		return err
	}
	return same.Chmod(info.Mode())
}

// copyAttributes copies extended attributes where both file systems have them and the user may.
func copyAttributes(from, to int) {
	list := make([]byte, 64<<10)
	n, err := unix.Flistxattr(from, list)
	if err != nil {
		return
	}
	value := make([]byte, 64<<10)
	for _, name := range bytes.FieldsFunc(list[:n], func(r rune) bool { return r == 0 }) {
		if size, err := unix.Fgetxattr(from, string(name), value); err == nil {
			_ = unix.Fsetxattr(to, string(name), value[:size], 0)
		}
	}
}
