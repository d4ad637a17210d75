package localserver

import (
	"fmt"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The states, by short names.
const (
	preparing   = sandboxv1.State_STATE_PREPARING
	pending     = sandboxv1.State_STATE_PENDING
	creating    = sandboxv1.State_STATE_CREATING
	running     = sandboxv1.State_STATE_RUNNING
	paused      = sandboxv1.State_STATE_PAUSED
	terminating = sandboxv1.State_STATE_TERMINATING
	completed   = sandboxv1.State_STATE_COMPLETED
	failed      = sandboxv1.State_STATE_FAILED
	terminated  = sandboxv1.State_STATE_TERMINATED
)

// lifetimeGrace is what a sandbox gets between SIGTERM and SIGKILL when its lifetime is over.
const lifetimeGrace = 5 * time.Second

// An ending is a decision that a sandbox ends, and what its record will say. The first one counts, save that a
// delete overrides one that is still being carried out.
type ending struct {
	state  sandboxv1.State
	reason string
	// exitCode is what the end itself tells; with fromMain set it is what the primary's process is seen to return.
	exitCode *int32
	fromMain bool
}

// decide starts the end of the sandbox, with so much time between SIGTERM and SIGKILL. The store's mutex is held.
func (r *record) decide(e ending, grace time.Duration) {
	if r.ending != nil || terminal(r.state) {
		return
	}
	r.ending = &e
	r.killAt = r.server.now().Add(grace)
	r.cancel()
	r.notify()
}

// delete decides on the end that a client asked for. Where the sandbox is ending already, the nearer deadline counts.
// The store's mutex is held.
func (r *record) delete(grace time.Duration) {
	if terminal(r.state) {
		return
	}
	if r.archiving != nil {
		r.archiving.grace = min(r.archiving.grace, grace)
		return
	}
	if at := r.server.now().Add(grace); r.ending == nil || at.Before(r.killAt) {
		r.killAt = at
	}
	if r.ending == nil || r.state != terminating { // a test may have set the state
		r.ending = r.deletion()
		r.state, r.reason = terminating, r.ending.reason
	}
	r.cancel()
	r.notify()
}

// deletion describes the end of a deleted sandbox. One that never was RUNNING has no exit code.
func (r *record) deletion() *ending {
	switch r.state {
	case preparing, pending, creating:
		return &ending{state: r.server.opt.DeleteEndsIn, reason: "deleted before start"}
	}
	return &ending{state: r.server.opt.DeleteEndsIn, reason: "deleted", fromMain: !r.server.opt.OmitExitCodeOnDelete}
}

// expire ends the sandbox because its lifetime is over.
func (r *record) expire() {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	r.decide(r.expiry(), lifetimeGrace)
}

func (r *record) expiry() ending {
	return ending{
		state:  r.server.opt.LifetimeEndsIn,
		reason: fmt.Sprintf("the lifetime of %d s is over", int(r.lifetime/time.Second)),
	}
}

// drive takes the sandbox from acceptance to its end. It is the only goroutine that starts and stops containers, and
// returns when nothing of the sandbox is left.
func (r *record) drive() {
	r.bringUp()
	<-r.ctx.Done()
	r.windDown()
}

// enter changes the state on the way up. It does nothing once an end was decided.
func (r *record) enter(s sandboxv1.State) {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	if r.ending != nil {
		return
	}
	r.state = s
	r.notify()
}

// settleIn writes the end into the record. The store's mutex is held.
func (r *record) settleIn() {
	e := r.ending
	r.state, r.reason, r.exitCode = e.state, e.reason, e.exitCode
	if e.fromMain {
		r.exitCode = r.primary.exitCode
	}
	r.end = r.server.now()
	for _, c := range r.containers {
		if !terminal(c.state) {
			c.state = terminated
		}
	}
	r.stopExpiry()
	r.server.store.noteEnd(r)
	if p := r.server.direct; p != nil {
		p.ended(r.id)
	}
	r.notify()
}
