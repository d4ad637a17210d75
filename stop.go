package cwsandbox

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

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
	Info        Info     // as last seen
	SnapshotIDs []string // one for each volume of [WithStopSnapshot], in that order
	Missing     bool     // the service did not know the sandbox: there was nothing to stop
	Accepted    bool     // the service took the stop
}

// stopRun is one stop, joined by whoever asks for another while it is in flight.
type stopRun struct {
	volumes []string // to archive; none: a plain stop
	done    chan struct{}
	result  StopResult
	err     error
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
// With [WithStopSnapshot] scratch volumes are archived first. A stop that wants that never silently joins one that does
// not: see there.
//
// A stop is bound to no context: it has a budget of its own, the grace and 60 seconds, and 600 more with a snapshot,
// after which it fails with [ErrTimeout]. A failed stop leaves the sandbox as it is and logs a warning; another Stop tries again.
func (sb *Sandbox) Stop(opts ...StopOption) *Future[StopResult] {
	if sb == nil {
		return finished(StopResult{}, nil)
	}
	s := sb.s
	config, err := newStopConfig(sb.s.id, opts)
	if err != nil {
		return finished(StopResult{Info: s.snapshot()}, err)
	}
	s.held()
	return coldWarned(
		func() (StopResult, error) {
			defer s.stopDropped()
			defer s.client.registry.signals.afterSignal()
			return s.stopOnce(config)
		},
		func() {
			defer s.stopDropped()
			s.client.config.logger.Warn("a stop was never waited for, so nothing was sent", "op", "stop", "sandbox", s.id)
		},
	)
}

// stopOnce stops the sandbox, or joins the stop that is in flight.
func (s *shared) stopOnce(config stopConfig) (StopResult, error) {
	s.client.stops.Add(1)
	defer s.client.stopOver()
	s.mu.Lock()
	volumes, err := s.volumesOf(config)
	if err == nil {
		err = s.conflict(config, volumes)
	}
	run := s.stop
	switch {
	case err != nil:
		defer s.mu.Unlock()
		return StopResult{Info: s.info.clone()}, err
	case run != nil:
		s.mu.Unlock()
		<-run.done
		return run.result, run.err
	case s.gone || s.ended():
		defer s.mu.Unlock()
		return StopResult{Info: s.info.clone(), SnapshotIDs: s.archivedIDs(config), Missing: s.gone}, nil
	}
	run = &stopRun{volumes: volumes, done: make(chan struct{})}
	s.stop = run
	r := removal{grace: s.grace, volumes: volumes, requestID: config.archiveID()}
	if config.grace != nil {
		r.grace = *config.grace
	}
	deletion := s.deleteLocked(r) // before anybody else's, which would archive nothing
	s.mu.Unlock()

	run.result, run.err = s.finishStop(deletion, r.budget(), config.waitSnapshot())
	run.result.Info = s.snapshot()
	s.mu.Lock()
	s.stop = nil // what comes later sees the end, or tries again
	s.mu.Unlock()
	close(run.done)
	if run.err != nil {
		s.client.config.logger.Warn("a stop failed", "sandbox", s.id, "error", run.err)
	} else {
		s.client.config.logger.Debug("a sandbox was stopped", "sandbox", s.id, "state", run.result.Info.State)
	}
	return run.result, run.err
}

// finishStop waits for the delete of a stop, and then for the end, and for its snapshots beside that.
func (s *shared) finishStop(deletion *Future[removed], budget time.Duration, archives bool) (StopResult, error) {
	ctx, cancel := context.WithTimeoutCause(context.Background(), budget, errOwnLimit)
	defer cancel()
	done, err := deletion.Wait()
	if err != nil || done.missing {
		return StopResult{Missing: done.missing}, err
	}
	var snapshots *Future[struct{}]
	if archives {
		snapshots = Go(func() (struct{}, error) { return struct{}{}, s.client.awaitSnapshots(ctx, s.id, done.snapshots) })
	}
	err = s.await(ctx, "stop", nil, func() (bool, error) { return s.gone || s.ended(), nil })
	s.mu.Lock()
	result := StopResult{SnapshotIDs: done.snapshots, Accepted: s.info.stopped}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.endLife(errStopped)
	case result.Accepted: // deleting again would be of no use
		s.leaveSession()
	}
	if snapshots != nil {
		_, failed := snapshots.Wait()
		err = errors.Join(err, failed)
	}
	return result, err
}

// removal is what one DeleteSandbox asks for.
type removal struct {
	grace     time.Duration
	volumes   []string // to archive before the end
	requestID string   // of one that archives
	insist    bool     // repeat it as an undo is, whatever the client's retry budget
}

// removed is what it came to.
type removed struct {
	missing   bool // there was nothing to delete
	snapshots []string
}

// budget is how long the whole stop may take.
func (r removal) budget() time.Duration {
	if len(r.volumes) > 0 {
		return r.grace + stopBudget + snapshotBudget
	}
	return r.grace + stopBudget
}

// deleteOnce deletes the sandbox, or joins the delete that is in flight. The future is done when the service has answered.
// A sandbox that is on its way to its end is not deleted again. The delete is bound to no caller: it has the budget of a
// stop.
func (s *shared) deleteOnce(r removal) *Future[removed] {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleteLocked(r)
}

// deleteLocked is deleteOnce for a caller that holds s.mu.
func (s *shared) deleteLocked(r removal) *Future[removed] {
	switch {
	case s.deletion != nil && !s.deletion.finished():
	case s.draining() || s.gone || s.ended():
		return finished(removed{missing: s.gone}, nil)
	default:
		s.resisted = nil
		s.deletion = Go(func() (removed, error) {
			ctx, cancel := context.WithTimeoutCause(context.Background(), r.budget(), errOwnLimit)
			defer cancel()
			if len(r.volumes) > 0 {
				return s.deleteArchiving(ctx, r)
			}
			missing, err := s.delete(ctx, r)
			return removed{missing: missing}, err
		})
	}
	return s.deletion
}

// draining reports whether the sandbox is on its way to its end. The caller holds s.mu.
func (s *shared) draining() bool { return s.info.stopped || s.info.State == StateTerminating }

// delete sends a plain DeleteSandbox. Missing says that there was nothing to delete.
func (s *shared) delete(ctx context.Context, r removal) (missing bool, err error) {
	req := &sandboxv1.DeleteSandboxRequest{SandboxId: s.id, GracePeriodSeconds: wholeSeconds(r.grace), AllowMissing: true}
	n := s.client.request()
	repeated := false
	opts := []grpc.CallOption{transport.AfterDrain(), transport.OnRetry(func(err error) {
		repeated = true
		s.mu.Lock()
		s.resisted = err
		s.mu.Unlock()
	})}
	if r.insist {
		opts = append(opts, transport.AttemptTimeout(undoAttempt), transport.RetryFor(undoBudget))
	}
	reply, err := s.client.sandboxes.DeleteSandbox(ctx, req, opts...)
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
