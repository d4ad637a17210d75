package scripted

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// defaultMain is the command of a container that names none, as if it were the image's.
var defaultMain = []string{"sleep", "infinity"}

// A box is a container.
type box struct {
	sandbox *sandbox
	spec    container.Spec
	env     map[string]string
	files   *Files
	main    *process

	mu     sync.Mutex
	closed bool
	others map[*process]bool // those that run besides main
}

func newBox(s *sandbox, spec container.Spec, mounts []treeMount) *box {
	env := map[string]string{
		"PATH":     "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME":     "/root",
		"HOSTNAME": s.spec.ID,
	}
	maps.Copy(env, spec.Env)
	b := &box{
		sandbox: s,
		spec:    spec,
		env:     env,
		files:   newFiles(spec.WorkingDir, spec.Files, mounts),
		others:  make(map[*process]bool),
	}
	b.files.sealed = spec.Security.ReadOnlyRoot
	return b
}

func (b *box) startMain() error {
	argv := defaultMain
	if b.spec.Command != "" {
		argv = lease.Unwrap(append([]string{b.spec.Command}, b.spec.Args...)) // here is no shell for the watchdog
	}
	p, err := b.newProcess(container.ProcessSpec{Argv: argv})
	if err != nil {
		return err
	}
	p.atEnd = b.killOthers
	b.main = p
	p.start()
	return nil
}

// Main is the main process.
func (b *box) Main() container.Process { return b.main }

// Exec starts another process.
func (b *box) Exec(ctx context.Context, spec container.ProcessSpec) (container.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := b.newProcess(spec)
	if err != nil {
		return nil, err
	}
	p.atEnd = func() { b.forget(p) }
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errors.New("the container has ended")
	}
	b.others[p] = true
	p.start()
	return p, nil
}

func (b *box) forget(p *process) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.others, p)
}

// killOthers ends what runs besides the main process, and lets nothing start any more.
func (b *box) killOthers() {
	b.mu.Lock()
	b.closed = true
	others := slices.Collect(maps.Keys(b.others))
	b.mu.Unlock()
	for _, p := range others {
		p.Kill()
	}
}

// ReadFile returns the content of a file.
func (b *box) ReadFile(_ context.Context, path string, limit int64) ([]byte, error) {
	return b.files.read(path, limit)
}

// WriteFile creates or overwrites a file.
func (b *box) WriteFile(_ context.Context, path string, content []byte, strictParents bool) error {
	return b.files.write(path, content, strictParents)
}

// Close kills the container's processes.
func (b *box) Close() error {
	b.main.Kill()
	b.killOthers()
	b.sandbox.remove(b)
	return nil
}
