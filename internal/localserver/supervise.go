package localserver

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// maxRestarts is how often the failing process of a container is started again.
const maxRestarts = 6

// supervise runs the container: start, log, probe, wait, and again where that is the policy. It returns when the
// container has ended for good.
func (c *containerRecord) supervise() {
	r := c.record
	defer c.log.close()
	for delay := r.server.opt.RestartDelay; ; delay = max(delay, min(2*delay, maxRestartDelay)) {
		run, err := r.place.Start(r.ctx, c.runtimeSpec())
		if err != nil {
			c.startFailed(err)
			return
		}
		c.started(run)
		exit := c.attend(run)
		if !c.ended(exit) || !sleep(r.ctx, r.server.opt.Clock, delay) {
			return
		}
	}
}

func (c *containerRecord) started(run container.Container) {
	s := c.record.server
	s.store.Lock()
	c.run, c.runSince, c.state = run, s.now(), running
	if c.record.primary == c && c.record.start.IsZero() {
		c.record.start = c.runSince
	}
	if !c.hasProbe() {
		c.markReady()
	}
	late := c.record.ending != nil
	c.record.notify()
	s.store.Unlock()
	if late { // the signals have gone out already
		run.Main().Kill()
	}
}

// attend looks after one run until its process has ended and its output is stored, and returns the exit code.
func (c *containerRecord) attend(run container.Container) int {
	p := run.Main()
	var pumps, probe sync.WaitGroup
	pumps.Go(func() { c.keepLog(p.Stdout()) })
	pumps.Go(func() { c.keepLog(p.Stderr()) })
	ctx, cancel := context.WithCancel(c.record.ctx)
	if c.hasProbe() {
		probe.Go(func() { c.probe(ctx, run) })
	}
	<-p.Done()
	cancel()
	probe.Wait()
	c.record.server.drain(p, &pumps)
	if err := run.Close(); err != nil {
		c.record.server.opt.Logger.Warn("container not removed", "sandbox", c.record.id, "container", c.spec.GetName(), "error", err)
	}
	return p.ExitCode()
}

// keepLog stores a stream of the main process. The buffer is small, because every idle sandbox has two, and the
// stream is wrapped, because one that copies itself would bring a larger one.
func (c *containerRecord) keepLog(from io.Reader) {
	_, _ = io.CopyBuffer(c.log, struct{ io.Reader }{from}, make([]byte, 4<<10))
}

// drain waits for the readers of an ended process. What keeps the streams open beyond the allowed time is killed.
func (s *Server) drain(p container.Process, readers *sync.WaitGroup) {
	stop := s.opt.Clock.AfterFunc(s.opt.PipeDrain, p.Kill)
	readers.Wait()
	stop()
}

// ended notes the exit of a run, and reports whether another one follows.
func (c *containerRecord) ended(exit int) (again bool) {
	r := c.record
	r.server.store.Lock()
	defer r.server.store.Unlock()
	defer r.notify()
	c.run, c.exitCode = nil, code(exit)
	switch {
	case r.ending != nil:
	case exit == 0:
		c.succeeded()
	case r.server.opt.RestartPolicy == RestartNever:
		c.gaveUp(completed, fmt.Sprintf("exited with code %d", exit))
	case c.restarts == maxRestarts:
		c.gaveUp(failed, fmt.Sprintf("exited with code %d and was restarted %d times", exit, maxRestarts))
	default:
		c.restarts++
		return true
	}
	return false
}

// succeeded notes that the container has done its work. The store's mutex is held.
func (c *containerRecord) succeeded() {
	c.state = completed
	c.markReady()
	if c == c.record.primary {
		c.record.decide(ending{state: completed, reason: "the main process exited", fromMain: true}, 0)
	}
}

// gaveUp notes that a failed run is not followed by another one. The primary takes the sandbox with it into the given
// state; another container does so only while the next one waits for its probe. The store's mutex is held.
func (c *containerRecord) gaveUp(state sandboxv1.State, why string) {
	c.state = failed
	switch {
	case c == c.record.primary:
		c.state = state
		c.record.decide(ending{state: state, reason: "the main process " + why, fromMain: true}, 0)
	case !c.isReady:
		c.record.decide(ending{state: failed, reason: "container " + c.spec.GetName() + " " + why}, 0)
	}
}

// startFailed notes that a run could not be started. It ends the sandbox when it concerns the primary or happens on
// the way up.
func (c *containerRecord) startFailed(err error) {
	r := c.record
	r.server.store.Lock()
	defer r.server.store.Unlock()
	defer r.notify()
	if r.ending != nil {
		return
	}
	c.state = failed
	e := startEnding(c.spec.GetName(), err)
	c.exitCode = e.exitCode
	if c == r.primary || r.state != running && r.state != paused {
		if c != r.primary {
			e.exitCode = nil
		}
		r.decide(e, 0)
	}
}

// markReady lets the next container start. The store's mutex is held.
func (c *containerRecord) markReady() {
	if !c.isReady {
		c.isReady = true
		close(c.ready)
	}
}

// oneLine makes the text of an error fit for a state reason.
func oneLine(err error) string {
	return cut(strings.Join(strings.Fields(err.Error()), " "))
}
