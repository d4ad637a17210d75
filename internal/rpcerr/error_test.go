package rpcerr

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const method = "/coreweave.sandbox.v1.SandboxService/GetSandbox"

func TestText(t *testing.T) {
	plain := &Error{Method: method, Status: status.New(codes.Unavailable, "line one\r\nline\ttwo\x1b")}
	for _, row := range []struct {
		err  *Error
		want string
	}{
		{plain, "GetSandbox: unavailable: line one line two"},
		{&Error{Method: method, Status: status.New(codes.DeadlineExceeded, "")}, "GetSandbox: deadline exceeded"},
		{
			&Error{Method: method, Status: status.New(codes.InvalidArgument, "bad"), Attempts: 3, Details: Details{
				Reason: ReasonInvalidRequest, Violations: []Violation{{"a", "b"}, {"c", "d"}},
			}},
			"GetSandbox: invalid argument: bad; field violations: a: b; c: d (CWSANDBOX_INVALID_REQUEST), after 3 attempts",
		},
		{
			&Error{Method: method, Status: status.New(codes.Canceled, ""), Attempts: 2, Context: context.Canceled, Last: plain},
			"GetSandbox: context canceled, after 2 attempts; last failure: unavailable: line one line two",
		},
		{Local(method, codes.Canceled, ErrClosed), "GetSandbox: connection closed by this client"},
	} {
		assert.Equal(t, row.want, row.err.Error())
	}
}

func TestChain(t *testing.T) {
	last := &Error{Method: method, Status: status.New(codes.Unavailable, "down"), Err: errors.ErrUnsupported}
	e := &Error{Method: method, Status: status.New(codes.Canceled, ""), Context: context.Canceled, Last: last}
	assert.ErrorIs(t, e, context.Canceled)
	assert.ErrorIs(t, e, error(last))
	assert.ErrorIs(t, e, errors.ErrUnsupported)
	assert.Equal(t, codes.Canceled, status.Code(e))
	assert.Empty(t, (&Error{Method: method, Status: status.New(codes.NotFound, "")}).Unwrap())
}

func TestNewWithoutStatus(t *testing.T) {
	breaker := errors.New("circuit open")
	e := New(t.Context(), method, breaker, nil)
	assert.ErrorIs(t, e, breaker)
	assert.Equal(t, codes.Unknown, status.Code(e))
	assert.False(t, Transient(e))

	e = New(t.Context(), method, context.DeadlineExceeded, nil)
	assert.Equal(t, codes.DeadlineExceeded, status.Code(e))
	assert.NotErrorIs(t, e, context.DeadlineExceeded, "the caller's context is alive")
}

func TestNewAsksTheCallersContext(t *testing.T) {
	cause := errors.New("user left")
	ctx, cancel := context.WithCancelCause(t.Context())

	t.Run("K-143", func(t *testing.T) {
		e := New(ctx, method, status.Error(codes.Canceled, "server says so"), nil)
		assert.NotErrorIs(t, e, context.Canceled)
		assert.NoError(t, e.Context)
	})
	cancel(cause)
	t.Run("K-144", func(t *testing.T) {
		e := New(ctx, method, status.Error(codes.Canceled, "canceled"), nil)
		assert.ErrorIs(t, e, context.Canceled)
		assert.ErrorIs(t, e, cause)
		assert.NotContains(t, e.Error(), "\n")
	})
	t.Run("an answer stays an answer", func(t *testing.T) {
		assert.NoError(t, New(ctx, method, status.Error(codes.NotFound, "gone"), nil).Context)
	})
}

func TestServerReportsTheCallersDeadlineFirst(t *testing.T) {
	answer := status.Error(codes.DeadlineExceeded, "too slow")
	for _, row := range []struct {
		name   string
		left   time.Duration
		caller bool
	}{
		{"a moment early", deadlineSkew - time.Millisecond, true},
		{"clearly early", time.Second, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), row.left)
				defer cancel()
				start := time.Now()
				e := New(ctx, method, answer, nil)
				assert.Equal(t, row.caller, errors.Is(e, context.DeadlineExceeded))
				if row.caller {
					assert.Equal(t, row.left, time.Since(start))
				}
			})
		})
	}
	t.Run("a context that never ends", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			e := New(brokenContext{t.Context()}, method, answer, nil)
			assert.NoError(t, e.Context)
		})
	})
}

// brokenContext has a deadline and does not keep it.
type brokenContext struct{ context.Context }

func (brokenContext) Deadline() (time.Time, bool) { return time.Now(), true }

func TestContextError(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	assert.NoError(t, ContextError(ctx))
	cancel(errors.New("why"))
	assert.EqualError(t, ContextError(ctx), "context canceled: why")

	ctx, stop := context.WithCancel(t.Context())
	stop()
	assert.Equal(t, context.Canceled, ContextError(ctx))
}

func TestTransient(t *testing.T) {
	e := func(code codes.Code, reason, domain string) *Error {
		return &Error{Status: status.New(code, "x"), Details: Details{Reason: reason, Domain: domain}}
	}
	t.Run("codes", func(t *testing.T) {
		for code := codes.Code(1); code <= codes.Unauthenticated; code++ {
			want := code == codes.Unavailable || code == codes.ResourceExhausted || code == codes.DeadlineExceeded
			assert.Equal(t, want, Transient(e(code, "", "")), code)
			assert.Equal(t, want, Transient(e(code, "CWSANDBOX_NEW_THING", Domain)), code)
			assert.Equal(t, want, Transient(e(code, ReasonBackendUnavailable, "example.com")), code)
		}
	})
	t.Run("reasons", func(t *testing.T) {
		for reason, want := range transientReasons {
			for code := codes.Code(1); code <= codes.Unauthenticated; code++ {
				assert.Equal(t, want, Transient(e(code, reason, Domain)), "%s, %v", reason, code)
			}
		}
	})
	t.Run("transient reasons", func(t *testing.T) {
		var transient []string
		for reason, ok := range transientReasons {
			if ok {
				transient = append(transient, strings.TrimPrefix(reason, "CWSANDBOX_"))
			}
		}
		assert.ElementsMatch(t, []string{
			"RUNNER_UNAVAILABLE", "BACKEND_UNAVAILABLE", "SANDBOX_ROUTE_UNAVAILABLE", "RUNNER_SHARD_RETIRING",
			"VOLUME_RUNNER_UNAVAILABLE", "FSS_BACKEND_THROTTLED", "FSS_INFLIGHT_LIMIT", "FSS_BUCKET_PROVISIONING",
		}, transient)
	})
	t.Run("local ends", func(t *testing.T) {
		ended := e(codes.DeadlineExceeded, "", "")
		ended.Context = context.DeadlineExceeded
		assert.False(t, Transient(ended))
		assert.False(t, Transient(Local(method, codes.Unavailable, ErrClosed)))
	})
	t.Run("K-163", func(t *testing.T) {
		for _, text := range []string{
			"trying to send message larger than max (2 vs. 1)",
			"grpc: received message larger than max (2 vs. 1)",
			"grpc: message after decompression larger than max (2 vs. 1)",
		} {
			size := &Error{Status: status.New(codes.ResourceExhausted, text)}
			assert.True(t, IsMessageSize(size))
			assert.False(t, Transient(size))
			size.Reason, size.Domain = ReasonFSSInflightLimit, Domain
			assert.False(t, IsMessageSize(size), "the service's own words")
		}
	})
}
