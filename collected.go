package cwsandbox

import (
	"runtime"
	"slices"
)

// The functions of this file that run when something was collected are called by the runtime, on goroutines of its own.
// They only report: undoing is for those who close, stop, or end the program.

// namedIDs is how many sandboxes one warning names.
const namedIDs = 10

// handle returns a new handle of the sandbox. The registry keeps the shared state alive, so it is the collection of the
// last handle that says that somebody forgot the sandbox.
func (s *shared) handle() *Sandbox {
	sb := &Sandbox{s}
	s.held()
	runtime.AddCleanup(sb, (*shared).handleDropped, s)
	return sb
}

// held counts a handle, or a stop that was not begun: who holds one has not forgotten the sandbox.
func (s *shared) held() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders++
}

// handleDropped warns when nobody holds the sandbox any more although this program has to stop it, once. What a session
// owns is the session's to report.
func (s *shared) handleDropped() {
	ours := s.client.registry.tracks(s) && s.session() == nil
	s.mu.Lock()
	s.holders--
	tried := s.stop != nil || s.deletion != nil || s.draining()
	forgotten := ours && s.holders == 0 && !tried && !s.gone && !s.ended() && !s.reported
	s.reported = s.reported || forgotten
	s.mu.Unlock()
	if forgotten {
		s.client.config.logger.Warn("a sandbox was dropped without a stop; it goes on until the program or its lifetime ends",
			"sandbox", s.id)
	}
}

// stopDropped gives up the hold of a stop that has run or was forgotten. If that was no success it has been reported, and
// the handles need not do so again.
func (s *shared) stopDropped() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holders--
	s.reported = true
}

// dropped warns when a session was collected that somebody should have closed.
func (st *sessionState) dropped() {
	st.mu.Lock()
	var ids []string
	for s := range st.owned {
		ids = append(ids, s.id)
	}
	count, closing := len(st.owned)+len(st.open), st.closing
	st.mu.Unlock()
	if closing || count == 0 {
		return
	}
	slices.Sort(ids)
	st.client.config.logger.Warn("a session was dropped unclosed; its sandboxes go on until the program or their lifetime ends",
		"count", count, "sandboxes", ids[:min(namedIDs, len(ids))])
}
