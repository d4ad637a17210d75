package cwsandbox

import (
	"context"
	"runtime"
	"sync"
	"time"
	"weak"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// shared is what all handles of one sandbox on one client have in common: what was last seen, the poll that waiters
// share, the stop that callers join. The client knows it weakly; handles, sessions and the registry keep it alive.
type shared struct {
	client *Client
	id     string
	stats  stats
	files  fileLimit

	// life ends, with an error as its cause, when a stop of this client has seen the end of the sandbox. Streams that
	// are still open then end with it.
	life    context.Context
	endLife context.CancelCauseFunc

	mu        sync.Mutex
	info      Info
	seen      uint64        // number of the newest request whose answer was applied
	gone      bool          // the service does not know the sandbox any more
	codeFinal bool          // no exit code is worth waiting for
	missing   time.Time     // since when an accepted stop is answered by NOT_FOUND
	changed   chan struct{} // closed and replaced whenever something above changes
	poll      *poll         // nil: nobody waits
	stop      *stopRun      // the stop in flight, or the last one
	grace     time.Duration // default of stops
	owner     *sessionState // the session that stops it, if any
}

// stateOf returns the one shared state of a sandbox id.
func (c *Client) stateOf(id string) *shared {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.states[id].Value(); s != nil {
		return s
	}
	s := &shared{client: c, id: id, info: Info{ID: id}, changed: make(chan struct{}), grace: defaultGrace}
	s.life, s.endLife = context.WithCancelCause(context.Background())
	c.states[id] = weak.Make(s)
	runtime.AddCleanup(s, c.forget, id)
	return s
}

// known returns the shared state of an id that somebody holds, or nil.
func (c *Client) known(id string) *shared {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.states[id].Value()
}

// forget drops the weak reference to a shared state that was collected.
func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.states[id].Value() == nil { // else somebody has made a new one meanwhile
		delete(c.states, id)
	}
}

// request returns the number of a request that leaves now. An answer to an older request never replaces an answer to a
// newer one.
func (c *Client) request() uint64 { return c.requests.Add(1) }

// apply takes over a record that answers request number n.
func (s *shared) apply(n uint64, record *sandboxv1.Sandbox) {
	s.mu.Lock()
	ended := s.applyLocked(n, infoOf(record, time.Now()))
	s.mu.Unlock()
	if ended {
		s.untrack()
	}
}

// applyLocked reports whether the sandbox is now known to have ended.
func (s *shared) applyLocked(n uint64, next Info) (ended bool) {
	current := &s.info
	next.ID, next.stopped = s.id, current.stopped
	switch {
	case s.gone:
		return true
	case current.State.Terminal(): // frozen, but for what may come late
		if current.ExitCode == nil {
			current.ExitCode = next.ExitCode
		}
		if current.EndTime.IsZero() {
			current.EndTime = next.EndTime
		}
	case n < s.seen, next.rank() < current.rank():
		return false
	default:
		s.seen, *current = n, next
	}
	s.missing = time.Time{}
	s.broadcast()
	return s.ended()
}

// lost records that the service does not know the sandbox.
func (s *shared) lost() {
	s.mu.Lock()
	s.gone = true
	s.broadcast()
	s.mu.Unlock()
	s.untrack()
}

// accepted records that the service has taken a delete of this client.
func (s *shared) accepted(n uint64, record *sandboxv1.Sandbox) {
	s.mu.Lock()
	s.info.stopped = true
	ended := s.applyLocked(n, infoOf(record, time.Now()))
	if s.poll != nil {
		s.poll.hurry()
	}
	s.mu.Unlock()
	if ended {
		s.untrack()
	}
}

// broadcast wakes everybody who waits for a change.
func (s *shared) broadcast() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// ended reports whether nothing more will happen.
func (s *shared) ended() bool { return s.info.ended() }

// settled is ended, and that the exit code is there or not worth waiting for.
func (s *shared) settled() bool {
	return s.ended() && (s.info.State != StateCompleted || s.info.ExitCode != nil || s.info.stopped || s.codeFinal)
}

// snapshot returns a copy of what was last seen.
func (s *shared) snapshot() Info {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info.clone()
}

// untrack takes the sandbox out of its session and of the registry: there is nothing left to stop.
func (s *shared) untrack() {
	s.leaveSession()
	s.client.registry.drop(s)
	s.client.settled()
}

// stream returns the context of one stream of the sandbox. It ends with ctx, with release, or, with an ErrNotRunning
// error as its cause, when a stop of this client has seen the sandbox end. release must be called.
func (s *shared) stream(ctx context.Context) (_ context.Context, release func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(s.life, func() { cancel(context.Cause(s.life)) })
	return ctx, func() {
		unlink()
		cancel(nil)
	}
}
