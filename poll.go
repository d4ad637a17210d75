package cwsandbox

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	firstInterval   = 200 * time.Millisecond
	largestInterval = 2 * time.Second
	intervalFactor  = 1.5
	intervalJitter  = 0.1 // so that ten thousand waiters do not beat in step

	// The platform reports exit codes in batches, a little after the end.
	codeAttempts = 2
	codeInterval = 2 * time.Second
	codeTimeout  = 2 * time.Second

	// missingLimit is how long NOT_FOUND is put down to the service's own lag once a stop was accepted.
	missingLimit = 2 * time.Second

	// runningLimit bounds a wait for running whose context has no deadline.
	runningLimit = 300 * time.Second
)

// errOwnLimit is the cause of a context that ended by a limit of ours and not by the caller's.
var errOwnLimit = errors.New("limit of the SDK")

// poll asks for the state of one sandbox as long as somebody waits for it. Its fields are guarded by shared.mu.
type poll struct {
	waiters int
	cancel  context.CancelFunc
	wake    chan struct{} // has room for one: the interval starts again from the first
	err     error         // why the poll gave up
	last    error         // the newest failure that is being retried
}

func (p *poll) hurry() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// join adds a waiter to the poll and begins one if there is none. The caller holds s.mu.
func (s *shared) join() *poll {
	if s.poll == nil {
		ctx, cancel := context.WithCancel(context.Background())
		s.poll = &poll{cancel: cancel, wake: make(chan struct{}, 1)}
		go s.run(ctx, s.poll)
	}
	s.poll.waiters++
	return s.poll
}

// leave takes a waiter away; the last one ends the poll. The caller holds s.mu.
func (s *shared) leave(p *poll) {
	if p.waiters--; p.waiters > 0 {
		return
	}
	p.cancel()
	if s.poll == p {
		s.poll = nil
	}
}

// await polls until decide says that it is done, and returns what decide returns. Decide is called with s.mu held, at
// least once before anything is sent. A closed channel ends the wait, unless it is nil.
func (s *shared) await(ctx context.Context, op string, closed <-chan struct{}, decide func() (done bool, err error)) error {
	defer s.untrackEnded() // as the poll does that has seen the end, but before the caller looks
	s.mu.Lock()
	defer s.mu.Unlock()
	if done, err := decide(); done {
		return err
	}
	closedError := func() error { return call{op: op, sandbox: s.id}.refuse("the client is closed", ErrClosed) }
	if isClosed(closed) {
		return closedError()
	}
	p := s.join()
	defer s.leave(p)
	for {
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
		case <-closed:
		}
		s.mu.Lock()
		done, err := decide()
		switch {
		case done:
			return err
		case p.err != nil:
			return call{op: op, sandbox: s.id}.wrap(p.err)
		case ctx.Err() != nil && s.ended(): // only the exit code is missing
			return nil
		case ctx.Err() != nil:
			c := call{op: op, sandbox: s.id}
			return c.gaveUp(ctx, "gave up waiting, last seen "+s.info.State.String(), call{op: "get", sandbox: s.id}.wrap(p.last))
		case isClosed(closed):
			return closedError()
		}
	}
}

// gaveUp is the error of a wait whose context ended, with the failure that was being retried, if there was one.
func (c call) gaveUp(ctx context.Context, text string, last error) error {
	var causes []error
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		causes = append(causes, ErrTimeout)
	}
	if !errors.Is(context.Cause(ctx), errOwnLimit) { // else the caller's own context goes on
		causes = append(causes, ctxError(ctx))
	}
	if last != nil {
		causes = append(causes, last)
	}
	return c.refuse(text, causes...)
}

// run is the poll's goroutine. It ends when the last waiter leaves, when there is nothing more to see, or on an error
// that is no use repeating.
func (s *shared) run(ctx context.Context, p *poll) {
	interval := firstInterval
	for {
		if err := s.look(ctx, p); err != nil {
			s.end(ctx, p, err)
			return
		}
		s.mu.Lock()
		ended, settled := s.ended(), s.settled()
		s.mu.Unlock()
		if ended && !settled {
			s.awaitCode(ctx)
		}
		if ended {
			s.end(ctx, p, nil)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			interval = firstInterval
		case <-time.After(jitter(interval)):
			interval = min(time.Duration(float64(interval)*intervalFactor), largestInterval)
		}
	}
}

func jitter(d time.Duration) time.Duration {
	return d + time.Duration((2*rand.Float64()-1)*intervalJitter*float64(d))
}

// look is one healthy step of the poll: a Get with its retries, unless the end is known already.
func (s *shared) look(ctx context.Context, p *poll) error {
	s.mu.Lock()
	known := s.ended() || s.gone
	s.mu.Unlock()
	if known {
		return nil
	}
	err := s.get(ctx, "get", transport.AfterDrain(), transport.OnRetry(func(err error) {
		s.mu.Lock()
		p.last = err
		s.mu.Unlock()
	}))
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case err == nil:
		p.last = nil
		return nil
	case answeredNotFound(err) && s.info.stopped:
		if s.missing.IsZero() {
			s.missing = time.Now()
		}
		if time.Since(s.missing) < missingLimit {
			return nil
		}
	}
	return err
}

// get asks for the sandbox once, with the retries of a read, and takes over the answer.
func (s *shared) get(ctx context.Context, op string, opts ...grpc.CallOption) error {
	n := s.client.request()
	record, err := s.client.sandboxes.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: s.id}, opts...)
	if err != nil {
		return call{op: op, sandbox: s.id}.wrap(err)
	}
	s.apply(n, record)
	return nil
}

// awaitCode looks again for the exit code of a sandbox that has completed without one. A failed look ends the grace.
func (s *shared) awaitCode(ctx context.Context) {
	for range codeAttempts {
		select {
		case <-ctx.Done():
			return
		case <-time.After(codeInterval):
		}
		if s.get(ctx, "get", transport.AfterDrain(), transport.NoRetry(), transport.Timeout(codeTimeout)) != nil {
			break
		}
		s.mu.Lock()
		settled := s.settled()
		s.mu.Unlock()
		if settled {
			return
		}
	}
	if ctx.Err() == nil {
		s.mu.Lock()
		s.codeFinal = true
		s.mu.Unlock()
	}
}

// end tells the waiters that the poll is over.
func (s *shared) end(ctx context.Context, p *poll, err error) {
	if ctx.Err() != nil {
		return // nobody waits
	}
	if answeredNotFound(err) {
		s.lost()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.err = err
	if s.poll == p {
		s.poll = nil // the next waiter begins afresh
	}
	s.broadcast()
}
