package localserver

import (
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The hooks let a test put sandboxes into situations that clients cannot bring about. A target is the id of a
// sandbox, or a tag, which stands for every sandbox that carries it, also those that are created later.

// hooks is what tests have asked for. The store's mutex guards it.
type hooks struct {
	holds      []hold
	failStarts []failStart
	failPurges []*failPurge
	snapshots  []*SnapshotHook
	changed    chan struct{} // closed and replaced when a hold is released
}

type hold struct {
	target string
	state  sandboxv1.State
}

type failStart struct{ target, reason string }

type failPurge struct {
	target    string
	retryable bool
}

func (r *record) is(target string) bool { return r.id == target || r.hasTag(target) }

// Hold keeps the target in a state once it is reached: CREATING although everything was started, TERMINATING although
// everything has stopped, and so on. A delete leads out of every state but TERMINATING.
func (s *Server) Hold(target string, in sandboxv1.State) {
	s.store.Lock()
	defer s.store.Unlock()
	s.hooks.holds = append(s.hooks.holds, hold{target, in})
}

// Release ends all holds of the target.
func (s *Server) Release(target string) {
	s.store.Lock()
	defer s.store.Unlock()
	s.hooks.holds = slices.DeleteFunc(s.hooks.holds, func(h hold) bool { return h.target == target })
	s.hooks.notify()
}

func (h *hooks) notify() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// held reports whether a test keeps the record in its present state. The store's mutex is held.
func (s *Server) held(r *record) bool {
	return slices.ContainsFunc(s.hooks.holds, func(h hold) bool { return h.state == r.state && r.is(h.target) })
}

// hold waits while the record is in the state and held there. It returns false when the context ended.
func (s *Server) hold(ctx context.Context, r *record, in sandboxv1.State) bool {
	for {
		s.store.Lock()
		wait := r.state == in && s.held(r)
		released, changed := s.hooks.changed, r.changed
		s.store.Unlock()
		if !wait {
			return ctx.Err() == nil
		}
		select {
		case <-released:
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// FailStart makes the start of the target end in FAILED with the reason.
func (s *Server) FailStart(target, reason string) {
	s.store.Lock()
	defer s.store.Unlock()
	s.hooks.failStarts = append(s.hooks.failStarts, failStart{target, reason})
}

// startFailure is the reason that a test gave for a failing start, or empty.
func (s *Server) startFailure(r *record) string {
	s.store.Lock()
	defer s.store.Unlock()
	for _, f := range s.hooks.failStarts {
		if r.is(f.target) {
			return f.reason
		}
	}
	return ""
}

// FailPurge makes purges report the target as failed, and as worth another try or not, in place of ending it, until the
// returned function is called.
func (s *Server) FailPurge(target string, retryable bool) (release func()) {
	f := &failPurge{target, retryable}
	s.store.Lock()
	defer s.store.Unlock()
	s.hooks.failPurges = append(s.hooks.failPurges, f)
	return func() {
		s.store.Lock()
		defer s.store.Unlock()
		s.hooks.failPurges = slices.DeleteFunc(s.hooks.failPurges, func(other *failPurge) bool { return other == f })
	}
}

// purgeFailure returns what a test wants of purges that match the record, or nil. The store's mutex is held.
func (s *Server) purgeFailure(r *record) *failPurge {
	for _, f := range s.hooks.failPurges {
		if r.is(f.target) {
			return f
		}
	}
	return nil
}

// SetState shows the target in a state. A terminal one is final, and what still runs is killed; another lasts until
// the next change of the sandbox.
func (s *Server) SetState(target string, state sandboxv1.State) {
	s.each(target, func(r *record) {
		switch {
		case terminal(r.state):
		case terminal(state):
			r.ending = &ending{state: state, reason: "set by a test"}
			r.killAt = s.now()
			r.settleIn()
			r.cancel()
		default:
			r.state = state
			r.notify()
		}
	})
}

// SetExitCode shows an exit code for the target, also when it has ended.
func (s *Server) SetExitCode(target string, exit int) {
	s.each(target, func(r *record) {
		r.exitCode = code(exit)
		r.notify()
	})
}

// Pause shows a running target as PAUSED.
func (s *Server) Pause(target string) { s.swap(target, running, paused) }

// Resume shows a paused target as RUNNING.
func (s *Server) Resume(target string) { s.swap(target, paused, running) }

func (s *Server) swap(target string, from, to sandboxv1.State) {
	s.each(target, func(r *record) {
		if r.state == from {
			r.state = to
			r.notify()
		}
	})
}

// Forget makes the target unknown to every client from now on, and kills it.
func (s *Server) Forget(target string) {
	s.each(target, func(r *record) {
		r.forgotten = true
		r.delete(0)
	})
}

// ForgetFor makes the target unknown to every client for a time. It goes on running.
func (s *Server) ForgetFor(target string, d time.Duration) {
	s.each(target, func(r *record) { r.hiddenUntil = s.now().Add(d) })
}

// Expire ends the lifetime of the target now.
func (s *Server) Expire(target string) {
	s.each(target, func(r *record) { r.decide(r.expiry(), lifetimeGrace) })
}

// PauseServer holds every call at its entry, until ResumeServer.
func (s *Server) PauseServer() {
	s.store.Lock()
	defer s.store.Unlock()
	if s.resumed == nil {
		s.resumed = make(chan struct{})
	}
}

// ResumeServer lets the calls that PauseServer holds go on.
func (s *Server) ResumeServer() {
	s.store.Lock()
	defer s.store.Unlock()
	if s.resumed != nil {
		close(s.resumed)
		s.resumed = nil
	}
}

// Sandboxes returns copies of all records that are kept, oldest first, whoever owns them.
func (s *Server) Sandboxes() []*sandboxv1.Sandbox {
	var list []*sandboxv1.Sandbox
	s.all(func(r *record) { list = append(list, proto.CloneOf(r.message(s.now()))) })
	return list
}

// Active returns the ids of the sandboxes that clients could still end, oldest first: those that neither have ended
// nor were forgotten.
func (s *Server) Active() []string {
	var ids []string
	s.all(func(r *record) {
		if !terminal(r.state) && !r.forgotten {
			ids = append(ids, r.id)
		}
	})
	return ids
}

func (s *Server) each(target string, f func(*record)) {
	s.all(func(r *record) {
		if r.is(target) {
			f(r)
		}
	})
}

// all calls f for every record, with the store's mutex held.
func (s *Server) all(f func(*record)) {
	s.store.Lock()
	defer s.store.Unlock()
	s.store.sweep(s.now())
	for _, r := range s.store.ordered {
		f(r)
	}
}
