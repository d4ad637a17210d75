package transport

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func list(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
	_, err := sandboxv1.NewSandboxServiceClient(tr).ListSandboxes(ctx, &sandboxv1.ListSandboxesRequest{}, opts...)
	return err
}

// hang answers when the client has given up.
func hang(s *seen) (proto.Message, error) {
	<-s.Context().Done()
	return nil, status.FromContextError(s.Context().Err()).Err()
}

func TestDeadlineOnTheWire(t *testing.T) {
	minutes := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	none := func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }
	for _, row := range []struct {
		name  string
		limit func(context.Context) (context.Context, context.CancelFunc)
		call  func(context.Context, *Transport) error
		want  time.Duration
	}{
		{"K-037", none, func(ctx context.Context, tr *Transport) error { return list(ctx, tr) }, 300 * time.Second},
		{"K-038", minutes(5 * time.Second), func(ctx context.Context, tr *Transport) error { return list(ctx, tr) }, 5 * time.Second},
		{"K-039", minutes(10 * time.Minute), func(ctx context.Context, tr *Transport) error { return list(ctx, tr) }, 10 * time.Minute},
		{"K-041", none, get, 15 * time.Second},
		{"option", none, func(ctx context.Context, tr *Transport) error { return list(ctx, tr, Timeout(7*time.Second)) }, 7 * time.Second},
		{"option over a longer context", minutes(time.Minute), func(ctx context.Context, tr *Transport) error { return list(ctx, tr, Timeout(7*time.Second)) }, 7 * time.Second},
		{"option over a shorter context", minutes(time.Second), func(ctx context.Context, tr *Transport) error { return list(ctx, tr, Timeout(7*time.Second)) }, time.Second},
		{"attempt option", none, func(ctx context.Context, tr *Transport) error { return list(ctx, tr, AttemptTimeout(3*time.Second)) }, 3 * time.Second},
		{"delete", none, deleting(&sandboxv1.DeleteSandboxRequest{GracePeriodSeconds: 30}), 40 * time.Second},
		{"delete at once", none, deleting(&sandboxv1.DeleteSandboxRequest{}), 10 * time.Second},
		{
			"delete with snapshots", minutes(time.Hour),
			deleting(&sandboxv1.DeleteSandboxRequest{GracePeriodSeconds: 30, SnapshotVolumes: []string{"v"}, RequestId: "r"}), 665 * time.Second,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, empty)
				ctx, cancel := row.limit(t.Context())
				defer cancel()
				assert.NoError(t, row.call(ctx, s.transport(t, nil)))
				assert.Equal(t, row.want, s.seen()[0].timeout)
			})
		})
	}
}

func deleting(request *sandboxv1.DeleteSandboxRequest, opts ...grpc.CallOption) func(context.Context, *Transport) error {
	return func(ctx context.Context, tr *Transport) error {
		_, err := sandboxv1.NewSandboxServiceClient(tr).DeleteSandbox(ctx, request, opts...)
		return err
	}
}

func TestStreamsHaveNoDeadlineOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, empty)
		tr := s.transport(t, nil)
		for _, opts := range [][]grpc.CallOption{nil, {Timeout(time.Minute)}, {AttemptTimeout(time.Second)}, {Timeout(time.Minute), AttemptTimeout(2 * time.Second)}} {
			stream, err := sandboxv1.NewSandboxServiceClient(tr).StreamLogs(t.Context(), &sandboxv1.StreamLogsRequest{}, opts...)
			assert.NoError(t, err)
			_, err = stream.Recv()
			assert.NoError(t, err)
			_, err = stream.Recv()
			assert.Error(t, err)
		}
		var timeouts []time.Duration
		for _, call := range s.seen() {
			timeouts = append(timeouts, call.timeout)
		}
		assert.Equal(t, []time.Duration{0, time.Minute, time.Second, 2 * time.Second}, timeouts)
	})
}

func TestWhoseDeadlineItWas(t *testing.T) {
	t.Run("K-145", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, hang).transport(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			start := time.Now()
			err := list(ctx, tr)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, 5*time.Second, time.Since(start))
			assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
			assert.Equal(t, 1, asError(t, err).Attempts)

			start = time.Now()
			err = list(t.Context(), tr)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
			assert.Equal(t, 300*time.Second, time.Since(start))
			assert.True(t, asError(t, err).Sent)
		})
	})
	t.Run("the server's report is a moment early", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				time.Sleep(s.timeout - 10*time.Millisecond)
				return nil, status.Error(codes.DeadlineExceeded, "too slow")
			})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			assert.ErrorIs(t, list(ctx, s.transport(t, nil)), context.DeadlineExceeded)
		})
	})
	t.Run("K-144", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, hang).transport(t, nil)
			cause := errors.New("user left")
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(cause) })
			err := list(ctx, tr)
			assert.ErrorIs(t, err, context.Canceled)
			assert.ErrorIs(t, err, cause)

			err = list(ctx, tr)
			assert.ErrorIs(t, err, cause)
			assert.False(t, asError(t, err).Sent, "the context was over before the call")
			assert.Zero(t, asError(t, err).Attempts)
		})
	})
	t.Run("K-143", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, fail(status.Error(codes.Canceled, "server says so"))).transport(t, nil)
			err := list(t.Context(), tr)
			assert.NotErrorIs(t, err, context.Canceled)
			assert.Equal(t, codes.Canceled, status.Code(err))
		})
	})
}
