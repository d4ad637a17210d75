package cwsandbox

import (
	"context"
	"errors"
	"sync"
)

// registry holds every sandbox that a program still has to stop, from the moment its CreateSandbox may have been sent
// until it has ended, was handed over or is gone. It keeps what is needed to stop them, so that neither a handle nor a
// session has to live on.
type registry struct {
	signals *signalHook // told when there is something to protect; nil for registries of tests

	mu       sync.Mutex
	entries  map[*entry]struct{}
	of       map[*shared]*entry // those whose id is known
	cleaners int                // callers that wait for a cleanup; meanwhile nothing new is admitted
	round    *round             // the cleanup that they share
}

// entry is one sandbox, or one create whose outcome is not known.
type entry struct {
	client    *Client
	create    *creation               // nil once the id is known
	state     *shared                 // nil until the id is known
	interrupt context.CancelCauseFunc // ends the calls of the create
	decided   chan struct{}           // closed when those are over: something was made, or nothing, or it is being undone
}

func newRegistry() *registry {
	return &registry{entries: make(map[*entry]struct{}), of: make(map[*shared]*entry)}
}

// processRegistry is the registry of all clients that were not given one of their own.
var processRegistry = func() *registry {
	r := newRegistry()
	r.signals = &processSignals
	return r
}()

var errCleaning = errors.New("the program is cleaning up")

// begin enters a create that is about to be sent, unless a cleanup is running. The context that it returns ends with ctx
// or when a cleanup begins; decide must be called when the calls of the create are over.
func (r *registry) begin(ctx context.Context, cr *creation) (context.Context, error) {
	if r.signals != nil {
		r.signals.install()
	}
	g := r.guard()
	var frozen []byte
	if cr.known == nil { // else undoing it would end the sandbox of the first one, which may have been detached
		frozen = g.freeze(cr.request)
	}
	defer g.await()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cleaners > 0 {
		return nil, cr.call().refuse(errCleaning.Error(), ErrClosed)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	cr.entry = &entry{client: cr.client, create: cr, interrupt: cancel, decided: make(chan struct{})}
	r.entries[cr.entry] = struct{}{}
	g.creating(cr.entry, frozen)
	return ctx, nil
}

// decide records that the calls of the create are over. Further calls do nothing.
func (r *registry) decide(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !isClosed(e.decided) {
		close(e.decided)
		e.interrupt(nil)
	}
}

// created records the answer of a create.
func (r *registry) created(e *entry, s *shared) {
	g := r.guard()
	defer g.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.state == s && r.of[s] == e {
		return // the answer of a repetition
	}
	if known := r.of[s]; known != nil && known != e { // adopted meanwhile
		delete(r.entries, e)
		g.settle(e)
		return
	}
	e.create, e.state = nil, s
	r.entries[e], r.of[s] = struct{}{}, e // again, should it have been given up meanwhile
	g.track(e)
}

// adopt enters a sandbox that this program did not create, if it is not in. A cleanup that is running would not see it,
// and a closed client may not have what it takes to stop it. The guard still has to be awaited.
func (r *registry) adopt(op string, s *shared) error {
	if r.signals != nil {
		r.signals.install()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := call{op: op, sandbox: s.id}
	switch {
	case r.of[s] != nil:
		return nil
	case r.cleaners > 0:
		return c.refuse(errCleaning.Error(), ErrClosed)
	case s.client.isClosed(): // checked in here, because Close counts after it has closed
		return c.refuse("the client is closed", ErrClosed)
	}
	e := &entry{client: s.client, state: s, interrupt: func(error) {}}
	r.entries[e], r.of[s] = struct{}{}, e
	r.guard().track(e)
	return nil
}

// cleaning reports whether somebody waits for a cleanup.
func (r *registry) cleaning() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cleaners > 0
}

// remove takes an entry out.
func (r *registry) remove(e *entry) {
	g := r.guard()
	defer g.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, e)
	g.settle(e)
	if e.state != nil && r.of[e.state] == e {
		delete(r.of, e.state)
	}
}

// drop takes a sandbox out, if it is in.
func (r *registry) drop(s *shared) {
	r.settle(s, func(e *entry) {
		delete(r.entries, e)
		delete(r.of, s)
	})
}

// tracks reports whether the program has to stop a sandbox.
func (r *registry) tracks(s *shared) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of[s] != nil
}

// statesOf returns the tracked sandboxes of a client whose ids are known.
func (r *registry) statesOf(c *Client) []*shared {
	r.mu.Lock()
	defer r.mu.Unlock()
	var states []*shared
	for s := range r.of {
		if s.client == c {
			states = append(states, s)
		}
	}
	return states
}

// count returns how many sandboxes of c are tracked, creates in flight included.
func (r *registry) count(c *Client) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for e := range r.entries {
		if e.client == c {
			n++
		}
	}
	return n
}

// unsettled returns how many sandboxes a cleanup would have to stop, creates in flight included.
func (r *registry) unsettled() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for e := range r.entries {
		if !e.accepted() {
			n++
		}
	}
	return n
}

// stopped reports whether the service has taken a delete of ours.
func (e *entry) stopped() bool {
	if e.state == nil {
		return false
	}
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	return e.state.info.stopped
}

// accepted reports whether the sandbox is on its way to its end, so that deleting it would be of no use.
func (e *entry) accepted() bool {
	if e.state == nil {
		return false
	}
	e.state.mu.Lock()
	defer e.state.mu.Unlock()
	return e.state.draining()
}
