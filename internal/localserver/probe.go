package localserver

import (
	"context"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// probeOutput is how much a probe command may print; it is not shown to anybody.
const probeOutput = 1 << 10

func (c *containerRecord) hasProbe() bool { return len(c.spec.GetStartupProbe().GetExec()) > 0 }

// probeTimings are the numbers of a startup probe, with the defaults for those that are left out.
func (c *containerRecord) probeTimings() (initial, period, timeout time.Duration, tries int) {
	p := c.spec.GetStartupProbe()
	seconds := func(n, def int32) time.Duration { return time.Duration(orDefault(n, def)) * time.Second }
	return seconds(p.GetInitialDelaySeconds(), 0), seconds(p.GetPeriodSeconds(), 10), seconds(p.GetTimeoutSeconds(), 1),
		int(orDefault(p.GetFailureThreshold(), 3))
}

// probe runs the startup probe of a run until it passes, the tries are used up, or the context ends with the run. A
// container that has been ready once is not probed again.
func (c *containerRecord) probe(ctx context.Context, run container.Container) {
	s := c.record.server
	s.store.Lock()
	ready := c.isReady
	s.store.Unlock()
	if ready {
		return
	}
	wait, period, _, tries := c.probeTimings()
	for range tries {
		if !sleep(ctx, s.opt.Clock, wait) {
			return
		}
		if c.probeOnce(ctx, run) {
			s.store.Lock()
			c.markReady()
			s.store.Unlock()
			return
		}
		wait = period
	}
	if ctx.Err() == nil {
		c.probeFailed(tries)
	}
}

func (c *containerRecord) probeOnce(ctx context.Context, run container.Container) bool {
	s := c.record.server
	_, _, timeout, _ := c.probeTimings()
	ctx, cancel := withLimit(ctx, s.opt.Clock, timeout, context.DeadlineExceeded)
	defer cancel()
	res, err := s.execute(ctx, run, container.ProcessSpec{Argv: c.spec.GetStartupProbe().GetExec()}, probeOutput)
	return err == nil && res.GetExitCode() == 0
}

func (c *containerRecord) probeFailed(tries int) {
	r := c.record
	r.server.store.Lock()
	defer r.server.store.Unlock()
	if r.ending != nil {
		return
	}
	c.state = failed
	r.decide(ending{
		state:  failed,
		reason: fmt.Sprintf("the startup probe of container %s failed %d times", c.spec.GetName(), tries),
	}, 0)
}
