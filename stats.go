package cwsandbox

import "sync/atomic"

// Stats counts the commands that were run in a sandbox through one client. Every command counts once, when it is begun
// and when its outcome is known, whether or not anybody waits for it; those in between are still running.
type Stats struct {
	Commands int64 // begun, in a sandbox that was ready for them
	OK       int64 // exited with 0
	NonZero  int64 // exited with another code
	Failed   int64 // their end was not seen, or they could not be started
}

// CompletedRate returns which part of the commands have exited, with whatever code: 0 to 1, and 0 before the first command.
func (s Stats) CompletedRate() float64 { return ratio(s.OK+s.NonZero, s.Commands) }

// FailedRate returns which part of the commands have failed, as CompletedRate does. What is left are those still running.
func (s Stats) FailedRate() float64 { return ratio(s.Failed, s.Commands) }

func ratio(part, whole int64) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

// Stats returns the counters of the sandbox. All its handles on one client have the same.
func (sb *Sandbox) Stats() Stats { return sb.s.stats.read() }

// stats are the counters behind Stats.
type stats struct {
	commands, ok, nonZero, failed atomic.Int64
}

// count counts the outcome of a command.
func (s *stats) count(code int, err error) {
	switch {
	case err != nil:
		s.failed.Add(1)
	case code != 0:
		s.nonZero.Add(1)
	default:
		s.ok.Add(1)
	}
}

// tally is where one command counts: in its sandbox, and in the session that owned the sandbox when it was begun, there both
// in all and for this sandbox. Its end counts there too, wherever the sandbox is by then. Nil counts nowhere.
type tally []*stats

// tally returns where a command that is begun now counts.
func (s *shared) tally() tally {
	s.client.owners.Lock()
	defer s.client.owners.Unlock()
	if st := s.owner; st != nil {
		return tally{&s.stats, &st.stats, st.owned[s]}
	}
	return tally{&s.stats}
}

func (t tally) begin() {
	for _, s := range t {
		s.commands.Add(1)
	}
}

func (t tally) end(code int, err error) {
	for _, s := range t {
		s.count(code, err)
	}
}

// read reads the outcomes before what they are outcomes of, so that they never add up to more.
func (s *stats) read() Stats {
	out := Stats{OK: s.ok.Load(), NonZero: s.nonZero.Load(), Failed: s.failed.Load()}
	out.Commands = s.commands.Load()
	return out
}
