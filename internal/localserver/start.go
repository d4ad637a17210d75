package localserver

import (
	"errors"
	"fmt"
	"maps"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// bringUp goes through the start of a sandbox. It returns once the sandbox is RUNNING or its end was decided.
func (r *record) bringUp() {
	s := r.server
	if r.fromFile && s.opt.PrepareDelay > 0 {
		if !sleep(r.ctx, s.opt.Clock, s.opt.PrepareDelay) {
			return
		}
		r.enter(pending)
	}
	if !sleep(r.ctx, s.opt.Clock, s.opt.PendingDelay) || !s.hold(r.ctx, r, pending) {
		return
	}
	r.enter(creating)
	if r.publishErr != nil {
		r.fail(ending{state: failed, reason: "the services could not be published: " + oneLine(r.publishErr)})
		return
	}
	if reason := s.startFailure(r); reason != "" {
		r.fail(ending{state: failed, reason: reason})
		return
	}
	volumes, err := r.runtimeVolumes()
	if err != nil {
		r.fail(ending{state: failed, reason: "a volume cannot be mounted: " + oneLine(err)})
		return
	}
	place, err := s.opt.Runtime.NewSandbox(r.ctx, container.SandboxSpec{
		ID:         r.id,
		DenyEgress: s.opt.closed(r.spec.GetNetwork()),
		Volumes:    volumes,
	})
	r.releaseRestored()
	if err != nil {
		r.fail(ending{state: failed, reason: r.unprepared(err)})
		return
	}
	r.place = place
	if r.startContainers() && r.settled() && s.hold(r.ctx, r, creating) {
		r.enter(running)
	}
}

// startContainers starts the containers in their order, each after the one before is ready.
func (r *record) startContainers() bool {
	for _, c := range r.containers {
		r.supervisors.Go(c.supervise)
		select {
		case <-c.ready:
		case <-r.ctx.Done():
			return false
		}
	}
	return true
}

// settled waits until one run of the main process has lasted for the settle time.
func (r *record) settled() bool {
	s := r.server
	for r.ctx.Err() == nil {
		s.store.Lock()
		alive, since, changed := r.primary.run != nil, r.primary.runSince, r.changed
		s.store.Unlock()
		var due <-chan struct{} // without a run there is only a change to wait for
		stop := func() bool { return true }
		if alive {
			left := since.Add(s.opt.StartupSettle).Sub(s.now())
			if left <= 0 {
				return true
			}
			due, stop = after(s.opt.Clock, left)
		}
		select {
		case <-due:
		case <-changed:
		case <-r.ctx.Done():
		}
		stop()
	}
	return false
}

// fail ends the sandbox at once.
func (r *record) fail(e ending) {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	r.decide(e, 0)
}

// runtimeSpec translates a container for the runtime.
func (c *containerRecord) runtimeSpec() container.Spec {
	spec := container.Spec{
		Name:       c.spec.GetName(),
		Image:      c.spec.GetImage(),
		Command:    c.spec.GetCommand(),
		Args:       c.spec.GetArgs(),
		Env:        c.environment(),
		WorkingDir: c.spec.GetWorkingDir(),
		Hosts:      c.record.hosts,
		Security:   securityOf(c.spec.GetSecurityContext()),
	}
	for _, m := range c.spec.GetVolumeMounts() {
		spec.Mounts = append(spec.Mounts, container.Mount{
			Volume: m.GetVolume(), Path: m.GetMountPath(), SubPath: m.GetSubPath(), ReadOnly: m.GetReadOnly(),
		})
	}
	for _, f := range c.spec.GetFiles() {
		spec.Files = append(spec.Files, container.File{Path: f.GetPath(), Content: f.GetContent()})
	}
	return spec
}

// environment is that of the spec with what was granted besides.
func (c *containerRecord) environment() map[string]string {
	env := make(map[string]string)
	maps.Copy(env, c.spec.GetEnvironmentVariables())
	maps.Copy(env, c.granted)
	return env
}

// startEnding describes the end of a sandbox one of whose containers could not be started.
func startEnding(name string, err error) ending {
	e := ending{state: failed, reason: fmt.Sprintf("container %s could not be started: %s", name, oneLine(err))}
	var start *container.StartError
	if errors.As(err, &start) {
		e.exitCode = code(start.Code)
	}
	return e
}

func code(n int) *int32 {
	c := int32(n)
	return &c
}
