//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// plain is the backend that runs ordinary processes of this user.
type plain struct {
	thread *thread
	locks  *fileLocks
}

func newPlain(r *Runtime, _ Options) (backend, error) { return plain{r.thread, &r.locks}, nil }

func (p plain) name() string { return Plain }

func (p plain) newPlace(_ context.Context, spec container.SandboxSpec, volumes []volume) (place, error) {
	if spec.DenyEgress {
		return nil, fmt.Errorf("deny egress: %w: plain isolation has no network of its own", errors.ErrUnsupported)
	}
	for _, v := range volumes {
		if v.MemoryBytes > 0 {
			return nil, fmt.Errorf("volume %s: %w: plain isolation has no file systems in memory", v.Name, errors.ErrUnsupported)
		}
	}
	return &plainPlace{plain: p}, nil
}

// A plainPlace is a sandbox without walls.
type plainPlace struct {
	plain

	mu         sync.Mutex
	closed     bool
	containers []*plainContainer
}

func (p *plainPlace) start(_ context.Context, l *launch) (container.Container, error) {
	if l.imageRoot != hostRootPath {
		return nil, fmt.Errorf("image root %s: %w: plain isolation has no root of its own", l.imageRoot, errors.ErrUnsupported)
	}
	if s := l.security; s.User != 0 || s.Group != 0 || s.ReadOnlyRoot || len(s.Drop) > 0 {
		return nil, fmt.Errorf("security context: %w: plain isolation runs processes as they are", errors.ErrUnsupported)
	}
	c, err := newPlainContainer(p.plain, l)
	if err != nil {
		return nil, err
	}
	if !p.track(c) {
		return nil, errors.Join(errStopping, c.Close())
	}
	argv := l.argv
	if len(argv) == 0 {
		argv = []string{"tail", "-f", os.DevNull} // waits for a signal
	}
	c.main, err = c.run(container.ProcessSpec{Argv: argv})
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	c.wait.Go(c.awaitMain)
	return c, nil
}

func (p *plainPlace) dial(ctx context.Context, port int) (net.Conn, error) {
	return dialLoopback(ctx, port)
}

func (p *plainPlace) track(c *plainContainer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.containers = append(p.containers, c)
	}
	return !p.closed
}

func (p *plainPlace) close() error {
	p.mu.Lock()
	p.closed = true
	left := p.containers
	p.mu.Unlock()
	var errs []error
	for _, c := range left {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// A plainContainer implements [container.Container] with a directory and the processes started in it.
type plainContainer struct {
	plain
	dir        string
	env        map[string]string
	workingDir string
	files      plainTree
	mounted    []string // files and links outside of dir that go with the container
	made       []string // directories outside of dir that do so when nothing is left in them
	main       *process
	closing    func() error
	wait       sync.WaitGroup // for the goroutines that wait for processes

	mu      sync.Mutex
	closed  bool
	running map[*process]struct{}
}

func newPlainContainer(p plain, l *launch) (*plainContainer, error) {
	c := &plainContainer{plain: p, dir: l.dir, running: make(map[*process]struct{})}
	c.closing = sync.OnceValue(c.closeNow)
	home, tmp, bin := filepath.Join(l.dir, "home"), filepath.Join(l.dir, "tmp"), filepath.Join(l.dir, "bin")
	c.env = mergeEnv(l.env, nil)
	if c.env["HOME"] == sandboxHome {
		c.env["HOME"] = home
	}
	if _, set := c.env["TMPDIR"]; !set {
		c.env["TMPDIR"] = tmp
	}
	c.files.dirs = []string{l.dir, filepath.Clean(os.TempDir())}
	if real, err := filepath.EvalSymlinks(os.TempDir()); err == nil {
		c.files.dirs = append(c.files.dirs, real)
	}
	c.workingDir = home
	if l.workingDir != "" {
		c.workingDir = l.workingDir
		if _, _, inside := c.files.locate(l.workingDir); !inside {
			c.workingDir = filepath.Join(l.dir, "root", l.workingDir)
		}
	}
	c.files.workingDir = c.workingDir
	for _, dir := range []string{home, tmp, bin} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	if err := c.makeDirs(c.workingDir); err != nil {
		return nil, err
	}
	if l.linkName != "" {
		if err := os.Symlink(l.linkTarget, filepath.Join(bin, l.linkName)); err != nil {
			return nil, err
		}
		c.env["PATH"] = bin + ":" + c.env["PATH"]
	}
	for _, m := range l.mounts {
		if err := c.link(m); err != nil {
			return nil, errors.Join(fmt.Errorf("mount %s: %w", m.Target, err), c.Close())
		}
	}
	for _, f := range l.files {
		if err := c.mount(f); err != nil {
			return nil, errors.Join(fmt.Errorf("mounted file %s: %w", f.Path, err), c.Close())
		}
	}
	return c, nil
}

// makeDirs makes a directory and those above it where the container may have one.
func (c *plainContainer) makeDirs(dir string) error {
	var missing []string
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Lstat(d); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		missing = append(missing, d)
	}
	if err := c.files.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	c.made = append(missing, c.made...)
	return nil
}

// mount writes a file where the container may have one.
func (c *plainContainer) mount(f container.File) error {
	if err := c.makeDirs(filepath.Dir(f.Path)); err != nil {
		return err
	}
	file, err := c.files.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	c.mounted = append(c.mounted, f.Path)
	_, err = file.Write(f.Content)
	return errors.Join(err, file.Close())
}

func (c *plainContainer) Main() container.Process { return c.main }

// awaitMain kills the other processes when the main one has ended.
func (c *plainContainer) awaitMain() {
	<-c.main.Done()
	c.killAll()
}

// killAll kills what runs and lets nothing else start.
func (c *plainContainer) killAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for p := range c.running {
		p.control.kill()
	}
}

