package cwsandbox

import (
	"context"
	"time"
)

// Sandbox is a handle of one remote sandbox. It is born with an id and holds no connection; any number of handles of one
// sandbox on one client share what is known of it. All methods are safe for concurrent use.
//
// Dropping a handle stops nothing; a warning is logged when the last one of a sandbox that this program has to stop is
// collected. Who creates a sandbox stops it:
//
//	defer sb.Stop().Wait()
type Sandbox struct{ s *shared }

// ID returns the id that the service gave the sandbox.
func (sb *Sandbox) ID() string { return sb.s.id }

// Info returns what was last seen of the sandbox, as a copy. It does no I/O: see [Sandbox.Refresh].
func (sb *Sandbox) Info() Info { return sb.s.snapshot() }

// Refresh asks the service for the state of the sandbox and returns it. Of a sandbox that has ended it returns what is
// known, without asking, unless the exit code of a completed one is still missing. One that the service does not know is
// [ErrNotFound].
func (sb *Sandbox) Refresh(ctx context.Context) (Info, error) {
	s := sb.s
	s.mu.Lock()
	gone, final := s.gone, s.ended() && (s.info.State != StateCompleted || s.info.ExitCode != nil)
	s.mu.Unlock()
	switch {
	case gone:
		return Info{}, s.goneError("refresh")
	case final:
		return s.snapshot(), nil
	}
	defer s.client.registry.signals.afterSignal()
	if err := s.get(ctx, "refresh"); err != nil {
		if answeredNotFound(err) {
			s.lost()
		}
		return Info{}, err
	}
	return s.snapshot(), nil
}

// WaitRunning waits until commands can run in the sandbox: until it is running or paused, or has completed already, as
// a short main process does. A sandbox that failed is [ErrFailed], with the service's reason in the text; one that was
// stopped, or whose stop through this client was accepted, is [ErrTerminated]; one that the service does not know is
// [ErrNotFound]. Without a deadline on ctx the wait ends after 300 seconds with [ErrTimeout].
func (sb *Sandbox) WaitRunning(ctx context.Context) error {
	return sb.s.waitRunning(ctx, "wait running")
}

func (s *shared) waitRunning(ctx context.Context, op string) error {
	ctx, cancel := limited(ctx, runningLimit)
	defer cancel()
	defer s.client.registry.signals.afterSignal()
	return s.await(ctx, op, s.client.closed, func() (bool, error) {
		switch {
		case s.gone:
			return true, s.goneError(op)
		case s.info.State == StateFailed && s.info.stopped:
			return true, s.info.refusal(op, ErrFailed, ErrTerminated)
		case s.info.State == StateFailed:
			return true, s.info.refusal(op, ErrFailed)
		case s.info.stopped, s.info.State == StateTerminated:
			return true, s.info.refusal(op, ErrTerminated)
		}
		return s.info.State.ready() || s.settled(), nil
	})
}

// WaitDone waits until the sandbox has ended and returns the last that was seen of it. The error says that the end could
// not be observed; the verdict on the sandbox is [Info.Err]. A completed sandbox whose exit code the service has not
// reported yet is asked again for up to four seconds. Without a deadline on ctx the wait is as long as the sandbox's life.
func (sb *Sandbox) WaitDone(ctx context.Context) (Info, error) {
	s := sb.s
	defer s.client.registry.signals.afterSignal()
	err := s.await(ctx, "wait done", s.client.closed, func() (bool, error) {
		if s.gone {
			return true, s.goneError("wait done")
		}
		return s.settled(), nil
	})
	if err != nil {
		return Info{}, err
	}
	return s.snapshot(), nil
}

// ready waits until a data operation may be sent: at once when the sandbox is known to run, by the shared poll while it
// starts, bounded by ctx (300 s when it has no deadline). A sandbox that has ended, or is ending, is refused without a
// call. The error is already an *Error for op.
func (s *shared) ready(ctx context.Context, op string) error {
	s.mu.Lock()
	done, err := s.readyNow(op)
	s.mu.Unlock()
	if done && err == nil {
		return nil
	}
	defer s.client.registry.signals.afterSignal()
	if done {
		return err
	}
	ctx, cancel := limited(ctx, runningLimit)
	defer cancel()
	return s.await(ctx, op, s.client.closed, func() (bool, error) { return s.readyNow(op) })
}

// readyNow decides for ready. The caller holds s.mu.
func (s *shared) readyNow(op string) (done bool, err error) {
	switch {
	case s.gone:
		return true, s.goneError(op)
	case s.info.State == StateFailed && s.info.stopped:
		return true, s.info.refusal(op, ErrNotRunning, ErrFailed, ErrTerminated)
	case s.info.State == StateFailed:
		return true, s.info.refusal(op, ErrNotRunning, ErrFailed)
	case s.info.stopped, s.info.State == StateTerminated:
		return true, s.info.refusal(op, ErrNotRunning, ErrTerminated)
	case s.info.State == StateTerminating, s.ended():
		return true, s.info.refusal(op, ErrNotRunning)
	}
	return s.info.State.ready(), nil
}

func (s *shared) goneError(op string) error {
	return call{op: op, sandbox: s.id}.refuse("the service does not know this sandbox any more", ErrNotFound)
}

// limited gives ctx a limit of ours if it has no deadline.
func limited(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeoutCause(ctx, d, errOwnLimit)
}
