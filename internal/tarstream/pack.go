package tarstream

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"time"
)

// Pack writes the tree of fsys to w, and at its end an empty file of the name marker, by which the receiver knows that it
// has everything. Modes, times and links are kept, owners are not. The format is GNU's: the tar of busybox does not know
// the one of POSIX.
func Pack(w io.Writer, fsys fs.FS, marker string, o Options) error {
	p := packer{tar: tar.NewWriter(w), fsys: fsys, options: o, moved: counter{progress: o.Progress}}
	if err := fs.WalkDir(fsys, ".", p.visit); err != nil {
		return err
	}
	mark := &tar.Header{Typeflag: tar.TypeReg, Name: marker, Mode: 0o600, ModTime: time.Now(), Format: tar.FormatGNU}
	if err := p.tar.WriteHeader(mark); err != nil {
		return err
	}
	return p.tar.Close()
}

type packer struct {
	tar     *tar.Writer
	fsys    fs.FS
	options Options
	moved   counter
}

func (p *packer) visit(name string, d fs.DirEntry, err error) error {
	switch {
	case err != nil:
		return err
	case name == ".":
		return nil
	case p.options.keeps(name, d):
		return p.add(name, d)
	case d.IsDir():
		return fs.SkipDir
	}
	return nil
}

func (p *packer) add(name string, d fs.DirEntry) error {
	info, err := d.Info()
	if err != nil {
		return err
	}
	header, err := p.header(name, info)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return p.tar.WriteHeader(header)
	}
	return p.addFile(header)
}

func (p *packer) header(name string, info fs.FileInfo) (*tar.Header, error) {
	h := &tar.Header{
		Name:    name,
		Mode:    int64(permissions(info.Mode())),
		ModTime: info.ModTime().Truncate(time.Second),
		Format:  tar.FormatGNU,
	}
	if h.ModTime.IsZero() { // as in an embedded file system
		h.ModTime = time.Now().Truncate(time.Second)
	}
	switch info.Mode().Type() {
	case 0:
		h.Typeflag, h.Size = tar.TypeReg, info.Size()
	case fs.ModeDir:
		h.Typeflag, h.Name = tar.TypeDir, name+"/"
	case fs.ModeSymlink:
		target, err := fs.ReadLink(p.fsys, name)
		if err != nil {
			return nil, err
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	default:
		return nil, fmt.Errorf("%s is no file, directory or link: a filter can leave it out", name)
	}
	return h, nil
}

// addFile copies a file as long as it was when it was listed: what was added since is left out.
func (p *packer) addFile(h *tar.Header) error {
	f, err := p.fsys.Open(h.Name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := p.tar.WriteHeader(h); err != nil {
		return err
	}
	n, err := io.Copy(io.MultiWriter(p.tar, &p.moved), io.LimitReader(f, h.Size))
	if err == nil && n < h.Size {
		err = fmt.Errorf("%s became shorter while it was read: %w", h.Name, io.ErrUnexpectedEOF)
	}
	return err
}
