package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const kernelFlags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

func (b *rootBuilder) mountProc() error {
	if err := os.MkdirAll("/proc", 0o755); err != nil {
		return err
	}
	if err := mount("proc", "/proc", "proc", kernelFlags, ""); err != nil {
		return err
	}
	for _, name := range []string{"sysrq-trigger", "kcore", "keys", "timer_list"} {
		if err := b.hide("/proc/" + name); err != nil {
			return err
		}
	}
	for _, name := range []string{"sys", "irq", "bus", "fs", "scsi", "acpi"} {
		dir := "/proc/" + name
		if _, err := os.Stat(dir); err != nil {
			continue // this kernel has none
		}
		if err := bindReadOnly(dir, dir); err != nil {
			return err
		}
	}
	return nil
}

// mountSys shows the kernel's objects. Without a network namespace of its own, a user namespace may not mount them
// anew, and sees the host's.
func (b *rootBuilder) mountSys() error {
	if err := os.MkdirAll("/sys", 0o755); err != nil {
		return err
	}
	if mount("sysfs", "/sys", "sysfs", kernelFlags|unix.MS_RDONLY, "") == nil {
		return nil
	}
	return bindReadOnly(b.host+"/sys", "/sys")
}

func (b *rootBuilder) mountDev() error {
	if err := os.MkdirAll("/dev", 0o755); err != nil {
		return err
	}
	if err := mount("tmpfs", "/dev", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=64m"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
		if err := touch("/dev/" + name); err != nil {
			return err
		}
		// Read-only concerns what is known of a device, which is the host's own, and not what is written to it.
		if err := bindReadOnly(b.host+"/dev/"+name, "/dev/"+name); err != nil {
			return err
		}
	}
	for name, target := range map[string]string{
		"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
		"ptmx": "pts/ptmx",
	} {
		if err := os.Symlink(target, "/dev/"+name); err != nil {
			return err
		}
	}
	for _, name := range []string{"pts", "shm"} {
		if err := mkdir("/dev/"+name, 0o755); err != nil {
			return err
		}
	}
	if err := mountTerminals(); err != nil {
		return err
	}
	return mount("tmpfs", "/dev/shm", "tmpfs", kernelFlags, "mode=1777")
}

// mountTerminals makes an instance of the terminals' file system. Terminals belong to the group that is customary,
// where it exists in the user namespace.
func mountTerminals() error {
	const options = "newinstance,ptmxmode=0666,mode=0620"
	flags := uintptr(unix.MS_NOSUID | unix.MS_NOEXEC)
	if mount("devpts", "/dev/pts", "devpts", flags, options+",gid=5") == nil {
		return nil
	}
	return mount("devpts", "/dev/pts", "devpts", flags, options)
}

// mountScratch gives the container directories for temporary files of its own, which also takes the sockets of the
// host's services out of its reach.
func (b *rootBuilder) mountScratch() error {
	for dir, source := range map[string]string{"/tmp": "tmp", "/var/tmp": "vartmp"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := bind(b.onHost(source), dir); err != nil {
			return err
		}
		if err := restrictMounts(dir, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID); err != nil {
			return err
		}
	}
	if err := os.MkdirAll("/run", 0o755); err != nil {
		return err
	}
	if err := mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	return mkdir("/run/lock", 0o777|os.ModeSticky)
}

func (b *rootBuilder) mask() error {
	for _, path := range b.Masks {
		if err := b.hide(path); err != nil {
			return err
		}
	}
	return nil
}

// hide makes a file or directory appear empty and unchangeable, if there is one.
func (b *rootBuilder) hide(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return nil // not there, or nothing that anybody here can reach
	}
	cover := "nothing"
	if info.IsDir() {
		cover = "empty"
	}
	return bindReadOnly(b.onHost(cover), path)
}

func (b *rootBuilder) writeNetworkFiles(resolver []byte) error {
	hosts := fmt.Sprintf("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t%s\n", b.Hostname)
	for _, name := range b.Hosts {
		hosts += fmt.Sprintf("127.0.0.1\t%s\n", name)
	}
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	for name, content := range map[string][]byte{
		"/etc/hostname":    []byte(b.Hostname + "\n"),
		"/etc/hosts":       []byte(hosts),
		"/etc/resolv.conf": resolver,
	} {
		// Anew, because the host's may be a link to a place that the container does not have.
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// link offers a command under another name. That is a convenience: a container without it is complete.
func (b *rootBuilder) link() error {
	if b.LinkName == "" {
		return nil
	}
	_ = os.MkdirAll("/usr/local/bin", 0o755)
	_ = os.Symlink(b.LinkTarget, "/usr/local/bin/"+b.LinkName)
	return nil
}

func (b *rootBuilder) bindFiles() error {
	for _, file := range b.Files {
		if err := os.MkdirAll(filepath.Dir(file.Target), 0o755); err != nil {
			return fmt.Errorf("mounted file %s: %w", file.Target, err)
		}
		if err := touch(file.Target); err != nil {
			return fmt.Errorf("mounted file %s: %w", file.Target, err)
		}
		if err := bindReadOnly(b.host+file.Source, file.Target); err != nil {
			return fmt.Errorf("mounted file %s: %w", file.Target, err)
		}
	}
	return nil
}

func (b *rootBuilder) makeWorkingDir() error {
	if err := os.MkdirAll(b.WorkingDir, 0o755); err != nil {
		return fmt.Errorf("working directory: %w", err)
	}
	return nil
}
