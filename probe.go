package cwsandbox

import (
	"slices"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Probe is a command that says when a container has started: when it ends with exit code 0. A container whose probe has
// failed too often is killed, and where it is the primary one, or the next one waits for it, the sandbox fails. The zero
// value is no probe. Durations are rounded up to whole seconds.
type Probe struct {
	Command      []string
	InitialDelay time.Duration // before the first attempt
	Period       time.Duration // between attempts; zero: 10 s
	Timeout      time.Duration // of one attempt; zero: 1 s
	Failures     int           // that are too many; zero: 3
}

func (p Probe) clone() Probe {
	p.Command = slices.Clone(p.Command)
	return p
}

func (p Probe) none() bool {
	return len(p.Command) == 0 && p.InitialDelay == 0 && p.Period == 0 && p.Timeout == 0 && p.Failures == 0
}

func (p Probe) check(f *faults, field string) {
	if p.none() {
		return
	}
	if len(p.Command) == 0 {
		f.add(field+".exec", "must not be empty")
	}
	for i, word := range p.Command {
		if i == 0 {
			checkFilled(f, indexed(field+".exec", i), word)
		}
		checkText(f, indexed(field+".exec", i), word)
	}
	checkSeconds(f, field+".initial_delay_seconds", p.InitialDelay)
	checkSeconds(f, field+".period_seconds", p.Period)
	checkSeconds(f, field+".timeout_seconds", p.Timeout)
	if p.Failures < 0 || p.Failures > maxSeconds {
		f.add(field+".failure_threshold", "must be between 0 and %d, is %d", maxSeconds, p.Failures)
	}
}

// message is nil for no probe.
func (p Probe) message() *sandboxv1.Probe {
	if p.none() {
		return nil
	}
	return &sandboxv1.Probe{
		Exec:                p.Command,
		InitialDelaySeconds: wholeSeconds(p.InitialDelay),
		PeriodSeconds:       wholeSeconds(p.Period),
		TimeoutSeconds:      wholeSeconds(p.Timeout),
		FailureThreshold:    int32(p.Failures),
	}
}

func probeOf(m *sandboxv1.Probe) Probe {
	return Probe{
		Command:      m.GetExec(),
		InitialDelay: time.Duration(m.GetInitialDelaySeconds()) * time.Second,
		Period:       time.Duration(m.GetPeriodSeconds()) * time.Second,
		Timeout:      time.Duration(m.GetTimeoutSeconds()) * time.Second,
		Failures:     int(m.GetFailureThreshold()),
	}
}