func (c *plainContainer) Exec(_ context.Context, spec container.ProcessSpec) (container.Process, error) {
	p, err := c.run(spec)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (c *plainContainer) ReadFile(_ context.Context, path string, limit int64) ([]byte, error) {
	f, err := openToRead(c.files, path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readFile(int(f.Fd()), path, limit)
}

func (c *plainContainer) WriteFile(_ context.Context, path string, content []byte, strictParents bool) error {
	f, err := openToWrite(c.files, path, strictParents)
	if err != nil {
		return err
	}
	defer f.Close()
	return c.locks.write(int(f.Fd()), path, content)
}

func (c *plainContainer) Close() error { return c.closing() }

func (c *plainContainer) closeNow() error {
	c.killAll()
	c.wait.Wait()
	var errs []error
	for _, path := range c.mounted {
		if err := os.Remove(path); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, err)
		}
	}
	for _, dir := range c.made {
		_ = os.Remove(dir) // unless a process has left something there
	}
	return errors.Join(append(errs, removeTree(c.dir))...)
}

var errOutside = errors.New("path is outside of the sandbox")

// A plainTree resolves paths below a few directories of the host, out of which no link leads.
type plainTree struct {
	dirs       []string
	links      []boundMount // inner ones last
	workingDir string
}

func (t plainTree) OpenFile(name string, flag int, perm os.FileMode) (*os.File, error) {
	var f *os.File
	err := t.in(name, func(root *os.Root, rel string) (err error) {
		f, err = root.OpenFile(rel, flag, perm)
		return err
	})
	return f, err
}

func (t plainTree) MkdirAll(name string, perm os.FileMode) error {
	return t.in(name, func(root *os.Root, rel string) error { return root.MkdirAll(rel, perm) })
}

func (t plainTree) in(name string, f func(root *os.Root, rel string) error) error {
	dir, rel, inside := t.locate(name)
	if !inside {
		return errOutside
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return f(root, rel)
}

// locate finds the directory below which name lies.
func (t plainTree) locate(name string) (dir, rel string, inside bool) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(t.workingDir, name)
	}
	for _, m := range slices.Backward(t.links) {
		if rel, err := filepath.Rel(m.Target, name); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return m.Source, filepath.Join(m.SubPath, rel), true
		}
	}
	for _, dir := range t.dirs {
		rel, err := filepath.Rel(dir, name)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return dir, rel, true
		}
	}
	return "", "", false
}
