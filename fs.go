package cwsandbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"runtime"
	"slices"
	"sync"
)

// FS returns the tree of a directory in the sandbox as a file system for reading, like [os.DirFS]: for [fs.WalkDir],
// [html/template.ParseFS], [os.CopyFS] and the like. It is an [fs.ReadDirFS], [fs.StatFS], [fs.ReadFileFS] and
// [fs.ReadLinkFS], and safe for concurrent use. Links are followed, also out of the directory.
//
// Every operation asks the sandbox: listing a directory, opening a file and beginning to read it are a command each. For a
// large tree [Sandbox.DownloadDir] is faster. The context is the life of the file system and of the files that were opened;
// close them, because one that was partly read keeps its command waiting. Errors are [*fs.PathError] around those of
// [Sandbox.ReadFile]; a bad option is the error of every operation.
func (sb *Sandbox) FS(ctx context.Context, dir string, opts ...FileOption) fs.FS {
	return &remoteFS{ctx: ctx, sandbox: sb, dir: dir, opts: slices.Clone(opts)}
}

// remoteFS is a directory in a sandbox. It holds a context because the interfaces of package fs have none.
type remoteFS struct {
	ctx     context.Context
	sandbox *Sandbox
	dir     string
	opts    []FileOption
}

var (
	_ fs.ReadDirFS  = (*remoteFS)(nil)
	_ fs.StatFS     = (*remoteFS)(nil)
	_ fs.ReadFileFS = (*remoteFS)(nil)
	_ fs.ReadLinkFS = (*remoteFS)(nil)
)

// path is the path of a name in the sandbox.
func (f *remoteFS) path(op, name string) (string, error) {
	switch {
	case !fs.ValidPath(name):
		return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	case f.dir == "":
		return "", &fs.PathError{Op: op, Path: name, Err: errors.New("the file system has an empty directory")}
	}
	return path.Join(f.dir, name), nil
}

// onPath runs an operation on a name, and puts the name into its error.
func onPath[T any](f *remoteFS, op, name string, do func(path string) (T, error)) (T, error) {
	p, err := f.path(op, name)
	if err != nil {
		var zero T
		return zero, err
	}
	v, err := do(p)
	if err != nil {
		return v, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return v, nil
}

// ReadFile is [Sandbox.ReadFile].
func (f *remoteFS) ReadFile(name string) ([]byte, error) {
	return onPath(f, "readfile", name, func(p string) ([]byte, error) {
		if _, _, err := f.config("read file", p); err != nil { // an option that only some operations know
			return nil, err
		}
		return f.sandbox.ReadFile(f.ctx, p, f.opts...)
	})
}

// ReadDir is [Sandbox.ReadDir].
func (f *remoteFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return onPath(f, "readdir", name, func(p string) ([]fs.DirEntry, error) {
		return f.sandbox.ReadDir(f.ctx, p, f.opts...)
	})
}

// Stat is [Sandbox.Stat].
func (f *remoteFS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, statFile) }

// Lstat describes a link itself.
func (f *remoteFS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, statLink) }

func (f *remoteFS) stat(op, name string, script fileScript) (fs.FileInfo, error) {
	return onPath(f, op, name, func(p string) (fs.FileInfo, error) {
		c, cfg, err := f.config(op, p)
		if err != nil {
			return nil, err
		}
		info, err := f.sandbox.s.stat(f.ctx, c, script, cfg)
		info.name = path.Base(name)
		return info, err
	})
}

// ReadLink returns where a link leads, as it was written.
func (f *remoteFS) ReadLink(name string) (string, error) {
	return onPath(f, "readlink", name, func(p string) (string, error) {
		c, cfg, err := f.config("readlink", p)
		if err != nil {
			return "", err
		}
		target, err := f.sandbox.s.runScript(f.ctx, c, readLink, cfg, cfg.shellPath())
		return string(target), err
	})
}

func (f *remoteFS) config(op, p string) (call, *fileConfig, error) {
	c := call{op: op, sandbox: f.sandbox.s.id, path: p}
	cfg, err := newFileConfig(c, f.opts, 0)
	return c, cfg, err
}

