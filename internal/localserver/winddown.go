package localserver

import (
	"context"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The signals that the server sends, by number, because they are those of the sandbox and not of the host.
const sigTerm = 15

// windDown carries out an end that was decided: SIGTERM, the grace, SIGKILL, and then the record is final.
func (r *record) windDown() {
	s := r.server
	r.releaseRestored()
	r.archiveBeforeEnd()
	stopped := make(chan struct{})
	go func() {
		r.supervisors.Wait()
		close(stopped)
	}()
	if r.graceLeft() {
		for _, run := range r.runs() {
			run.Main().Signal(sigTerm)
		}
		r.awaitGrace(stopped)
	}
	for _, run := range r.runs() {
		run.Main().Kill()
	}
	<-stopped
	r.leave(errSandboxEnded)
	r.archives.Wait()
	r.unpublish()
	if r.place != nil {
		if err := r.place.Close(); err != nil {
			s.opt.Logger.Warn("sandbox not removed", "sandbox", r.id, "error", err)
		}
	}
	r.finish()
}

func (r *record) graceLeft() bool {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	return r.killAt.After(r.server.now())
}

// awaitGrace returns when everything has stopped or the grace is over, which may become shorter on the way.
func (r *record) awaitGrace(stopped <-chan struct{}) {
	s := r.server
	for {
		s.store.Lock()
		left, changed := r.killAt.Sub(s.now()), r.changed
		s.store.Unlock()
		if left <= 0 {
			return
		}
		due, stop := after(s.opt.Clock, left)
		select {
		case <-due:
		case <-changed:
		case <-stopped:
		}
		stop()
		select {
		case <-stopped:
			return
		default:
		}
	}
}

// runs returns the containers that run.
func (r *record) runs() []container.Container {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	var list []container.Container
	for _, c := range r.containers {
		if c.run != nil {
			list = append(list, c.run)
		}
	}
	return list
}

// finish makes the record final, unless a test has done so already.
func (r *record) finish() {
	for !r.tryFinish() {
		r.server.hold(context.Background(), r, r.currentState())
	}
}

func (r *record) tryFinish() bool {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	switch {
	case terminal(r.state):
	case r.server.held(r):
		return false
	default:
		r.settleIn()
	}
	return true
}

func (r *record) currentState() sandboxv1.State {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	return r.state
}
