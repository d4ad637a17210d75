package tarstream

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// ErrCut says that a stream ended before its end marker.
var ErrCut = errors.New("the archive ends too early")

// maxHeld bounds the names that are remembered until the end of a stream: those of links, and of directories that are left
// out. Half a million and more fit in.
const maxHeld = 64 << 20

// Unpack makes the tree of a tar stream in root, and reads r to its end. Nothing outside root is touched or made
// reachable, whatever the stream says: names and links that lead out of it are errors, as are devices and the like.
//
// What is there is replaced, but for directories, which are filled. A file that was not completed is removed; of what was
// completed before an error everything stays.
func Unpack(r io.Reader, root *os.Root, o Options) error {
	in := &ending{r: r}
	u := unpacker{
		tar: tar.NewReader(in), in: in, root: root, options: o,
		moved: counter{progress: o.Progress}, skipped: make(map[string]bool),
	}
	if err := u.entries(); err != nil {
		return err
	}
	if err := u.makeLinks(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r) // tools fill their last block
	return err
}

type unpacker struct {
	tar     *tar.Reader
	in      *ending
	root    *os.Root
	options Options
	moved   counter
	skipped map[string]bool // directories
	links   []link
	held    int // bytes of the names in these two
}

// link is a symbolic link. Links are made when everything else is there, so that no file can go through one.
type link struct{ name, target string }

// ending remembers whether a stream has come to its end. A whole archive does so only after its end marker.
type ending struct {
	r    io.Reader
	over bool
}

func (e *ending) Read(b []byte) (int, error) {
	n, err := e.r.Read(b)
	e.over = n == 0 && err == io.EOF
	return n, err
}

func (u *unpacker) entries() error {
	for {
		h, err := u.tar.Next()
		switch {
		case err == io.EOF && u.in.over: // tar takes that for a good end, too
			return ErrCut
		case err == io.EOF:
			return nil
		case err != nil:
			return cut(err)
		}
		if err := u.entry(h); err != nil {
			return err
		}
		if u.held > maxHeld {
			return errors.New("the archive has more links, or directories that are left out, than can be remembered")
		}
		if _, err := io.Copy(io.Discard, u.tar); err != nil { // what was left out
			return cut(err)
		}
	}
}

// cut gives the premature end of the stream its name.
func cut(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrCut
	}
	return err
}

func (u *unpacker) entry(h *tar.Header) error {
	name, err := localName(h.Name)
	switch {
	case err != nil:
		return err
	case sparse(h): // also one that is left out: its holes would be read
		return fmt.Errorf("%s is sparse, which this does not unpack", name)
	case name == ".", u.skips(name, h):
		return nil
	}
	if err := u.checkParents(name); err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.makeDir(name, h.FileInfo().Mode())
	case tar.TypeReg:
		return u.makeFile(name, h)
	case tar.TypeSymlink:
		if !staysInside(name, h.Linkname) {
			return fmt.Errorf("%s is a link that leads outside, to %q: a filter can leave it out", name, h.Linkname)
		}
		u.links = append(u.links, link{name, h.Linkname})
		u.held += len(name) + len(h.Linkname)
		return nil
	case tar.TypeLink:
		return u.makeHardLink(name, h.Linkname)
	}
	return fmt.Errorf("%s is no file, directory or link: a filter can leave it out", name)
}

// localName is the name of an entry, relative to the root and with slashes.
func localName(name string) (string, error) {
	clean := path.Clean(name)
	if !fs.ValidPath(strings.ToValidUTF8(clean, "x")) || strings.Contains(clean, "\x00") {
		return "", fmt.Errorf("the archive has a name that leads outside: %q", name)
	}
	if _, err := filepath.Localize(clean); err != nil {
		return "", fmt.Errorf("the archive has a name that is none on this system: %q", name)
	}
	return clean, nil
}

