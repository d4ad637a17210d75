package process

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// noteImage finds the mounts that make up what the image brings along, directories for temporary files among them, before
// anything else is mounted into it.
func (b *rootBuilder) noteImage() error {
	below, err := mountsBelow("/")
	if err != nil {
		return err
	}
	b.image = []string{"/"}
	for _, m := range below {
		if !slices.ContainsFunc([]string{"/proc", "/sys", "/dev", b.host}, func(dir string) bool { return isWithin(m.path, dir) }) {
			b.image = append(b.image, m.path)
		}
	}
	return nil
}

// seal makes the image unchangeable where that was asked for. Volumes and devices stay as they are.
func (b *rootBuilder) seal() error {
	if !b.Security.ReadOnlyRoot {
		return nil
	}
	for _, path := range b.image {
		if slices.ContainsFunc(b.volumes, func(target string) bool { return isWithin(path, target) }) {
			continue // a volume hides it
		}
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(unix.AT_FDCWD, path, 0, &attr); err != nil {
			return fmt.Errorf("make %s read-only: %w", path, err)
		}
	}
	return nil
}

// isWithin reports whether path is dir or lies below it.
func isWithin(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }
