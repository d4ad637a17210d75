package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mountMemory makes the volumes that lie in memory, where the supervisor and everything below it sees them, but not the
// host.
func mountMemory(list []memoryMount) error {
	if len(list) == 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	for _, m := range list {
		options := "mode=777,size=" + strconv.FormatInt(m.Size, 10)
		if err := mount("tmpfs", m.Dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
			return err
		}
	}
	return nil
}

func memoryMounts(volumes []volume) (list []memoryMount) {
	for _, v := range volumes {
		if v.scratch() && v.MemoryBytes > 0 {
			list = append(list, memoryMount{v.dir, v.MemoryBytes})
		}
	}
	return list
}

// copyTree has the supervisor copy: it sees the volumes in memory, and may read whatever the sandbox has written.
func (p *nsPlace) copyTree(ctx context.Context, c copying) (int64, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer ours.Close() // stops the copy when nobody waits for it any more
	defer theirs.Close()
	id := p.link.newID()
	copied := make(chan struct{})
	var size int64
	go func() {
		defer close(copied)
		var a answer
		a, err = p.link.call(context.WithoutCancel(ctx), &request{ID: id, Copy: &c}, theirs)
		size = a.Size
	}()
	select {
	case <-copied:
	case <-ctx.Done():
		ours.Close()
		<-copied // what is being written must not be removed before
		if err != nil {
			err = context.Cause(ctx)
		}
	}
	return size, err
}

// answerCopy copies until it is done, or until nobody holds the other side of the pipe.
func answerCopy(c *conn, req *request, pipe int) {
	ctx, cancel := context.WithCancel(context.Background())
	_ = unix.SetNonblock(pipe, true) // cannot fail for an open descriptor
	watched := os.NewFile(uintptr(pipe), "pipe")
	go func() { // ends with the pipe
		_, _ = watched.Read(make([]byte, 1))
		cancel()
	}()
	size, err := copyTree(ctx, *req.Copy)
	watched.Close()
	answer := failed(err)
	answer.ID, answer.Size = req.ID, size
	// When this cannot be sent the server is gone, and so will we be.
	_ = c.send(&answer)
}

// bindVolumes shows volumes at their places in the container.
func (b *rootBuilder) bindVolumes() error {
	for _, m := range b.Mounts {
		if err := b.bindVolume(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	return nil
}

// bindVolume mounts a copy of the volume's mount. While it looks for the target, which may lie in another volume, nothing
// of the host is open: a link to one of this process's descriptors would lead there.
func (b *rootBuilder) bindVolume(m boundMount) error {
	tree, err := b.openVolume(m)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	target, err := filepath.EvalSymlinks(m.Target)
	if err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	b.volumes = append(b.volumes, target)
	return nil
}

// openVolume returns a mount of what a container sees of a volume, which is not attached to anything yet. The way to a
// directory in the volume is looked for below the volume only, whatever links the sandbox has put there.
func (b *rootBuilder) openVolume(m boundMount) (tree int, err error) {
	root, err := openPlace(b.host + m.Source)
	if err != nil {
		return 0, err
	}
	defer root.Close()
	sub := m.SubPath
	if sub == "" {
		sub = "."
	}
	// As a directory, because to open a pipe could take for ever.
	dir, err := root.OpenFile(sub, unix.O_DIRECTORY, 0)
	if errors.Is(err, fs.ErrNotExist) && !m.Fixed {
		if err := root.MkdirAll(sub, 0o777); err != nil {
			return 0, err
		}
		dir, err = root.OpenFile(sub, unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return copyMount(int(dir.Fd()), m.ReadOnly)
}

// openPlace opens a directory that was found without links before. A link on the way has been put there since, by a
// sandbox that may write to a directory around it.
func openPlace(path string) (*os.Root, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags: unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	return os.OpenRoot("/proc/self/fd/" + strconv.Itoa(fd))
}

// copyMount returns a mount of a directory and what is mounted below it that is attached to nothing.
func copyMount(dir int, readOnly bool) (tree int, err error) {
	tree, err = unix.OpenTree(dir, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("open_tree", err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &attr); err != nil {
		unix.Close(tree)
		return 0, os.NewSyscallError("mount_setattr", err)
	}
	return tree, nil
}

// openMountPaths makes the directories on the way to mounts ours in the upper layer of an entry of the root. Those of
// the host belong to a user whom the user namespace does not know, so that nothing could be made in them.
func (b *rootBuilder) openMountPaths(part overlayMount, name string) error {
	for _, m := range b.Mounts {
		rel, found := strings.CutPrefix(m.Target, "/"+name+"/")
		if !found {
			continue
		}
		lower, upper := part.lower, part.upper
		for _, step := range append([]string{""}, strings.Split(rel, "/")...) {
			lower, upper = filepath.Join(lower, step), filepath.Join(upper, step)
			if info, err := os.Lstat(lower); err == nil && !info.IsDir() {
				break // a link leads elsewhere, and a file is in the way
			}
			if err := mkdir(upper, 0o755); err != nil {
				return err
			}
		}
	}
	return nil
}
