package transport

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var errRefused = errors.New("connection refused")

// refuseFirst makes the first attempt to connect fail.
func refuseFirst(s *server) func(*Config) {
	var refused atomic.Bool
	return func(c *Config) {
		c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			if !refused.Swap(true) {
				return nil, errRefused
			}
			return s.dial(ctx, addr)
		})}
	}
}

// refuseAll makes every attempt to connect fail.
func refuseAll(c *Config) {
	c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
		return nil, errRefused
	})}
}

func createOnce(ctx context.Context, tr *Transport) error {
	_, err := sandboxv1.NewSandboxServiceClient(tr).CreateSandbox(ctx, &sandboxv1.CreateSandboxRequest{RequestId: "r"})
	return err
}

func TestSent(t *testing.T) {
	t.Run("no connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, empty).transport(t, refuseAll)
			e := asError(t, createOnce(t.Context(), tr))
			assert.Equal(t, codes.Unavailable, e.Status.Code())
			assert.False(t, e.Sent)
			assert.Greater(t, e.Attempts, 5)

			_, err := sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
			assert.False(t, asError(t, err).Sent)
		})
	})
	t.Run("a dial that hangs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, empty).transport(t, func(c *Config) {
				c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				})}
			})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			e := asError(t, createOnce(ctx, tr))
			assert.ErrorIs(t, e, context.DeadlineExceeded)
			assert.False(t, e.Sent)
		})
	})
	t.Run("a later connection", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			require.NoError(t, createOnce(t.Context(), s.transport(t, refuseFirst(s))))
			assert.Len(t, s.seen(), 1)
		})
	})
	t.Run("connection cut after the request", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var s *server
			s = serve(t, func(call *seen) (proto.Message, error) {
				require.NoError(t, call.SendHeader(metadata.MD{}))
				go s.grpc.Stop()
				return hang(call)
			})
			tr := s.transport(t, func(c *Config) { c.RetryBudget = time.Second })
			e := asError(t, createOnce(t.Context(), tr))
			assert.Equal(t, codes.Unavailable, e.Status.Code())
			assert.True(t, e.Sent, "although no later attempt reached anybody")
			assert.Greater(t, e.Attempts, 1)
		})
	})
	t.Run("an answer", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.InvalidArgument)))
			assert.True(t, asError(t, createOnce(t.Context(), s.transport(t, nil))).Sent)
		})
	})
}

// withDetails adds an entry to the raw trailer for each error.
func withDetails(s *seen, entries ...error) {
	for _, entry := range entries {
		wire, err := proto.Marshal(status.Convert(entry).Proto())
		if err != nil {
			panic(err)
		}
		s.SetTrailer(metadata.Pairs("grpc-status-details-bin", string(wire)))
	}
}

func TestDetailsOnTheWire(t *testing.T) {
	t.Run("K-127", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				withDetails(s, failure(codes.NotFound, because(rpcerr.ReasonSandboxNotFound)), failure(codes.NotFound, retryAfter(time.Second)))
				return nil, status.Error(codes.NotFound, "gone")
			})
			e := asError(t, get(t.Context(), s.transport(t, nil)))
			assert.Equal(t, rpcerr.ReasonSandboxNotFound, e.Reason)
			assert.Equal(t, time.Second, e.RetryDelay)
			assert.Equal(t, codes.NotFound, e.Status.Code())
		})
	})
	t.Run("K-128", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				if s.n == 2 {
					return empty(s)
				}
				withDetails(s, failure(codes.NotFound, because(rpcerr.ReasonBackendUnavailable)))
				return nil, status.Error(codes.FailedPrecondition, "mixed up")
			})
			var last error
			require.NoError(t, list(t.Context(), s.transport(t, nil), OnRetry(func(err error) { last = err })))
			assert.Equal(t, rpcerr.ReasonBackendUnavailable, asError(t, last).Reason)
		})
	})
	t.Run("in a stream", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.NotFound, because(rpcerr.ReasonSandboxNotFound))))
			stream, err := sandboxv1.NewSandboxServiceClient(s.transport(t, nil)).StreamLogs(t.Context(), &sandboxv1.StreamLogsRequest{})
			require.NoError(t, err)
			_, err = stream.Recv()
			e := asError(t, err)
			assert.Equal(t, rpcerr.ReasonSandboxNotFound, e.Reason)
			assert.True(t, e.Sent)
			assert.Equal(t, 1, e.Attempts)
		})
	})
}
