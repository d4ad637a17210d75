package cwsandbox

import (
	"context"
	"iter"
	"slices"
)

// Attach is [Client.Attach], and adopts the sandbox: the session stops it when it is closed. One that has ended is
// returned, but there is nothing to adopt.
func (s *Session) Attach(ctx context.Context, id string, opts ...AttachOption) (*Sandbox, error) {
	if err := s.state.admit("attach"); err != nil {
		return nil, err
	}
	sb, err := s.state.client.Attach(ctx, id, opts...)
	if err != nil {
		return nil, err
	}
	if err := s.state.adopt("attach", sb.s); err != nil {
		return nil, err
	}
	return sb, nil
}

// List is [Client.List] of the sandboxes that carry all of the session's tags and those of opts, on the session's runners
// unless opts has [WithRunners]. It adopts nothing: see [Session.Adopt] and [Session.AdoptAll].
func (s *Session) List(ctx context.Context, opts ...ListOption) iter.Seq2[*Sandbox, error] {
	list := s.state.client.List(ctx, s.state.within(opts)...)
	return func(yield func(*Sandbox, error) bool) {
		if err := s.state.admit("list"); err != nil {
			yield(nil, err)
			return
		}
		list(yield)
	}
}

// Adopt makes the session the owner of a sandbox, whoever created it: closing the session, or the end of the program,
// stops it. One that another session of the client owns moves. One that is known to have ended, or that the session owns
// already, changes nothing. A nil sandbox and one of another client are [ErrInvalidArgument].
func (s *Session) Adopt(sb *Sandbox) error {
	c := call{op: "adopt"}
	if sb == nil {
		return c.refuse("the sandbox is nil", ErrInvalidArgument)
	}
	c.sandbox = sb.s.id
	if sb.s.client != s.state.client {
		return c.refuse("the sandbox is a handle of another client", ErrInvalidArgument)
	}
	return s.state.adopt("adopt", sb.s)
}

// AdoptAll adopts, as [Session.Adopt] does, everything active that [Session.List] yields, and returns it. It takes sandboxes of
// other programs and sessions too, so it wants to be told whose: without a tag, runners, volumes, an owner or an age,
// the session's own tags and runners counted, it is [ErrInvalidArgument]. What was adopted before an error stands beside it.
func (s *Session) AdoptAll(ctx context.Context, opts ...ListOption) ([]*Sandbox, error) {
	const op = "adopt all"
	st := s.state
	if err := st.admit(op); err != nil {
		return nil, err
	}
	config := listConfig{op: op}
	config.apply(st.within(opts))
	if err := config.faults.err(call{op: op}); err != nil {
		return nil, err
	}
	if !config.selective() {
		return nil, call{op: op}.refuse("without a filter it would take over everything that the caller can see", ErrInvalidArgument)
	}
	var adopted []*Sandbox
	var refused error
	err := st.client.walk(ctx, config, func(sb *Sandbox) bool {
		if refused = st.adopt(op, sb.s); refused != nil {
			return false
		}
		if !sb.s.over() {
			adopted = append(adopted, sb)
		}
		return true
	})
	if err == nil {
		err = refused
	}
	return adopted, err
}

// within adds what the session asks of a list.
func (st *sessionState) within(opts []ListOption) []ListOption {
	return slices.Concat(st.filter, opts)
}

// asFilter is what a list can ask for of the sandboxes that these options create.
func (c *createConfig) asFilter() []ListOption {
	var filter []ListOption
	if tags := c.tags.value; len(tags) > 0 {
		filter = append(filter, WithTags(tags...))
	}
	if runners := c.runners.value; len(runners) > 0 && c.spilled() == nil { // what spills over is elsewhere
		filter = append(filter, WithRunners(runners...))
	}
	return filter
}

// selective reports whether the list asks for less than all that is active. A state alone does not: nearly everything is
// running.
func (c listConfig) selective() bool {
	return len(c.tags) > 0 || len(c.runners) > 0 || len(c.volumes) > 0 || c.olderThan > 0 || c.owner != (Owner{})
}

// adopt makes the session the owner of a sandbox, unless it has ended. Every error is ErrClosed.
func (st *sessionState) adopt(op string, s *shared) error {
	if st == nil {
		return nil
	}
	defer st.client.registry.guard().await() // without the lock
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closing {
		return closedError(op)
	}
	if s.over() { // an end that is seen from here on finds the new owner
		return nil
	}
	if err := st.client.registry.adopt(op, s); err != nil {
		return err
	}
	st.take(s)
	st.client.expiry.arm(s.expires())
	st.client.beats.keep(s)
	return nil
}

// own makes the session, which may be closing, the owner of a sandbox that it has to stop.
func (st *sessionState) own(s *shared) {
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !s.over() {
		st.take(s)
	}
}

// take moves a sandbox here. The caller holds st.mu.
func (st *sessionState) take(s *shared) {
	if s.owner == st {
		return
	}
	s.owner.letGo(s)
	s.owner = st
	st.owned[s] = new(stats)
}

// leaveSession takes the sandbox out of the session that owns it.
func (s *shared) leaveSession() {
	s.client.owners.Lock()
	defer s.client.owners.Unlock()
	s.owner.letGo(s)
	s.owner = nil
}

// letGo takes a sandbox out, and keeps what is counted of it. The caller holds st.mu.
func (st *sessionState) letGo(s *shared) {
	if st == nil {
		return
	}
	st.past.add(st.owned[s].commands.Load())
	delete(st.owned, s)
}

// session returns the owner, or nil.
func (s *shared) session() *sessionState {
	s.client.owners.Lock()
	defer s.client.owners.Unlock()
	return s.owner
}

// over reports whether there is nothing left to stop.
func (s *shared) over() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gone || s.ended()
}
