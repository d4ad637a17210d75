package cwsandbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func refuseDeletes(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
	return nil, failure(codes.PermissionDenied, "")
}

// TestOnlyTheServiceSaysGone: the cause of an ended context may be the not-found error of another sandbox.
func TestOnlyTheServiceSaysGone(t *testing.T) {
	bubble(t, "refresh and delete", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(call{op: "attach", sandbox: "sb-other"}.refuse("gone", ErrNotFound))
		_, err := sb.Refresh(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.Delete(ctx, "sb-1", MissingOK()), context.Canceled)
		assert.Equal(t, 1, c.registry.count(c))
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.False(t, result.Missing)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
}

func TestAbandonedCreates(t *testing.T) {
	bubble(t, "a close waits for an undo that takes long", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		answer := f.create
		f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n > 1 {
				time.Sleep(8 * time.Second)
			}
			return answer(ctx, n, req)
		}
		s, err := c.NewSession()
		require.NoError(t, err)
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
		assert.Zero(t, c.registry.count(c))
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, ErrUndecided)
		assert.ErrorContains(t, err, f.requestIDs()[0])
	})
	bubble(t, "a session keeps what could not be undone", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		answer := f.delete
		f.delete = refuseDeletes
		s, err := c.NewSession()
		require.NoError(t, err)
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		synctest.Wait()
		require.ErrorIs(t, s.Close(), ErrPermissionDenied)
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		f.delete = answer
		require.NoError(t, s.Close())
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "the caller learns of an undo that failed", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		f.delete = refuseDeletes
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Create(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-lost")
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, 1, c.registry.count(c))
	})
	for name, code := range map[string]codes.Code{
		"a refused credential proves nothing":       codes.Unauthenticated,
		"a credential without the right nor either": codes.PermissionDenied,
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				switch n {
				case 1:
					return nil, failure(codes.Internal, "")
				case 2, 3:
					return nil, failure(code, "")
				}
				return record("sb-late", creatingV), nil
			}
			_, err := c.Create(t.Context())
			require.Error(t, err)
			assert.Equal(t, []string{"sb-late"}, f.deleted())
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "nor does whoever limits the rate of calls", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			switch n {
			case 1:
				return nil, failure(codes.Internal, "")
			case 2, 3:
				return nil, failure(codes.ResourceExhausted, "")
			}
			return record("sb-late", creatingV), nil
		}
		_, err := c.Create(t.Context())
		require.Error(t, err)
		assert.Equal(t, []string{"sb-late"}, f.deleted())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "but a create that was limited each time has made nothing", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.ResourceExhausted, "", retryAfter(10*time.Second))
		}
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrResourceExhausted)
		require.NotErrorIs(t, err, ErrUndecided)
		assert.Greater(t, f.count("CreateSandbox"), 1)
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "nor does a credential that could not be had", func(t *testing.T, _ *fake, _ *Client) {
		asked := 0
		f, c := fakeClient(t, WithCredentials(func(context.Context) (Credential, error) {
			if asked++; asked == 2 {
				return Credential{}, errors.New("the vault is sealed")
			}
			return BearerToken("k"), nil
		}))
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, failure(codes.Internal, "")
			}
			return record("sb-late", creatingV), nil
		}
		_, err := c.Create(t.Context())
		require.Error(t, err)
		assert.Equal(t, []string{"sb-late"}, f.deleted())
	})
	bubble(t, "a closed client keeps no connection for nothing", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			time.Sleep(time.Second)
			return nil, failure(codes.InvalidArgument, "")
		}
		create := Go(func() (*Sandbox, error) { return c.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, c.Close())
		_, err := create.Wait()
		require.ErrorIs(t, err, ErrInvalidArgument)
		_, err = c.sandboxes.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"})
		require.Error(t, err)
		assert.Zero(t, f.count("GetSandbox"))
	})
}

// A create that is repeated for its share token makes another sandbox where the service has forgotten the first one.
func TestRepeatedCreates(t *testing.T) {
	// forgetful returns a handle of a sandbox whose token has to be asked for. The service answers that by answers.
	forgetful := func(t *testing.T, f *fake, c *Client, answers func(n int) (*sandboxv1.Sandbox, error)) *Sandbox {
		f.tokenless(1, "")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return answers(n)
		}
		return sb
	}
	bubble(t, "what cannot be deleted stays tracked", func(t *testing.T, f *fake, c *Client) {
		sb := forgetful(t, f, c, func(int) (*sandboxv1.Sandbox, error) { return record("sb-2", creatingV), nil })
		answer := f.delete
		f.delete = refuseDeletes
		_, err := sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-2")
		assert.Equal(t, 2, c.registry.count(c))
		f.delete = answer
		require.NoError(t, cleanup(c, time.Second))
		assert.ElementsMatch(t, []string{"sb-1", "sb-2"}, f.deleted()[1:])
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "an answer that was lost is found out", func(t *testing.T, f *fake, c *Client) {
		sb := forgetful(t, f, c, func(n int) (*sandboxv1.Sandbox, error) {
			if n == 2 {
				return nil, failure(codes.Internal, "")
			}
			return record("sb-2", creatingV), nil
		})
		_, err := sb.ShareToken(t.Context())
		require.Error(t, err)
		assert.Equal(t, []string{"sb-2"}, f.deleted())
		assert.Equal(t, 1, c.registry.count(c))
	})
	bubble(t, "and does not end the sandbox itself", func(t *testing.T, f *fake, c *Client) {
		sb := forgetful(t, f, c, func(n int) (*sandboxv1.Sandbox, error) {
			if n == 2 {
				return nil, failure(codes.Internal, "")
			}
			return record("sb-1", runningV), nil
		})
		require.NoError(t, sb.Detach(t.Context()))
		_, err := sb.ShareToken(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrUndecided)
		assert.Empty(t, f.deleted())
		assert.Zero(t, c.registry.count(c), "nor is it tracked again")
	})
	bubble(t, "a cleanup admits none", func(t *testing.T, f *fake, c *Client) {
		sb := forgetful(t, f, c, func(int) (*sandboxv1.Sandbox, error) { return record("sb-1", runningV), nil })
		require.NoError(t, sb.Detach(t.Context()))
		c.registry.enter(0)
		defer c.registry.leave()
		_, err := sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		assert.Equal(t, 1, f.count("CreateSandbox"))
	})
}

func TestEnds(t *testing.T) {
	bubble(t, "an end without a state counts after running too", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			r := record(id, unspecified)
			r.Status.EndTime = timestamppb.Now()
			return r, nil
		}
		info, err := sb.WaitDone(t.Context())
		require.NoError(t, err)
		assert.False(t, info.EndTime.IsZero())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "failed under an own stop is both", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Second, record("sb-1", failed))
		sb := running(t, f, c)
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		for _, err := range []error{result.Info.Err(), sb.WaitRunning(t.Context()), sb.s.ready(t.Context(), "exec")} {
			require.ErrorIs(t, err, ErrFailed)
			require.ErrorIs(t, err, ErrTerminated)
		}
	})
	bubble(t, "a delete whose first answer was lost was a stop", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(_ context.Context, n int, _ *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "")
			}
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		result, err := running(t, f, c).Stop().Wait()
		require.NoError(t, err)
		assert.True(t, result.Accepted)
		assert.False(t, result.Missing)
	})
}
