package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// rootSetup is what an init needs to make a container's root file system.
type rootSetup struct {
	Rootless   bool
	Dir        string // of the container, on the host
	ImageRoot  string
	Hostname   string
	Hosts      []string // more names of 127.0.0.1
	WorkingDir string
	Files      []boundFile
	Mounts     []boundMount
	Masks      []string // what appears empty
	LinkName   string   // see launch
	LinkTarget string
	Security   container.Security
}

// A boundFile is a file of the host that is bound to a path of the container.
type boundFile struct{ Source, Target string }

// The directories in a container's directory.
const (
	layerDir = "layer" // everything that the container writes
	filesDir = "files" // the content of mounted files
)

// A rootBuilder makes the root file system of the mount namespace that it runs in.
type rootBuilder struct {
	*rootSetup
	layer string   // on the host
	root  string   // on the host, the container's
	host  string   // where the host's root is seen while both are there
	image []string // the mounts that make up the image; see noteImage

	volumes []string // where they are mounted, without links
}

// buildRoot leaves this process in the root file system of a container. The steps that write into it come after the
// change of the root, so that links in it lead nowhere else.
func buildRoot(setup *rootSetup) error {
	b := &rootBuilder{rootSetup: setup, layer: filepath.Join(setup.Dir, layerDir)}
	b.root = filepath.Join(b.layer, "root")
	unix.Umask(0o022)
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	for _, step := range []func() error{
		b.makeLayer,
		b.mountImage,
		b.enter,
		b.mountProc,
		b.mountSys,
		b.mountDev,
		b.mountScratch,
		b.noteImage,
		b.mask,
		func() error { return b.writeNetworkFiles(resolver) },
		b.link,
		b.bindVolumes,
		b.bindFiles,
		b.makeWorkingDir,
		b.leaveHost,
		b.seal,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// makeLayer prepares the directory that takes what the container writes. Where an overlay cannot write to that file
// system, memory takes its place.
func (b *rootBuilder) makeLayer() error {
	if err := mkdir(b.layer, 0o755); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(b.layer, &stat); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	switch int64(stat.Type) {
	case unix.OVERLAYFS_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.SMB2_SUPER_MAGIC:
		if err := mount("tmpfs", b.layer, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, "mode=755"); err != nil {
			return err
		}
	}
	for name, mode := range map[string]os.FileMode{
		"root": 0o755, "empty": 0o555, "tmp": 0o777 | os.ModeSticky, "vartmp": 0o777 | os.ModeSticky,
	} {
		if err := mkdir(filepath.Join(b.layer, name), mode); err != nil {
			return err
		}
	}
	return touch(filepath.Join(b.layer, "nothing"))
}

func (b *rootBuilder) mountImage() error {
	if b.Rootless {
		return b.mountEach()
	}
	return b.mountWhole()
}

// mountWhole lays one overlay over the image and, because overlays end at mounts, one over each file system below it.
func (b *rootBuilder) mountWhole() error {
	below, err := mountsBelow(b.ImageRoot)
	if err != nil {
		return err
	}
	whole := overlayMount{lower: b.ImageRoot, upper: filepath.Join(b.layer, "upper"), target: b.root}
	if err := whole.mount(); err != nil {
		return err
	}
	for i, m := range below {
		rel, err := filepath.Rel(b.ImageRoot, m.path)
		if err != nil {
			return err
		}
		if !holdsFiles(m.fstype) || leftOut(rel) {
			continue
		}
		part := overlayMount{
			lower:  m.path,
			upper:  filepath.Join(b.layer, "upper-"+strconv.Itoa(i)),
			target: filepath.Join(b.root, rel),
		}
		if err := b.mountPart(part); err != nil {
			return err
		}
	}
	return nil
}

// mountPart shows a directory of the host copy-on-write, or where the kernel refuses that, read-only.
func (b *rootBuilder) mountPart(part overlayMount) error {
	if info, err := os.Stat(part.lower); err != nil || !info.IsDir() {
		return nil // a single file that an engine has bound, or a mount that another one hides
	}
	if part.mount() == nil {
		return nil
	}
	return bindReadOnly(part.lower, part.target)
}

// holdsFiles reports whether a mount of this type holds files rather than the kernel's or another machine's.
func holdsFiles(fstype string) bool {
	return slices.Contains([]string{"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "bcachefs", "overlay",
		"squashfs", "erofs", "vfat", "exfat", "ntfs3"}, fstype)
}

// ownDirs are directories below the root that a container gets anew.
var ownDirs = []string{"proc", "sys", "dev", "run", "tmp", "var/tmp"}

// leftOut reports whether a mount is not for containers: because they have their own, or because it belongs to a
// container engine.
func leftOut(rel string) bool {
	engines := []string{"var/lib/docker", "var/lib/containerd", "var/lib/containers", "var/lib/kubelet"}
	return slices.ContainsFunc(append(engines, ownDirs...), func(dir string) bool {
		return rel == dir || strings.HasPrefix(rel, dir+"/")
	})
}

// mountEach makes the root out of its entries, each with its own overlay: the kernel refuses an overlay over all of
// them in a user namespace, because other mounts could be uncovered with it.
func (b *rootBuilder) mountEach() error {
	if err := bind(b.root, b.root); err != nil {
		return err
	}
	entries, err := os.ReadDir(b.ImageRoot)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if slices.Contains(ownDirs, entry.Name()) {
			continue
		}
		if err := b.mountEntry(entry); err != nil {
			return err
		}
	}
	return restrictMounts(b.root, unix.MOUNT_ATTR_NODEV)
}

func (b *rootBuilder) mountEntry(entry fs.DirEntry) error {
	source, target := filepath.Join(b.ImageRoot, entry.Name()), filepath.Join(b.root, entry.Name())
	switch {
	case entry.Type() == fs.ModeSymlink:
		to, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(to, target)
	case entry.IsDir():
		if err := mkdir(target, 0o755); err != nil {
			return err
		}
		if content, err := os.ReadDir(source); err != nil || len(content) == 0 {
			return nil // nothing in it that this user can see: a directory of our own does as well
		}
		part := overlayMount{lower: source, upper: filepath.Join(b.layer, "upper-"+entry.Name()), target: target, userOnly: true}
		if err := errors.Join(b.openUp(part), b.openMountPaths(part, entry.Name())); err != nil {
			return err
		}
		return b.mountPart(part)
	case entry.Type().IsRegular() && unix.Access(source, unix.R_OK) == nil:
		if err := touch(target); err != nil {
			return err
		}
		return bindReadOnly(source, target)
	}
	return nil
}

// openUp makes the directories for local additions ours in the upper layer; in the lower one they belong to a user
// whom the user namespace does not know, so that nobody inside could write to them.
func (b *rootBuilder) openUp(part overlayMount) error {
	if filepath.Base(part.lower) != "usr" {
		return nil
	}
	for _, dir := range []string{"", "local", "local/bin", "local/lib", "local/share"} {
		if info, err := os.Stat(filepath.Join(part.lower, dir)); err != nil || !info.IsDir() {
			continue
		}
		if err := mkdir(filepath.Join(part.upper, dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// enter makes the new root the root, with the host's at a place below it.
func (b *rootBuilder) enter() error {
	old, err := os.MkdirTemp(b.root, ".host-")
	if err != nil {
		return err
	}
	if err := unix.PivotRoot(b.root, old); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	b.host = "/" + filepath.Base(old)
	return os.Chdir("/")
}

// leaveHost lets go of the host's root.
func (b *rootBuilder) leaveHost() error {
	if err := unix.Unmount(b.host, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the host's root: %w", err)
	}
	return os.Remove(b.host)
}

// onHost returns where a path of the container's layer is seen from the new root.
func (b *rootBuilder) onHost(name string) string { return b.host + filepath.Join(b.layer, name) }
