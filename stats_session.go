package cwsandbox

import (
	"sync"
	"time"
)

// SessionStats counts what was done in a session. Its commands are those that were begun while the session owned their
// sandbox, whether or not it still does.
type SessionStats struct {
	Stats

	Created int64 // sandboxes that the session has made and the service has accepted
	Owned   int64 // sandboxes that it has owned: made, or adopted, ended since or not

	// Started counts the sandboxes made by the session that were seen to run. The times are those from the beginning of the
	// create to where that was seen.
	Started      int64
	StartupTotal time.Duration
	StartupMin   time.Duration
	StartupMax   time.Duration

	// How many commands were begun in one of the sandboxes that were owned.
	CommandsMin, CommandsMax int64
}

// StartupAverage returns how long the sandboxes took to start; zero before one has.
func (s SessionStats) StartupAverage() time.Duration {
	if s.Started == 0 {
		return 0
	}
	return s.StartupTotal / time.Duration(s.Started)
}

// CommandsPerSandbox returns how many commands were begun in each of the sandboxes that were owned, on average; zero
// without any.
func (s SessionStats) CommandsPerSandbox() float64 { return ratio(s.Commands, s.Owned) }

// Stats returns the counters of the session. They go on after it is closed, for what was begun before.
func (s *Session) Stats() SessionStats {
	st := s.state
	out := SessionStats{Stats: st.stats.read(), Created: st.created.Load()}
	st.startups.report(&out)
	st.mu.Lock()
	defer st.mu.Unlock()
	all := st.past
	for _, owned := range st.owned {
		all.add(owned.commands.Load())
	}
	out.Owned, out.CommandsMin, out.CommandsMax = all.count, all.fewest, all.most
	return out
}

// perSandbox sums up how much was run in each of some sandboxes.
type perSandbox struct{ count, fewest, most int64 }

func (p *perSandbox) add(commands int64) {
	if p.count++; p.count == 1 {
		p.fewest = commands
	}
	p.fewest, p.most = min(p.fewest, commands), max(p.most, commands)
}

// count counts a sandbox that was made.
func (st *sessionState) count() {
	if st != nil {
		st.created.Add(1)
	}
}

// startups are the times that sandboxes took to start. Its mutex is the last that is locked.
type startups struct {
	mu               sync.Mutex
	count            int64
	total, min, most time.Duration
}

func (s *startups) add(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count++; s.count == 1 {
		s.min = d
	}
	s.total, s.min, s.most = s.total+d, min(s.min, d), max(s.most, d)
}

func (s *startups) report(out *SessionStats) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out.Started, out.StartupTotal, out.StartupMin, out.StartupMax = s.count, s.total, s.min, s.most
}

// starting is the start of a sandbox, until it was seen to run.
type starting struct {
	since time.Time
	of    *startups // nil: nobody counts it, or it is counted
}

func (s *starting) begin(cr *creation) {
	if cr.owner != nil {
		*s = starting{cr.began, &cr.owner.startups}
	}
}

func (s *starting) seen(state State) {
	if s.of != nil && state.ready() {
		s.of.add(time.Since(s.since))
		s.of = nil
	}
}
