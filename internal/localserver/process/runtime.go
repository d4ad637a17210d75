//go:build linux || darwin

package process

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// probeTimeout bounds the throw-away sandbox that shows whether a level works.
const probeTimeout = 10 * time.Second

// Runtime implements [container.Runtime] with processes of this machine.
type Runtime struct {
	backend  backend
	warnings []string
	images   images
	data     *dataDir
	thread   *thread
	locks    fileLocks // of all containers: volumes are shared
	log      *slog.Logger

	mu        sync.Mutex
	closed    bool
	sandboxes map[*sandbox]struct{}
	closing   func() error
}

// A backend makes sandboxes of one level.
type backend interface {
	name() string
	// newPlace prepares a sandbox. The directories of its volumes exist.
	newPlace(ctx context.Context, spec container.SandboxSpec, volumes []volume) (place, error)
}

// A place is where the containers of a sandbox live.
type place interface {
	// start runs a container as start of container.Sandbox does. Closing the container removes its directory.
	start(ctx context.Context, l *launch) (container.Container, error)
	// dial connects as Dial of container.Sandbox does.
	dial(ctx context.Context, port int) (net.Conn, error)
	// copyTree copies the content of a volume, which may be in memory that only the sandbox sees.
	copyTree(ctx context.Context, c copying) (size int64, err error)
	// close kills whatever is left and returns when it is gone.
	close() error
}

// A launch is a container that is about to start.
type launch struct {
	dir        string // of the container; exists
	hostname   string
	imageRoot  string
	argv       []string // empty: wait for a signal
	env        map[string]string
	hosts      []string
	workingDir string // empty: not given
	files      []container.File
	mounts     []boundMount
	security   container.Security
	linkName   string // of a command that is offered beside linkTarget; empty: none
	linkTarget string
}

// A level is a way to isolate that this system may offer.
type level struct {
	name string
	make func(*Runtime, Options) (backend, error)
}

// New finds out what this machine allows and returns a runtime of the level that was asked for.
func New(o Options) (*Runtime, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	data, stale, err := openDataDir(o.DataDir)
	if err != nil {
		return nil, err
	}
	for _, err := range stale {
		o.Logger.Warn("old sandbox data stays", "error", err)
	}
	r := &Runtime{
		images:    images{known: maps.Clone(o.Images), required: o.RequireImage},
		data:      data,
		thread:    newThread(),
		log:       o.Logger,
		sandboxes: make(map[*sandbox]struct{}),
	}
	r.closing = sync.OnceValue(r.closeAll)
	if err := r.choose(o); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// choose takes the first level that works among those that the options allow.
func (r *Runtime) choose(o Options) error {
	var failed []string
	for _, level := range levels {
		if !allows(o.Isolation, level.name) {
			continue
		}
		err := r.try(level, o)
		if err == nil {
			r.warnings = warnings(level.name, failed)
			return nil
		}
		failed = append(failed, fmt.Sprintf("%s does not work: %v", level.name, err))
	}
	if len(failed) == 0 {
		failed = append(failed, "this system does not have it")
	}
	return fmt.Errorf("isolation %s: %s", o.Isolation, strings.Join(failed, "; "))
}

func allows(asked, level string) bool {
	switch asked {
	case Auto:
		return true
	case Strict:
		return level != Plain
	default:
		return asked == level
	}
}

// try runs a command in a throw-away sandbox of the level.
func (r *Runtime) try(l level, o Options) (err error) {
	if r.backend, err = l.make(r, o); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTimeout)
	defer cancel()
	sb, err := r.newSandbox(ctx, container.SandboxSpec{ID: "probe"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	c, err := sb.startImage(ctx, Image{}, container.Spec{Command: "true"})
	if err != nil {
		return err
	}
	select {
	case <-c.Main().Done():
	case <-ctx.Done():
		return fmt.Errorf("a test command did not end within %v", probeTimeout)
	}
	if code := c.Main().ExitCode(); code != 0 {
		return fmt.Errorf("a test command ended with code %d", code)
	}
	return nil
}

// Isolation implements [container.Runtime].
func (r *Runtime) Isolation() string { return r.backend.name() }

// Warnings implements [container.Runtime].
func (r *Runtime) Warnings() []string { return slices.Clone(r.warnings) }

// NewSandbox implements [container.Runtime].
func (r *Runtime) NewSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	sb, err := r.newSandbox(ctx, spec)
	if err != nil {
		return nil, err // a nil *sandbox in the interface would not be nil
	}
	return sb, nil
}

func (r *Runtime) newSandbox(ctx context.Context, spec container.SandboxSpec) (*sandbox, error) {
	dir, err := os.MkdirTemp(r.data.path, "sandbox-")
	if err != nil {
		return nil, err
	}
	volumes, err := makeVolumes(dir, spec.Volumes)
	if err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	p, err := r.backend.newPlace(ctx, spec, volumes)
	if err != nil {
		return nil, errors.Join(err, removeTree(dir))
	}
	sb := &sandbox{runtime: r, id: spec.ID, dir: dir, place: p, volumes: volumes}
	sb.closing = sync.OnceValue(sb.close)
	if !r.track(sb) {
		return nil, errors.Join(errors.New("runtime is closed"), sb.Close())
	}
	if err := sb.fill(ctx); err != nil {
		return nil, errors.Join(err, sb.Close())
	}
	return sb, nil
}

func (r *Runtime) track(sb *sandbox) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.sandboxes[sb] = struct{}{}
	return true
}

