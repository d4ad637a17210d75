package cwsandbox

import (
	"sync"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// registry holds every sandbox that a program still has to stop, from the moment its CreateSandbox may have been sent
// until it has ended, was handed over or is gone. It keeps what is needed to stop them, so that neither a handle nor a
// session has to live on.
type registry struct {
	mu      sync.Mutex
	entries map[*entry]struct{}
	of      map[*shared]*entry // those whose id is known
}

// entry is one sandbox, or one create whose outcome is not known.
type entry struct {
	client *Client
	create *sandboxv1.CreateSandboxRequest // frozen; nil once the id is known
	state  *shared                         // nil until the id is known
	// accepted: the service has taken a delete, but nobody saw the end. Another delete would be of no use.
	accepted bool
}

func newRegistry() *registry {
	return &registry{entries: make(map[*entry]struct{}), of: make(map[*shared]*entry)}
}

// processRegistry is the registry of all clients that were not given one of their own.
var processRegistry = newRegistry()

// begin enters a create that is about to be sent.
func (r *registry) begin(c *Client, req *sandboxv1.CreateSandboxRequest) *entry {
	e := &entry{client: c, create: req}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries[e] = struct{}{}
	return e
}

// created records the answer of a create.
func (r *registry) created(e *entry, s *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known := r.of[s]; known != nil && known != e { // adopted meanwhile
		delete(r.entries, e)
		return
	}
	e.create, e.state = nil, s
	r.of[s] = e
}

// remove takes an entry out.
func (r *registry) remove(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.entries, e)
	if e.state != nil && r.of[e.state] == e {
		delete(r.of, e.state)
	}
}

// drop takes a sandbox out, if it is in.
func (r *registry) drop(s *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[s]; e != nil {
		delete(r.entries, e)
		delete(r.of, s)
	}
}

// markAccepted records that the service has taken the delete of a sandbox whose end was not seen.
func (r *registry) markAccepted(s *shared) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[s]; e != nil {
		e.accepted = true
	}
}

// count returns how many sandboxes of c, or of all clients when c is nil, are tracked, creates in flight included.
func (r *registry) count(c *Client) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for e := range r.entries {
		if c == nil || e.client == c {
			n++
		}
	}
	return n
}
