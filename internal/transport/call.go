package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// call is one unary call over its attempts.
type call struct {
	t           *Transport
	pool        *pool
	rule        rule
	settings    settings
	delays      delays
	method      string
	args, reply any
	opts        []grpc.CallOption // fill peer and trailer
	direct      *directCall       // nil: it cannot go directly

	peer     peer.Peer   // of the attempt; set once it has a stream on a connection
	trailer  metadata.MD // of the attempt
	attempts int
	sent     bool          // by any attempt
	failure  *rpcerr.Error // the last one that was worth another attempt
}

// Invoke makes a unary call. Its error is an *rpcerr.Error.
func (t *Transport) Invoke(ctx context.Context, method string, args, reply any, opts ...grpc.CallOption) error {
	return t.invoke(ctx, method, args, reply, nil, opts)
}

func (t *Transport) invoke(ctx context.Context, method string, args, reply any, direct *directCall, opts []grpc.CallOption) error {
	if ctx.Err() != nil {
		return rpcerr.Ended(ctx, method)
	}
	c := &call{
		t: t, method: method, args: args, reply: reply, direct: direct,
		rule: ruleFor(method, args), settings: t.settings(opts),
	}
	var err error
	if c.pool, err = t.poolFor(c.rule.route, c.settings.afterDrain); err != nil {
		return rpcerr.Local(method, codes.Canceled, err)
	}
	c.opts = append(slices.Clip(opts), grpc.Peer(&c.peer), grpc.Trailer(&c.trailer))
	if request, ok := args.(proto.Message); ok && c.rule.class.frozen() {
		codec, err := freeze(request)
		if err != nil {
			return rpcerr.Local(method, codes.InvalidArgument, fmt.Errorf("encode request: %w", err))
		}
		c.opts = append(c.opts, grpc.ForceCodecV2(codec))
	}
	bounded, cancel := c.settings.bound(ctx, t.requestTimeout)
	defer cancel()
	if e := c.run(ctx, bounded); e != nil {
		return e
	}
	return nil
}

// run tries until an attempt succeeds or another one is not worth it. The caller's context says what counts as the
// caller's end; ctx is that context with the call's deadline.
func (c *call) run(caller, ctx context.Context) *rpcerr.Error {
	c.delays.budget = c.settings.budget
	c.delays.deadline, _ = ctx.Deadline()
	operation := func() error { return c.verdict(c.attempt(caller, ctx)) }
	notify := func(_ error, delay time.Duration) { c.retrying(ctx, delay) }
	err := backoff.RetryNotifyWithTimer(operation, backoff.WithContext(&c.delays, ctx), notify, &nap{life: c.pool.life})
	if err == nil {
		return nil
	}
	var e *rpcerr.Error
	switch {
	case errors.As(err, &e):
	case caller.Err() != nil: // while waiting for the next attempt
		e = rpcerr.Ended(caller, c.method)
	default: // the call's own time is over
		e = c.failure
	}
	return c.finish(e)
}

// attempt tries once.
func (c *call) attempt(caller, ctx context.Context) *rpcerr.Error {
	c.attempts++
	if c.rule.gated {
		if e := c.t.deletes.enter(caller, ctx, c.pool, c.method); e != nil {
			return e
		}
		defer c.t.deletes.leave()
	}
	if limit := c.attemptLimit(); limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if c.direct != nil {
		if direct, e := c.direct.attempt(c, caller, ctx); direct {
			return e
		}
	}
	ctx, e := c.t.authorize(caller, ctx, c.method)
	if e != nil {
		return e
	}
	conn, err := c.pool.acquire()
	if err != nil {
		return rpcerr.Local(c.method, codes.Canceled, err)
	}
	defer c.pool.release(conn)
	c.peer, c.trailer = peer.Peer{}, nil
	err = conn.Invoke(ctx, c.method, c.args, c.reply, c.opts...)
	if err == nil {
		return nil
	}
	e = c.pool.translate(caller, c.method, err, c.trailer)
	e.Sent = c.peer.Addr != nil
	return e
}

// attemptLimit returns how long the next attempt may take; zero leaves that to the call's deadline. Repeats get no more
// than what is left for them, but for those with a request id: cutting one short may leave behind something that nobody
// knows of.
func (c *call) attemptLimit() time.Duration {
	limit := c.rule.attempt
	if c.settings.attempt > 0 {
		limit = c.settings.attempt
	}
	if c.delays.end.IsZero() || c.rule.class == token {
		return limit
	}
	left := max(minAttempt, time.Until(c.delays.end))
	if limit == 0 {
		return left
	}
	return min(limit, left)
}

// verdict tells the backoff what an attempt came to: success, a failure to repeat, or a final one.
func (c *call) verdict(e *rpcerr.Error) error {
	if e == nil {
		return nil
	}
	sentBefore := c.sent
	c.sent = c.sent || e.Sent
	e.Sent, e.Attempts = c.sent, c.attempts
	switch {
	case c.rule.class == remove && sentBefore && removed(e):
		return nil // an earlier attempt did it, and its answer was lost
	case c.settings.unless != nil && c.settings.unless(e):
	case c.settings.budget > 0 && c.rule.class.repeats(e):
		c.failure = e
		c.delays.failed(e.RetryDelay)
		return e
	}
	return backoff.Permanent(e)
}

// retrying reports a failure that is about to be repeated.
func (c *call) retrying(ctx context.Context, delay time.Duration) {
	c.t.logger.LogAttrs(ctx, slog.LevelDebug, "retrying call",
		slog.String("method", c.method),
		slog.Int("attempt", c.attempts),
		slog.String("code", c.failure.Status.Code().String()),
		slog.String("reason", c.failure.Reason),
		slog.Duration("delay", delay))
	if c.settings.onRetry != nil {
		c.settings.onRetry(c.failure)
	}
}

// finish completes the error of the call. What was being repeated when something local ended the call stays in it.
func (c *call) finish(e *rpcerr.Error) *rpcerr.Error {
	e.Sent, e.Attempts = c.sent, c.attempts
	if c.failure != nil && c.failure != e && (e.Context != nil || e.Err != nil) {
		e.Last = c.failure
	}
	return e
}
