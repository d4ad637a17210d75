package cwsandbox

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// shared is what all handles of one sandbox on one client have in common: what was last seen, the poll that waiters
// share, the stop that callers join. The client knows it weakly; handles, sessions and the registry keep it alive.
type shared struct {
	client   *Client
	id       string
	stats    stats
	files    fileLimit
	programs programs
	relay    atomic.Value // string: what has connected to a server in the sandbox

	// data carries the operations on the data of the sandbox: commands, shells, logs, files. Each call takes the way that
	// path chooses for it when it begins, directly or by the gateway, and fails as on client.sandboxes; with
	// transport.Via among its options it tells which way that was. Call ready before, and use client.sandboxes only for
	// what has to work by itself, such as heartbeats.
	data sandboxv1.SandboxDataPlaneServiceClient
	path *transport.Path

	// life ends, with an error as its cause, when a stop of this client has seen the end of the sandbox. Streams that
	// are still open then end with it.
	life    context.Context
	endLife context.CancelCauseFunc

	mu        sync.Mutex
	info      Info
	seen      uint64           // number of the newest request whose answer was applied
	gone      bool             // the service does not know the sandbox any more
	codeFinal bool             // no exit code is worth waiting for
	missing   time.Time        // since when an accepted stop is answered by NOT_FOUND
	changed   chan struct{}    // closed and replaced whenever something above changes
	poll      *poll            // nil: nobody waits
	stop      *stopRun         // the stop in flight
	deletion  *Future[removed] // the DeleteSandbox in flight, or the last one
	resisted  error            // the newest failure of a plain one that was repeated
	archived  *archive         // what a stop of ours has archived
	grace     time.Duration    // default of stops
	token     ShareToken
	tokenless *creation           // whose answer should have had the token
	recovery  *Future[ShareToken] // the newest try to have it

	holders    int       // handles, and stops that were not begun
	reported   bool      // that it may be left behind
	expiryLook time.Time // when it was last looked at because its lifetime was over
	disarmed   bool      // its lease was ended by us
	starting   starting

	owner *sessionState // the session that stops it, if any; guarded by client.owners
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
	s.path = c.conn.Path(id, c.config.mode(c.config.dataPlane))
	s.data = sandboxv1.NewSandboxDataPlaneServiceClient(s.path)
	c.states[id] = weak.Make(s)
	runtime.AddCleanup(s, c.forget, id)
	runtime.AddCleanup(s, (*transport.Path).Drop, s.path)
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

// apply takes over a record that answers request number n, and logs a new state.
func (s *shared) apply(n uint64, record *sandboxv1.Sandbox) {
	if before, after := s.learn(n, record); before != after {
		s.client.config.logger.Debug("a sandbox was seen in a new state", "sandbox", s.id, "state", after)
	}
}

// learn is apply without the log, which may block. It returns the state as it was known before, and as it is now.
func (s *shared) learn(n uint64, record *sandboxv1.Sandbox) (before, after State) {
	s.mu.Lock()
	before = s.info.State
	ended := s.applyLocked(n, infoOf(record, time.Now()))
	after = s.info.State
	s.mu.Unlock()
	if ended {
		s.untrack()
	}
	return before, after
}

// applyLocked reports whether the sandbox is now known to have ended.
func (s *shared) applyLocked(n uint64, next Info) (ended bool) {
	current := &s.info
	next.ID, next.stopped = s.id, current.stopped
	if next.Volumes == nil { // an answer need not repeat the spec
		next.Volumes = current.Volumes
	}
	if next.Lease == 0 {
		next.Lease, next.lease = current.Lease, current.lease
	}
	next.carryServices(current.Services)
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
		s.starting.seen(next.State)
	}
	s.missing = time.Time{}
	if s.ended() {
		s.tokenless = nil // it holds the whole request
	}
	s.broadcast()
	return s.ended()
}

// lost records that the service does not know the sandbox.
func (s *shared) lost() {
	s.mu.Lock()
	s.gone = true
	s.info.dropAddresses()
	s.broadcast()
	s.mu.Unlock()
	s.untrack()
}

// accepted records that the service has taken a delete of this client.
func (s *shared) accepted(n uint64, record *sandboxv1.Sandbox) {
	s.mu.Lock()
	s.info.stopped = true
	s.info.dropAddresses() // also where the answer is not newer than what is known
	ended := s.applyLocked(n, infoOf(record, time.Now()))
	if s.poll != nil {
		s.poll.hurry()
	}
	s.mu.Unlock()
	if ended {
		s.untrack()
	} else {
		s.client.registry.relieve(s)
		s.path.Drop() // nothing begins in it any more
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

// untrack takes the sandbox out of its session and of the registry: there is nothing left to stop. Its direct
// connections are closed.
func (s *shared) untrack() {
	s.leaveSession()
	s.client.registry.drop(s)
	s.path.Drop()
	s.client.settled()
}

// untrackEnded is untrack for a sandbox that is known to have ended, and nothing for any other.
func (s *shared) untrackEnded() {
	if s.over() {
		s.untrack()
	}
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
