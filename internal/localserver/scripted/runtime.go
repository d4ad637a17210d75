package scripted

import (
	"context"
	"errors"
	"maps"
	"path"
	"slices"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// A Runtime is a container.Runtime whose commands are Go functions.
type Runtime struct {
	lookup   []func(argv []string) (Command, bool) // the last one is asked first
	scripts  map[string]Command
	commands map[string]Command
	handlers sync.WaitGroup

	mu        sync.Mutex
	closed    bool
	sandboxes map[*sandbox]bool
	hostDirs  map[string]*tree
}

// An Option configures a Runtime.
type Option func(*Runtime)

// WithCommand makes a command known by its name, whatever the directory in front of it.
func WithCommand(name string, c Command) Option {
	return func(r *Runtime) { r.commands[name] = c }
}

// WithScript makes a text known as an argument of sh -c or bash -c.
func WithScript(text string, c Command) Option {
	return func(r *Runtime) { r.scripts[text] = c }
}

// WithLookup asks a function for every command, before anything that is known by name or text.
func WithLookup(f func(argv []string) (Command, bool)) Option {
	return func(r *Runtime) { r.lookup = append(r.lookup, f) }
}

// New returns a runtime with the default commands and what the options add.
func New(options ...Option) *Runtime {
	r := &Runtime{
		scripts:   map[string]Command{keepAliveScript: keepAlive},
		commands:  maps.Clone(defaultCommands),
		sandboxes: make(map[*sandbox]bool),
		hostDirs:  make(map[string]*tree),
	}
	for _, o := range options {
		o(r)
	}
	return r
}

// Isolation is "scripted".
func (r *Runtime) Isolation() string { return "scripted" }

// Warnings says that no real process runs.
func (r *Runtime) Warnings() []string {
	return []string{"the sandboxes are scripted: their commands are Go functions, and no process is started"}
}

// NewSandbox returns an empty sandbox.
func (r *Runtime) NewSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	volumes, err := r.newVolumes(spec.Volumes)
	if err != nil {
		return nil, err
	}
	s := &sandbox{runtime: r, spec: spec, volumes: volumes}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil, errors.New("the runtime is closed")
	}
	r.sandboxes[s] = true
	return s, nil
}

// Close ends every sandbox and waits for the handlers of its commands to return.
func (r *Runtime) Close() error {
	r.mu.Lock()
	r.closed = true
	open := slices.Collect(maps.Keys(r.sandboxes))
	r.mu.Unlock()
	for _, s := range open {
		_ = s.Close()
	}
	r.handlers.Wait()
	return nil
}

// resolve finds the function for a command.
func (r *Runtime) resolve(argv []string) (Command, error) {
	for _, f := range slices.Backward(r.lookup) {
		if c, ok := f(argv); ok {
			return c, nil
		}
	}
	name := path.Base(argv[0])
	if script, ok := shellScript(name, argv); ok {
		if c, ok := r.scripts[script]; ok {
			return c, nil
		}
	}
	if c, ok := r.commands[name]; ok {
		return c, nil
	}
	return Command{}, &container.StartError{Code: 127, Text: argv[0] + ": command not found"}
}

// shellScript returns the text that a shell was given to run.
func shellScript(name string, argv []string) (string, bool) {
	if (name == "sh" || name == "bash") && len(argv) >= 3 && argv[1] == "-c" {
		return argv[2], true
	}
	return "", false
}

// A sandbox is a set of containers that end together.
type sandbox struct {
	runtime *Runtime
	spec    container.SandboxSpec
	network network
	volumes map[string]*tree

	mu         sync.Mutex
	closed     bool
	containers []*box
}

// Start builds a container and starts its main process.
func (s *sandbox) Start(ctx context.Context, spec container.Spec) (container.Container, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	mounts, err := s.mounts(spec.Mounts)
	if err != nil {
		return nil, err
	}
	b := newBox(s, spec, mounts)
	if err := b.startMain(); err != nil {
		return nil, err
	}
	if !s.add(b) {
		_ = b.Close()
		return nil, errors.New("the sandbox has ended")
	}
	return b, nil
}

func (s *sandbox) add(b *box) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.containers = append(s.containers, b)
	}
	return !s.closed
}

// Close kills everything in the sandbox.
func (s *sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	containers := s.containers
	s.containers = nil
	s.mu.Unlock()
	for _, b := range containers {
		_ = b.Close()
	}
	s.network.close()
	s.runtime.mu.Lock()
	defer s.runtime.mu.Unlock()
	delete(s.runtime.sandboxes, s)
	return nil
}

func (s *sandbox) remove(b *box) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.containers = slices.DeleteFunc(s.containers, func(other *box) bool { return other == b })
}
