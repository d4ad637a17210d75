package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// settings is what the call options of one call say.
type settings struct {
	timeout    time.Duration // zero: not given
	attempt    time.Duration // zero: the method's
	budget     time.Duration
	afterDrain bool
	onRetry    func(error)
	unless     func(*rpcerr.Error) bool // may be nil
	via        *bool                    // receives whether the call went directly; nil: nobody asks
}

// callOption is an option of ours among those of grpc-go, which ignores it.
type callOption struct {
	grpc.EmptyCallOption
	apply func(*settings)
}

func (t *Transport) settings(opts []grpc.CallOption) settings {
	s := settings{budget: t.retryBudget}
	for _, opt := range opts {
		if o, ok := opt.(callOption); ok {
			o.apply(&s)
		}
	}
	return s
}

// Timeout bounds a call, with its retries, or the life of a stream. It replaces the client's request timeout; an
// earlier deadline of the context wins.
func Timeout(d time.Duration) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.timeout = d }}
}

// AttemptTimeout bounds each attempt of a unary call, in place of the method's own limit. A stream has one attempt,
// which is its life.
func AttemptTimeout(d time.Duration) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.attempt = d }}
}

// RetryFor gives the retries of a call a budget of its own in place of the client's. It makes no method repeatable that
// is not.
func RetryFor(d time.Duration) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.budget = d }}
}

// NoRetry makes a call in one attempt.
func NoRetry() grpc.CallOption { return RetryFor(0) }

// OnRetry has fn called with each failure, an *rpcerr.Error, that is about to be repeated. It is called on the
// goroutine of the call.
func OnRetry(fn func(error)) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.onRetry = fn }}
}

// RepeatUnless takes failures that would be repeated, and for which fn is true, as the call's last word.
func RepeatUnless(fn func(*rpcerr.Error) bool) grpc.CallOption {
	return callOption{apply: func(s *settings) { s.unless = fn }}
}

// AfterDrain lets a lifecycle call begin although the transport is drained.
func AfterDrain() grpc.CallOption {
	return callOption{apply: func(s *settings) { s.afterDrain = true }}
}

// bound gives a unary call its deadline. A deadline of the context wins over the client's default, whichever is longer.
func (s settings) bound(ctx context.Context, byDefault time.Duration) (context.Context, context.CancelFunc) {
	if s.timeout != 0 {
		return context.WithTimeout(ctx, s.timeout)
	}
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, byDefault)
}

// boundStream gives a stream the life that its options ask for; by default it has the context's.
func (s settings) boundStream(ctx context.Context) (context.Context, context.CancelFunc) {
	switch {
	case s.timeout == 0 && s.attempt == 0:
		return ctx, func() {}
	case s.timeout == 0:
		return context.WithTimeout(ctx, s.attempt)
	case s.attempt == 0:
		return context.WithTimeout(ctx, s.timeout)
	}
	return context.WithTimeout(ctx, min(s.timeout, s.attempt))
}
