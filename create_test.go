package cwsandbox

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// requestIDs returns the request id of each create that the service saw.
func (f *fake) requestIDs() []string {
	var ids []string
	for _, call := range f.of("CreateSandbox") {
		ids = append(ids, call.request.(*sandboxv1.CreateSandboxRequest).GetRequestId())
	}
	return ids
}

// committed makes creates hang until their caller is gone, with the sandbox made all the same: later creates with that
// request id find it.
func (f *fake) committed(t *testing.T) {
	var mu sync.Mutex
	made := map[string]bool{}
	f.create = func(ctx context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		mu.Lock()
		again := made[req.GetRequestId()]
		made[req.GetRequestId()] = true
		mu.Unlock()
		if !again {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return record("sb-lost", creatingV), nil
	}
}

func TestCreate(t *testing.T) {
	bubble(t, "K-100", func(t *testing.T, f *fake, c *Client) {
		creating(t, c)
		creating(t, c)
		ids := f.requestIDs()
		assert.Len(t, ids[0], 36)
		assert.NotEqual(t, ids[0], ids[1])
	})
	bubble(t, "K-101", func(t *testing.T, f *fake, c *Client) {
		answer := f.create
		f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n <= 2 {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, req)
		}
		_, err := c.Create(t.Context(), WithEnv("A", "1"), WithEnv("B", "2"), WithEnv("C", "3"), WithEnv("D", "4"))
		require.NoError(t, err)
		calls := f.of("CreateSandbox")
		require.Len(t, calls, 3)
		for _, call := range calls {
			assert.True(t, proto.Equal(calls[0].request, call.request))
		}
		assert.Equal(t, 1, c.registry.count(c))
	})
	for _, name := range []string{"K-102", "L-104"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return nil, failure(codes.InvalidArgument, "CWSANDBOX_INVALID_REQUEST")
			}
			_, err := c.Create(t.Context())
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.Equal(t, 1, f.count("CreateSandbox"))
			assert.Zero(t, c.registry.count(c))
		})
	}
	for _, name := range []string{"K-103", "L-103"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.committed(t)
			ctx, cancel := context.WithCancel(t.Context())
			create := Go(func() (*Sandbox, error) { return c.Create(ctx) })
			synctest.Wait()
			assert.Equal(t, 1, c.registry.count(c), "tracked before the answer")
			cancel()
			sb, err := create.Wait()
			require.ErrorIs(t, err, context.Canceled)
			assert.NotErrorIs(t, err, ErrUndecided)
			assert.Nil(t, sb)
			ids := f.requestIDs()
			require.Len(t, ids, 2)
			assert.Equal(t, ids[0], ids[1])
			assert.Equal(t, "sb-lost", f.lastDelete(t).GetSandboxId())
			assert.Zero(t, f.lastDelete(t).GetGracePeriodSeconds())
			assert.Zero(t, c.registry.count(c))
		})
	}
	for _, name := range []string{"K-104", "L-102"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				if n == 1 {
					return nil, failure(codes.Unavailable, "")
				}
				return record("sb-1", runningV), nil
			}
			sb, err := c.Create(t.Context())
			require.NoError(t, err)
			assert.Equal(t, StateRunning, sb.Info().State)
			ids := f.requestIDs()
			require.Len(t, ids, 2)
			assert.Equal(t, ids[0], ids[1])
			assert.Zero(t, f.count("DeleteSandbox"))
		})
	}
	for name, code := range map[string]codes.Code{
		"K-105 internal": codes.Internal, "K-105 unknown": codes.Unknown, "K-105 canceled": codes.Canceled,
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			answer := f.create
			f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				if n == 1 {
					return nil, failure(code, "")
				}
				return answer(ctx, n, req)
			}
			_, err := c.Create(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 2, f.count("CreateSandbox"))
			assert.Equal(t, 1, c.registry.count(c))
		})
	}
	bubble(t, "K-105 twice", func(t *testing.T, f *fake, c *Client) {
		start := time.Now()
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if time.Since(start) < 10*time.Second {
				return nil, failure(codes.Internal, "")
			}
			return record("sb-late", creatingV), nil
		}
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrUndecided)
		assert.ErrorContains(t, err, f.requestIDs()[0])
		assert.LessOrEqual(t, time.Since(start), 5*time.Second)
		time.Sleep(10 * time.Second)
		assert.Equal(t, "sb-late", f.lastDelete(t).GetSandboxId())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "K-106", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.Unavailable, "")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Create(ctx)
		failed := time.Now()
		require.ErrorIs(t, err, ErrUndecided)
		require.ErrorIs(t, err, ErrUnavailable)
		assert.ErrorContains(t, err, f.requestIDs()[0])
		assert.Equal(t, 1, strings.Count(err.Error(), "cwsandbox:"), err)
		time.Sleep(40 * time.Second)
		assert.LessOrEqual(t, time.Since(failed), 45*time.Second)
		assert.Equal(t, 1, strings.Count(f.logged(), "level=WARN"), f.logged())
		assert.Contains(t, f.logged(), f.requestIDs()[0])
		assert.NotContains(t, f.logged(), "test-key")
		assert.Equal(t, 1, c.registry.count(c))
	})
	bubble(t, "K-107", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n <= 2 {
				return record("", creatingV), nil
			}
			return record("sb-late", creatingV), nil
		}
		sb, err := c.Create(t.Context())
		require.Error(t, err)
		assert.Nil(t, sb)
		assert.Equal(t, "sb-late", f.lastDelete(t).GetSandboxId())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "K-108", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return record("sb-"+req.GetRequestId(), creatingV), nil
		}
		var creates []*Future[*Sandbox]
		for range 100 {
			creates = append(creates, Go(func() (*Sandbox, error) { return c.Create(t.Context()) }))
		}
		all, err := WaitAll(t.Context(), creates...)
		require.NoError(t, err)
		ids := map[string]bool{}
		for _, sb := range all {
			ids[sb.ID()] = true
		}
		assert.Len(t, ids, 100)
		assert.Equal(t, 100, c.registry.count(c))
	})
	bubble(t, "K-109", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.ResourceExhausted, "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED")
		}
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrPlacement)
		assert.Equal(t, 1, f.count("CreateSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "K-113", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.ResourceExhausted, "")
		}
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrResourceExhausted)
		assert.Equal(t, 1, f.count("CreateSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "K-113 with a hint", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, failure(codes.ResourceExhausted, "", retryAfter(time.Second))
			}
			return record("sb-1", creatingV), nil
		}
		_, err := c.Create(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []time.Duration{time.Second}, f.gaps("CreateSandbox"))
	})
	bubble(t, "K-173", func(t *testing.T, f *fake, _ *Client) {
		f2, c := fakeClient(t, WithRetryBudget(0))
		f2.create = func(ctx context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n <= 2 {
				return nil, failure(codes.Unavailable, "")
			}
			return record("sb-late", creatingV), nil
		}
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		assert.Equal(t, "sb-late", f2.lastDelete(t).GetSandboxId())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "an ended context sends nothing", func(t *testing.T, f *fake, c *Client) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		cancel(cause)
		_, err := c.Create(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, cause)
		assert.Zero(t, f.count("CreateSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "K-154", func(t *testing.T, f *fake, c *Client) {
		require.NoError(t, c.Close())
		require.NoError(t, c.Close())
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		_, err = c.Attach(t.Context(), "sb-1")
		require.ErrorIs(t, err, ErrClosed)
		assert.Empty(t, f.calls)
	})
}

func TestRun(t *testing.T) {
	bubble(t, "waits until it runs", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV, creatingV, runningV)
		sb, err := c.Run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, StateRunning, sb.Info().State)
	})
	for _, name := range []string{"K-115", "L-099"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
				sb := record(id, failed)
				sb.Status.StateReason = "no such image"
				return sb, nil
			}
			_, err := c.Run(t.Context())
			require.ErrorIs(t, err, ErrFailed)
			assert.ErrorContains(t, err, "no such image")
			assert.Zero(t, f.count("DeleteSandbox"))
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "K-116", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		_, err := c.Run(context.Background())
		require.ErrorIs(t, err, ErrTimeout)
		assert.ErrorContains(t, err, "sb-1")
		assert.ErrorContains(t, err, "creating")
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Zero(t, f.lastDelete(t).GetGracePeriodSeconds())
		assert.Zero(t, c.registry.count(c))
	})
	for _, name := range []string{"K-117", "L-101"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.states(creatingV)
			f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				return nil, failure(codes.PermissionDenied, "")
			}
			_, err := c.Run(context.Background())
			require.ErrorIs(t, err, ErrTimeout)
			require.ErrorIs(t, err, ErrPermissionDenied)
			assert.ErrorContains(t, err, "sb-1")
			assert.Equal(t, 1, c.registry.count(c))
		})
	}
	bubble(t, "K-118", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 0), nil
		}
		sb, err := c.Run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, sb.Info().State)
	})
	bubble(t, "L-100", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := c.Run(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
}

// deleted returns the ids of all deletes.
func (f *fake) deleted() []string {
	var ids []string
	for _, call := range f.of("DeleteSandbox") {
		ids = append(ids, call.request.(*sandboxv1.DeleteSandboxRequest).GetSandboxId())
	}
	return ids
}
