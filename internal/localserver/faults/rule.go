package faults

import (
	"context"
	"fmt"
	"slices"
	"sync"
)

// A Rule says which calls go wrong and how. Of several rules that fit a call, the one that was added first acts, alone.
// Rules come before the handler and thus before the request is validated.
type Rule struct {
	// Method is the short name of an rpc, such as "CreateSandbox". "*" stands for every rpc that the action fits.
	Method string
	// When, if set, picks among the calls of the method. It sees the call as it came in: its number, its metadata
	// and its request, which of a stream is the first message.
	When func(Call) bool
	// After lets that many fitting calls pass before the rule begins to act.
	After int
	// Times is how often the rule acts; 0 means always.
	Times int
	// Action is what happens to the calls.
	Action Action
}

// check panics on a rule that can never act.
func (r Rule) check() {
	if r.Action.unary == nil && r.Action.stream == nil {
		panic("faults: rule without an action")
	}
	found := find(r.Method)
	if len(found) == 0 {
		panic(fmt.Sprintf("faults: the sandbox API has no method %q", r.Method))
	}
	if !slices.ContainsFunc(found, r.fits) {
		panic(fmt.Sprintf("faults: %s does not fit %s", r.Action.name, r.Method))
	}
}

// fits says whether the rule may act on calls of the method.
func (r Rule) fits(m *method) bool {
	if r.Method != "*" && r.Method != m.name {
		return false
	}
	if !m.streaming {
		return r.Action.unary != nil
	}
	return r.Action.stream != nil && (r.Action.streams == nil || r.Action.streams(m))
}

// A Handle is a rule in force.
type Handle struct {
	rule  Rule
	layer *Layer

	mu      sync.Mutex
	matched int
	hits    int

	release  sync.Once
	released chan struct{} // closed by Release
}

// Hits is the number of calls that the rule has acted on.
func (h *Handle) Hits() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.hits
}

// Release ends the rule: it acts on no further call, and the calls that it holds go on. A second Release does nothing.
func (h *Handle) Release() {
	h.release.Do(func() {
		h.layer.remove(h)
		close(h.released)
	})
}

// take counts a fitting call and says whether the rule acts on it.
func (h *Handle) take() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.matched++
	if h.matched <= h.rule.After || h.rule.Times > 0 && h.hits >= h.rule.Times {
		return false
	}
	h.hits++
	return true
}

// A target is a call that a rule acts on.
type target struct {
	ctx context.Context
	*Handle
}