// Open finds out what a name is. A file's content begins to flow with the first Read.
func (f *remoteFS) Open(name string) (fs.File, error) {
	info, err := f.stat("open", name, statFile)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return &remoteDir{fsys: f, name: name, info: info}, nil
	}
	return newRemoteFile(f, name, info), nil
}

// remoteDir is an open directory.
type remoteDir struct {
	fsys *remoteFS
	name string
	info fs.FileInfo

	mu     sync.Mutex
	closed bool
	listed bool
	rest   []fs.DirEntry // those that were not handed out yet
}

// Stat describes the directory as it was when it was opened.
func (d *remoteDir) Stat() (fs.FileInfo, error) { return d.info, nil }

// Read is an error: a directory has no content.
func (d *remoteDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: ErrIsDirectory}
}

// Close ends the use of the directory.
func (d *remoteDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return &fs.PathError{Op: "close", Path: d.name, Err: fs.ErrClosed}
	}
	d.closed = true
	return nil
}

// ReadDir hands out the entries as they were at the first call.
func (d *remoteDir) ReadDir(n int) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: fs.ErrClosed}
	}
	if !d.listed {
		entries, err := d.fsys.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.rest, d.listed = entries, true
	}
	if n <= 0 {
		n = len(d.rest)
	} else if len(d.rest) == 0 {
		return nil, io.EOF
	}
	n = min(n, len(d.rest))
	some := slices.Clone(d.rest[:n])
	d.rest = d.rest[n:]
	return some, nil
}

// remoteFile is an open file. What runs for it is not reached from it, so that it ends when the file is forgotten.
type remoteFile struct {
	name    string
	info    fs.FileInfo
	content *remoteContent
}

func newRemoteFile(f *remoteFS, name string, info fs.FileInfo) *remoteFile {
	file := &remoteFile{name: name, info: info, content: &remoteContent{fsys: f, name: name}}
	runtime.AddCleanup(file, func(c *remoteContent) { c.close() }, file.content)
	return file
}

// Stat describes the file as it was when it was opened.
func (f *remoteFile) Stat() (fs.FileInfo, error) { return f.info, nil }

// Read reads what comes next.
func (f *remoteFile) Read(p []byte) (int, error) {
	n, err := f.content.read(p)
	if err != nil && err != io.EOF {
		err = &fs.PathError{Op: "read", Path: f.name, Err: err}
	}
	runtime.KeepAlive(f)
	return n, err
}

// Close ends the transfer, if one has begun.
func (f *remoteFile) Close() error {
	if !f.content.close() {
		return &fs.PathError{Op: "close", Path: f.name, Err: fs.ErrClosed}
	}
	return nil
}

// remoteContent is the content of an open file: a transfer that begins with the first read.
type remoteContent struct {
	fsys *remoteFS
	name string

	mu     sync.Mutex
	closed bool
	pipe   *io.PipeReader // nil: not begun
	cancel context.CancelFunc
	done   chan struct{} // closed when the transfer has ended
}

func (c *remoteContent) read(p []byte) (int, error) {
	pipe, err := c.begin()
	if err != nil || len(p) == 0 {
		return 0, err
	}
	return pipe.Read(p)
}

// begin starts the transfer. Its goroutine ends with it, at the latest when the content is closed.
func (c *remoteContent) begin() (*io.PipeReader, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.closed:
		return nil, fs.ErrClosed
	case c.pipe != nil:
		return c.pipe, nil
	}
	p, err := c.fsys.path("read", c.name)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(c.fsys.ctx)
	from, to := io.Pipe()
	c.pipe, c.cancel, c.done = from, cancel, make(chan struct{})
	unlink := context.AfterFunc(ctx, func() { to.CloseWithError(context.Cause(ctx)) }) // a Write that nobody takes
	go func() {
		defer close(c.done)
		defer cancel()
		_, err := c.fsys.sandbox.Download(ctx, p, to, c.fsys.opts...)
		to.CloseWithError(err)
		unlink()
	}()
	return from, nil
}

// close ends the transfer and waits for its end. It reports whether the content was open.
func (c *remoteContent) close() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.closed = true
	if c.pipe != nil {
		c.cancel()
		c.pipe.CloseWithError(fs.ErrClosed)
		<-c.done
	}
	return true
}
