package cwsandbox

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
)

// Close stops everything that the session owns, all at once, and returns when all have ended. Creates in flight fail with
// [ErrClosed], and what they made is deleted before Close returns. From the first call on nothing new can be made or
// adopted.
//
// Each stop has its own budget (see [Sandbox.Stop]). The error joins those of the sandboxes that could not be stopped,
// each with its id; they stay owned, and another Close tries them again. Calls that overlap, of Shutdown too, share one
// round and its result; after a success Close does nothing.
//
// On a nil *Session it does nothing, so that the defer may stand before the error check of [Client.NewSession].
func (s *Session) Close() error {
	if s == nil {
		return nil
	}
	_, err := s.state.close().Wait()
	return err
}

// Shutdown is [Session.Close] with a limit on the waiting: when ctx ends first, it returns the context's error and the
// stops go on. They begin even if ctx has ended already, because undoing must not be skipped.
func (s *Session) Shutdown(ctx context.Context) error {
	_, err := s.state.close().waitContext(ctx, "shutdown")
	return err
}

// close returns a new round of stops, or the one that is under way or has succeeded. The caller begins it.
func (st *sessionState) close() *Future[struct{}] {
	st.mu.Lock()
	st.closing = true
	if st.round == nil || st.round.failed() {
		st.round = newFuture(st.stopAll)
	}
	round := st.round
	st.mu.Unlock()
	st.end(call{op: "close session"}.refuse("the session is closed", ErrClosed))
	return round
}

// stopAll is one round of a close. The owned sandboxes need not wait for creates in flight, which may take long to undo.
func (st *sessionState) stopAll() (struct{}, error) {
	defer st.client.registry.signals.afterSignal()
	stops := make(map[*shared]*Future[StopResult])
	st.stopOwned(stops)
	st.creates.Wait()
	st.stopOwned(stops) // what could not be undone
	undos := st.undoOpen()
	_, stopErr := WaitAll(context.Background(), inOrderOfIDs(stops)...)
	_, undoErr := WaitAll(context.Background(), undos...)
	return struct{}{}, errors.Join(stopErr, undoErr)
}

func inOrderOfIDs(stops map[*shared]*Future[StopResult]) []*Future[StopResult] {
	byID := func(a, b *shared) int { return cmp.Compare(a.id, b.id) }
	var ordered []*Future[StopResult]
	for _, s := range slices.SortedFunc(maps.Keys(stops), byID) {
		ordered = append(ordered, stops[s])
	}
	return ordered
}

// stopOwned begins to stop what the session owns, but for what is in stops, and adds it there.
func (st *sessionState) stopOwned(stops map[*shared]*Future[StopResult]) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for s := range st.owned {
		if stops[s] == nil {
			stops[s] = Go(func() (StopResult, error) { return s.stopOnce(stopConfig{}) })
		}
	}
}

// undoOpen takes up the creates that could not be undone.
func (st *sessionState) undoOpen() []*Future[struct{}] {
	st.mu.Lock()
	defer st.mu.Unlock()
	var undos []*Future[struct{}]
	for cr := range st.open {
		undos = append(undos, cr.undoOnce(func() {}))
	}
	return undos
}

// creating admits a create and returns its context, which ends when the session closes. release must be called.
func (st *sessionState) creating(ctx context.Context, op string) (_ context.Context, release func(), err error) {
	if st == nil {
		return ctx, func() {}, nil
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return nil, nil, closedError(op)
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

// admit refuses an operation of a session that has begun to close.
func (st *sessionState) admit(op string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return closedError(op)
	}
	return nil
}

func closedError(op string) error { return call{op: op}.refuse("the session is closed", ErrClosed) }

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

// forget is the opposite of keep.
func (st *sessionState) forget(cr *creation) {
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.open, cr)
}
