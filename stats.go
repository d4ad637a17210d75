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

// read reads the outcomes before what they are outcomes of, so that they never add up to more.
func (s *stats) read() Stats {
	out := Stats{OK: s.ok.Load(), NonZero: s.nonZero.Load(), Failed: s.failed.Load()}
	out.Commands = s.commands.Load()
	return out
}