func (r *Runtime) forget(sb *sandbox) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, sb)
}

// Close implements [container.Runtime].
func (r *Runtime) Close() error { return r.closing() }

func (r *Runtime) closeAll() error {
	r.mu.Lock()
	r.closed = true
	left := slices.Collect(maps.Keys(r.sandboxes))
	r.mu.Unlock()

	errs := make([]error, len(left))
	var wg sync.WaitGroup
	for i, sb := range left {
		wg.Go(func() { errs[i] = sb.Close() })
	}
	wg.Wait()
	r.thread.stop()
	return errors.Join(append(errs, r.data.close())...)
}

// A sandbox implements [container.Sandbox].
type sandbox struct {
	runtime *Runtime
	id      string
	dir     string
	place   place
	volumes []volume
	closing func() error
}

func (s *sandbox) Start(ctx context.Context, spec container.Spec) (container.Container, error) {
	image, err := s.runtime.images.resolve(spec.Image)
	if err != nil {
		return nil, err
	}
	return s.startImage(ctx, image, spec)
}

func (s *sandbox) startImage(ctx context.Context, image Image, spec container.Spec) (container.Container, error) {
	mounts, err := s.mounts(spec.Mounts)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(s.dir, "container-")
	if err != nil {
		return nil, err
	}
	env := mergeEnv(baseEnv(s.id, image.Path), spec.Env)
	l := &launch{
		dir:        dir,
		hostname:   s.id,
		imageRoot:  hostRootPath,
		argv:       image.Command,
		env:        env,
		hosts:      spec.Hosts,
		workingDir: spec.WorkingDir,
		security:   spec.Security,
		files:      spec.Files,
		mounts:     mounts,
	}
	if spec.Command != "" {
		l.argv = append([]string{spec.Command}, spec.Args...)
	}
	if image.Root != "" {
		l.imageRoot = filepath.Clean(image.Root)
	} else {
		l.linkName, l.linkTarget = convenienceLink(spec.Image, func(name string) (string, bool) {
			file, err := lookPath(name, hostRootPath, env["PATH"])
			return file, err == nil
		})
	}
	if l.linkName != "" {
		s.runtime.log.Info("image stands for a program of this machine", "image", spec.Image,
			"command", l.linkName, "program", l.linkTarget)
	}
	c, err := s.place.start(ctx, l)
	if err != nil {
		// What matters is why it did not start; the directory goes with the sandbox at the latest.
		_ = removeTree(dir)
		return nil, err
	}
	return c, nil
}

func (s *sandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	return s.place.dial(ctx, port)
}

func (s *sandbox) Close() error { return s.closing() }

func (s *sandbox) close() error {
	defer s.runtime.forget(s)
	return errors.Join(s.place.close(), removeTree(s.dir))
}
