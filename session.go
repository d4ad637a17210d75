package cwsandbox

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// Session owns sandboxes: it lays its defaults under every create, and stops what it made or adopted when it is closed.
// All methods are safe for concurrent use. Once [Session.Close] or [Session.Shutdown] has begun, every method but those
// two, [Session.Context], [Session.Len] and [Session.Stats] fails with [ErrClosed] without asking the service.
//
// A session that is dropped unclosed stops nothing, and a warning is logged; its sandboxes stay tracked until the program
// ends.
type Session struct{ state *sessionState }

// sessionState is what sandboxes know of their session. It is nil for sandboxes without one. It does not know the
// Session, so that one that was forgotten can be collected.
type sessionState struct {
	client   *Client
	defaults []Option
	filter   []ListOption // what the defaults say that a list can ask for
	stats    stats
	created  atomic.Int64
	startups startups

	// ends is over when the session begins to close. Creates in flight end with it.
	ends context.Context
	end  context.CancelCauseFunc

	// life is the public context: it ends with ends, or when a lease is lost.
	life    context.Context
	endLife context.CancelCauseFunc

	creates sync.WaitGroup // in flight; grows only while the session is open

	mu      *sync.Mutex // the client's: a sandbox may move from one session to another
	closing bool
	owned   map[*shared]*stats     // with what was run in it since
	past    perSandbox             // of those that are not owned any more
	warm    []*Sandbox             // idle, for functions
	open    map[*creation]struct{} // creates that could not be undone
	round   *Future[struct{}]      // the running or last round of stops
}

// NewSession returns a session whose options are laid under those of every create: tags and environment merge, other
// values give way. Options are checked now; nothing is sent.
func (c *Client) NewSession(opts ...Option) (*Session, error) {
	if c.isClosed() {
		return nil, call{op: "new session"}.refuse("the client is closed", ErrClosed)
	}
	config, err := newCreateConfig("new session", c.config.environment, opts, nil)
	if err != nil {
		return nil, err
	}
	st := &sessionState{
		client:   c,
		defaults: slices.Clone(opts),
		filter:   config.asFilter(),
		mu:       &c.owners,
		owned:    make(map[*shared]*stats),
		open:     make(map[*creation]struct{}),
	}
	st.ends, st.end = context.WithCancelCause(context.Background())
	st.life, st.endLife = context.WithCancelCause(st.ends)
	s := &Session{state: st}
	runtime.AddCleanup(s, (*sessionState).dropped, st)
	return s, nil
}

// Run is [Client.Run] with the session's defaults; the session owns the sandbox.
func (s *Session) Run(ctx context.Context, opts ...Option) (*Sandbox, error) {
	return s.state.client.run(ctx, s.state, opts)
}

// RunFunc is [Client.RunFunc] with the session's defaults; the session owns the sandbox while fn runs.
func (s *Session) RunFunc(ctx context.Context, fn func(*Sandbox) error, opts ...Option) error {
	return runFunc(fn, func() (*Sandbox, error) { return s.Run(ctx, opts...) })
}

// Create is [Client.Create] with the session's defaults; the session owns the sandbox.
func (s *Session) Create(ctx context.Context, opts ...Option) (*Sandbox, error) {
	st, err := s.state.client.create(ctx, "create", s.state, opts)
	if err != nil {
		return nil, err
	}
	return st.handle(), nil
}

// Context returns a context that ends when the session begins to close, with an error that matches [ErrClosed] as its
// cause, or when the lease of one of its sandboxes is lost, with [ErrLeaseLost]: see [context.Cause] and [WithLease]. Work
// that makes no sense without the session's sandboxes runs under it. It is always the same context.
func (s *Session) Context() context.Context { return s.state.life }

// lose ends the session's context with err as its cause. The session itself goes on: it can be used and has to be closed.
func (st *sessionState) lose(err error) {
	if st != nil {
		st.endLife(err)
	}
}

// Len returns how many sandboxes the session owns that are not known to have ended, creates that could not be undone
// included.
func (s *Session) Len() int {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return len(s.state.owned) + len(s.state.open)
}

// options are the defaults of the session, if there is one.
func (st *sessionState) options() []Option {
	if st == nil {
		return nil
	}
	return st.defaults
}
