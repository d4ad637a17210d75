package cwsandbox

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// Session owns sandboxes: it lays its defaults under every create, and stops what it made when it is closed. All methods
// are safe for concurrent use.
type Session struct{ state *sessionState }

// sessionState is what sandboxes know of their session. It is nil for sandboxes without one.
type sessionState struct {
	client   *Client
	defaults []Option

	// ends is over when the session begins to close. Creates in flight end with it.
	ends context.Context
	end  context.CancelCauseFunc

	creates sync.WaitGroup // in flight; grows only while the session is open

	mu      sync.Mutex
	closing bool
	owned   map[*shared]struct{}
	open    map[*creation]struct{} // creates that could not be undone
	round   *Future[struct{}]      // the running or last round of stops
}

// NewSession returns a session whose options are laid under those of every create: tags and environment merge, other
// values give way. Options are checked now; nothing is sent.
func (c *Client) NewSession(opts ...Option) (*Session, error) {
	if c.isClosed() {
		return nil, call{op: "new session"}.refuse("the client is closed", ErrClosed)
	}
	if _, err := newCreateConfig("new session", c.config.environment, opts, nil); err != nil {
		return nil, err
	}
	st := &sessionState{client: c, defaults: slices.Clone(opts), owned: make(map[*shared]struct{}), open: make(map[*creation]struct{})}
	st.ends, st.end = context.WithCancelCause(context.Background())
	return &Session{state: st}, nil
}

// Run is [Client.Run] with the session's defaults; the session owns the sandbox.
func (s *Session) Run(ctx context.Context, opts ...Option) (*Sandbox, error) {
	return s.state.client.run(ctx, s.state, opts)
}

// Create is [Client.Create] with the session's defaults; the session owns the sandbox.
func (s *Session) Create(ctx context.Context, opts ...Option) (*Sandbox, error) {
	st, err := s.state.client.create(ctx, "create", s.state, opts)
	if err != nil {
		return nil, err
	}
	return &Sandbox{st}, nil
}

// Len returns how many sandboxes the session owns that are not known to have ended, creates that could not be undone
// included.
func (s *Session) Len() int {
	s.state.mu.Lock()
	defer s.state.mu.Unlock()
	return len(s.state.owned) + len(s.state.open)
}

// Close stops everything that the session owns, all at once, and returns when all have ended. Creates in flight fail with
// [ErrClosed], and what they made is deleted before Close returns. From the first call on nothing new can be made.
//
// Each stop has its own budget (see [Sandbox.Stop]). The error joins those of the sandboxes that could not be stopped,
// each with its id; they stay owned, and another Close tries them again. Calls that overlap share one round and its
// result; after a success Close does nothing.
func (s *Session) Close() error {
	st := s.state
	st.mu.Lock()
	st.closing = true
	if st.round == nil || st.round.finished() {
		st.round = newFuture(st.stopAll)
	}
	round := st.round.Start()
	st.mu.Unlock()
	st.end(call{op: "close session"}.refuse("the session is closed", ErrClosed))
	_, err := round.Wait()
	return err
}

// stopAll is one round of a close.
func (st *sessionState) stopAll() (struct{}, error) {
	st.creates.Wait()
	st.mu.Lock()
	var stops []*Future[StopResult]
	for s := range st.owned {
		stops = append(stops, newFuture(func() (StopResult, error) { return s.stopOnce(stopConfig{}) }))
	}
	for cr := range st.open {
		stops = append(stops, newFuture(func() (StopResult, error) { return StopResult{}, withUndoBudget(cr.undoOrKeep) }))
	}
	clear(st.open)
	st.mu.Unlock()
	_, err := WaitAll(context.Background(), stops...)
	return struct{}{}, err
}

// options are the defaults of the session, if there is one.
func (st *sessionState) options() []Option {
	if st == nil {
		return nil
	}
	return st.defaults
}

// creating admits a create and returns its context, which ends when the session closes. release must be called.
func (st *sessionState) creating(ctx context.Context, op string) (_ context.Context, release func(), err error) {
	if st == nil {
		return ctx, func() {}, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return nil, nil, call{op: op}.refuse("the session is closed", ErrClosed)
	}
	st.creates.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	unlink := context.AfterFunc(st.ends, func() { cancel(context.Cause(st.ends)) })
	return ctx, func() {
		unlink()
		cancel(nil)
		st.creates.Done()
	}, nil
}

// blame replaces the error of a create whose context ended only because the session closed.
func (st *sessionState) blame(caller context.Context, c call, err error) error {
	if !st.closed() || caller.Err() != nil || !errors.Is(err, context.Canceled) {
		return err
	}
	closed := c.refuse("the session was closed meanwhile", ErrClosed)
	if errors.Is(err, ErrUndecided) {
		return undecided(closed)
	}
	return closed
}

// closed reports whether the session has begun to close.
func (st *sessionState) closed() bool { return st != nil && st.ends.Err() != nil }

// hold keeps a closing session from finishing until the returned function is called. It may be called only while a create
// of the session is in flight.
func (st *sessionState) hold() (release func()) {
	if st == nil {
		return func() {}
	}
	st.creates.Add(1)
	return st.creates.Done
}

// keep remembers a create that could not be undone, for the next round of a close.
func (st *sessionState) keep(cr *creation) {
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.open[cr] = struct{}{}
}

// adopt takes a sandbox in, unless it has ended. It reports false when the session is closing.
func (st *sessionState) adopt(s *shared) bool {
	if st == nil {
		return true
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone && !s.ended() {
		s.owner = st
		st.owned[s] = struct{}{}
	}
	return true
}

// leaveSession takes the sandbox out of the session that owns it.
func (s *shared) leaveSession() {
	s.mu.Lock()
	st := s.owner
	s.owner = nil
	s.mu.Unlock()
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.owned, s)
}
