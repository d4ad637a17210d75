package process

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func mount(source, target, fstype string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, target, err)
	}
	return nil
}

// bind shows source at target as well, without what is mounted below it.
func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	return nil
}

// bindTree shows source and what is mounted below it at target as well.
func bindTree(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s on %s: %w", source, target, err)
	}
	return nil
}

// restrictMounts adds attributes to the mount at target and those below it. Others stay as they are: in a user
// namespace some of them may not be taken away.
func restrictMounts(target string, attributes uint64) error {
	attr := unix.MountAttr{Attr_set: attributes}
	if err := unix.MountSetattr(unix.AT_FDCWD, target, unix.AT_RECURSIVE, &attr); err != nil {
		return fmt.Errorf("restrict mount %s: %w", target, err)
	}
	return nil
}

// bindReadOnly shows source at target as well, where it cannot be changed.
func bindReadOnly(source, target string) error {
	if err := bindTree(source, target); err != nil {
		return err
	}
	return restrictMounts(target, unix.MOUNT_ATTR_RDONLY)
}

// overlayMount is a copy-on-write view of a directory.
type overlayMount struct {
	lower    string
	upper    string // and, with a suffix, the directory in which the kernel prepares changes
	target   string
	userOnly bool // keep the kernel's notes where an unprivileged user may
}

func (o overlayMount) mount() error {
	work := o.upper + ".work"
	for _, dir := range []string{o.upper, work} {
		if err := mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := likeOriginal(o.upper, o.lower); err != nil {
		return err
	}
	// Nothing that is written here is meant to survive, so that the kernel need not wait for the disk.
	options := "volatile,lowerdir=" + escapeOption(o.lower) + ",upperdir=" + escapeOption(o.upper) +
		",workdir=" + escapeOption(work)
	if o.userOnly {
		options = "userxattr," + options
	}
	return mount("overlay", o.target, "overlay", unix.MS_NODEV, options)
}

func escapeOption(path string) string {
	return strings.NewReplacer(`\`, `\\`, `,`, `\,`, `:`, `\:`).Replace(path)
}

// likeOriginal gives dir the mode and, unless that is left to other users, the owner of another directory: those of
// an upper layer's root are what is seen.
func likeOriginal(dir, original string) error {
	info, err := os.Stat(original)
	if err != nil {
		return err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		// In a user namespace that does not know the owner it stays ours, which is why this may fail.
		_ = os.Chown(dir, int(stat.Uid), int(stat.Gid))
	}
	return os.Chmod(dir, info.Mode())
}

// mkdir makes a directory unless there is one, with a mode that does not depend on the umask.
func mkdir(dir string, mode os.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

// touch makes an empty file unless there is something.
func touch(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// A mountPoint is a line of the table of mounts.
type mountPoint struct{ path, fstype string }

// mountsBelow returns what is mounted below dir, outer mounts first.
func mountsBelow(dir string) ([]mountPoint, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	prefix := strings.TrimSuffix(filepath.Clean(dir), "/") + "/"
	var list []mountPoint
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m, ok := parseMount(lines.Text())
		if ok && strings.HasPrefix(m.path, prefix) && m.path != prefix {
			list = append(list, m)
		}
	}
	return list, lines.Err()
}

// parseMount reads a line: its fifth field is the path, and the type follows a field that is a dash.
func parseMount(line string) (mountPoint, bool) {
	before, after, found := strings.Cut(line, " - ")
	fields := strings.Fields(before)
	kind := strings.Fields(after)
	if !found || len(fields) < 5 || len(kind) == 0 {
		return mountPoint{}, false
	}
	return mountPoint{path: unescapeMount(fields[4]), fstype: kind[0]}, true
}

// unescapeMount resolves the octal escapes of the table of mounts.
func unescapeMount(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+4 <= len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				out.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}