// staysInside reports whether a link can only lead to what is in the root. Steps up may come only first: after a name,
// which may be a link itself, nobody knows where they lead.
func staysInside(name, target string) bool {
	up, steps := 0, strings.Split(filepath.ToSlash(target), "/")
	for up < len(steps) && steps[up] == ".." {
		up++
	}
	for _, step := range steps[up:] {
		if step == ".." {
			return false
		}
	}
	return target != "" && !path.IsAbs(target) && filepath.VolumeName(target) == "" && up <= depth(name)
}

// skips reports whether an entry is to be left out.
func (u *unpacker) skips(name string, h *tar.Header) (skip bool) {
	parents(name, func(dir string) bool {
		skip = u.skipped[dir]
		return !skip
	})
	if skip || u.options.keeps(name, fs.FileInfoToDirEntry(h.FileInfo())) {
		return skip
	}
	if h.Typeflag == tar.TypeDir {
		u.skipped[name] = true
		u.held += len(name)
	}
	return true
}

// checkParents makes the directories above an entry, which the archive should have named, and refuses links among them.
func (u *unpacker) checkParents(name string) (err error) {
	parents(name, func(dir string) bool {
		err = u.makeDirectory(dir, 0o777)
		return err == nil
	})
	return err
}

func (u *unpacker) makeDir(name string, mode fs.FileMode) error {
	if err := u.makeDirectory(name, 0o700); err != nil {
		return err
	}
	return u.root.Chmod(filepath.FromSlash(name), permissions(mode|fs.ModeDir))
}

// makeDirectory makes a directory that is not there.
func (u *unpacker) makeDirectory(name string, perm fs.FileMode) error {
	local := filepath.FromSlash(name)
	info, err := u.root.Lstat(local)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return u.root.Mkdir(local, perm)
	case err != nil:
		return err
	case !info.IsDir():
		return &fs.PathError{Op: "mkdir", Path: name, Err: errors.New("there is something else of this name")}
	}
	return nil
}

// makeFile makes a file. It is a new one, so that nothing is written through links.
func (u *unpacker) makeFile(name string, h *tar.Header) (err error) {
	if err := u.clear(name); err != nil {
		return err
	}
	local := filepath.FromSlash(name)
	f, err := u.root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err == nil {
			err = u.root.Chtimes(local, h.ModTime, h.ModTime)
		}
		if err != nil {
			err = errors.Join(err, u.root.Remove(local))
		}
	}()
	if _, err := io.Copy(io.MultiWriter(f, &u.moved), u.tar); err != nil {
		return cut(err)
	}
	return f.Chmod(permissions(h.FileInfo().Mode()))
}

// sparse reports whether a file has holes: a few bytes could stand for any size then.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// clear removes what has a name that is needed, but for directories.
func (u *unpacker) clear(name string) error {
	local := filepath.FromSlash(name)
	info, err := u.root.Lstat(local)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: "create", Path: name, Err: errors.New("there is a directory of this name")}
	}
	return u.root.Remove(local)
}

// makeHardLink makes a second name for a file of this archive.
func (u *unpacker) makeHardLink(name, target string) error {
	old, err := localName(target)
	if err != nil {
		return err
	}
	if err := u.checkParents(old); err != nil {
		return err
	}
	info, err := u.root.Lstat(filepath.FromSlash(old))
	if err != nil || !info.Mode().IsRegular() || old == name {
		return fmt.Errorf("%s is a second name of %s, which is not there: was it left out?", name, old)
	}
	if err := u.clear(name); err != nil {
		return err
	}
	return u.root.Link(filepath.FromSlash(old), filepath.FromSlash(name))
}

func (u *unpacker) makeLinks() error {
	for _, l := range u.links {
		if err := u.checkParents(l.name); err != nil { // links that were made meanwhile
			return err
		}
		if err := u.clear(l.name); err != nil {
			return err
		}
		if err := u.root.Symlink(filepath.FromSlash(l.target), filepath.FromSlash(l.name)); err != nil {
			return err
		}
	}
	return nil
}
