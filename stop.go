package cwsandbox

import (
	"context"
	"errors"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// defaultGrace is what the main process has between SIGTERM and SIGKILL.
	defaultGrace = 10 * time.Second
	// stopBudget is how long a stop may take beyond its grace.
	stopBudget = 60 * time.Second
)

// StopResult is how a stop ended. It may stand beside an error.
type StopResult struct {
	Info     Info // as last seen
	Missing  bool // the service did not know the sandbox: there was nothing to stop
	Accepted bool // the service took the stop
}

// stopRun is one stop, joined by whoever asks for another while it is in flight.
type stopRun struct {
	done   chan struct{}
	result StopResult
	err    error
}

// Stop returns a cold future: nothing is sent until [Future.Wait], [Future.WaitContext], [Future.Done] or [Future.Start].
// Written as
//
//	defer sb.Stop().Wait()
//
// it stops the sandbox when the function returns or panics; without the Wait it does nothing, and a warning is logged
// when the future is collected. On a nil *Sandbox it does nothing, so that the defer may stand before the error check of
// what made the sandbox.
//
// The main process gets SIGTERM and, when the grace is over (10 s unless [WithGrace] says otherwise here or where the
// sandbox was created), SIGKILL. The future is done when the sandbox has ended. A sandbox that has ended already, or that
// the service does not know, counts as stopped. Stops of one sandbox that overlap are one: the first one's grace counts.
//
// A stop is bound to no context: it has a budget of its own, the grace and 60 seconds, after which it fails with
// [ErrTimeout]. A failed stop leaves the sandbox as it is and logs a warning; another Stop tries again.
func (sb *Sandbox) Stop(opts ...StopOption) *Future[StopResult] {
	if sb == nil {
		return finished(StopResult{}, nil)
	}
	s := sb.s
	config, err := newStopConfig(sb.s.id, opts)
	if err != nil {
		return finished(StopResult{Info: s.snapshot()}, err)
	}
	logger, id := s.client.config.logger, s.id
	return coldWarned(
		func() (StopResult, error) { return s.stopOnce(config) },
		func() { logger.Warn("a stop was never waited for, so nothing was sent", "op", "stop", "sandbox", id) },
	)
}

// stopOnce stops the sandbox, or joins the stop that is in flight.
func (s *shared) stopOnce(config stopConfig) (StopResult, error) {
	s.mu.Lock()
	run := s.stop
	if run != nil {
		s.mu.Unlock()
		<-run.done
		return run.result, run.err
	}
	if s.gone || s.ended() {
		defer s.mu.Unlock()
		return StopResult{Info: s.info.clone(), Missing: s.gone}, nil
	}
	run = &stopRun{done: make(chan struct{})}
	s.stop = run
	grace := s.grace
	s.mu.Unlock()
	if config.grace != nil {
		grace = *config.grace
	}

	run.result, run.err = s.stopNow(grace)
	run.result.Info = s.snapshot()
	s.mu.Lock()
	s.stop = nil // what comes later sees the end, or tries again
	s.mu.Unlock()
	close(run.done)
	if run.err != nil {
		s.client.config.logger.Warn("a stop failed", "sandbox", s.id, "error", run.err)
	}
	return run.result, run.err
}

// stopNow sends the delete, unless the sandbox is on its way already, and waits for the end.
func (s *shared) stopNow(grace time.Duration) (StopResult, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), grace+stopBudget, errOwnLimit)
	defer cancel()
	s.mu.Lock()
	draining := s.info.State == StateTerminating || s.info.stopped
	s.mu.Unlock()
	if !draining {
		missing, err := s.delete(ctx, grace)
		if err != nil || missing {
			return StopResult{Missing: missing}, err
		}
	}
	err := s.await(ctx, "stop", nil, func() (bool, error) { return s.gone || s.ended(), nil })
	s.mu.Lock()
	result := StopResult{Accepted: s.info.stopped}
	s.mu.Unlock()
	if err == nil {
		s.endLife(errStopped)
		return result, nil
	}
	if result.Accepted { // deleting again would be of no use
		s.leaveSession()
		s.client.registry.markAccepted(s)
	}
	return result, err
}

// delete sends a plain DeleteSandbox. Missing says that there was nothing to delete.
func (s *shared) delete(ctx context.Context, grace time.Duration) (missing bool, err error) {
	req := &sandboxv1.DeleteSandboxRequest{SandboxId: s.id, GracePeriodSeconds: wholeSeconds(grace), AllowMissing: true}
	n := s.client.request()
	repeated := false
	reply, err := s.client.sandboxes.DeleteSandbox(ctx, req, transport.AfterDrain(),
		transport.OnRetry(func(error) { repeated = true }))
	err = call{op: "stop", sandbox: s.id}.wrap(err)
	switch {
	case answeredNotFound(err), err == nil && reply.GetSandbox() == nil:
		s.endedByStop(repeated)
		return !repeated, nil // an attempt whose answer was lost may well have worked
	case err != nil:
		return false, err
	}
	s.accepted(n, reply.GetSandbox())
	return false, nil
}

// endedByStop records that the service does not know the sandbox any more; stopped says that this is our doing.
func (s *shared) endedByStop(stopped bool) {
	s.mu.Lock()
	s.info.stopped = s.info.stopped || stopped
	s.mu.Unlock()
	s.lost()
	s.endLife(errStopped)
}

// errStopped is why streams end that are still open when a stop has seen the end of their sandbox.
var errStopped = errors.New("the sandbox was stopped")
