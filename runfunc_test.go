package cwsandbox

import (
	"context"
	"errors"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// doors are the ways to RunFunc.
func doors(t *testing.T, c *Client) map[string]func(context.Context, func(*Sandbox) error, ...Option) error {
	s, err := c.NewSession()
	require.NoError(t, err)
	return map[string]func(context.Context, func(*Sandbox) error, ...Option) error{
		"client": c.RunFunc, "session": s.RunFunc,
	}
}

func explode(*Sandbox) error { panic("bug") }

func TestRunFunc(t *testing.T) {
	bubble(t, "stops when the function returns", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		for name, run := range doors(t, c) {
			before := f.count("DeleteSandbox")
			require.NoError(t, run(t.Context(), func(sb *Sandbox) error {
				assert.Equal(t, StateRunning, sb.Info().State)
				assert.Equal(t, before, f.count("DeleteSandbox"), name)
				return nil
			}))
			assert.Equal(t, before+1, f.count("DeleteSandbox"), name)
		}
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "returns the function's error as it is", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		mine := errors.New("mine")
		assert.True(t, c.RunFunc(t.Context(), func(*Sandbox) error { return mine }) == mine)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "joins the stop's error", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.set(fl.refused, true, "sb-1", "sb-2")
		require.ErrorIs(t, c.RunFunc(t.Context(), func(*Sandbox) error { return nil }), ErrPermissionDenied)
		mine := errors.New("mine")
		err := c.RunFunc(t.Context(), func(*Sandbox) error { return mine })
		require.ErrorIs(t, err, mine)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-2")
	})
	bubble(t, "a panic goes on, with its stack", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		func() {
			defer func() {
				assert.Equal(t, "bug", recover())
				assert.Contains(t, string(debug.Stack()), "explode", "nobody has recovered it on the way")
			}()
			c.RunFunc(t.Context(), explode)
		}()
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "a goroutine that ends", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		_, err := Go(func() (struct{}, error) {
			return struct{}{}, c.RunFunc(t.Context(), func(*Sandbox) error { runtime.Goexit(); return nil })
		}).Wait()
		require.ErrorIs(t, err, errExited)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "stops after its context has ended", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, c.RunFunc(ctx, func(*Sandbox) error { cancel(); return ctx.Err() }), context.Canceled)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "a sandbox that is gone already is no error", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		require.NoError(t, c.RunFunc(t.Context(), func(sb *Sandbox) error {
			fl.set(fl.gone, true, sb.ID())
			return nil
		}))
	})
	bubble(t, "calls nothing when the sandbox does not come up", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.InvalidArgument, "")
		}
		err := c.RunFunc(t.Context(), explode)
		require.ErrorIs(t, err, ErrInvalidArgument)
	})
	bubble(t, "needs a function", func(t *testing.T, f *fake, c *Client) {
		for _, run := range doors(t, c) {
			err := run(t.Context(), nil)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.False(t, strings.Contains(err.Error(), "\n"))
		}
		assert.Zero(t, f.total())
	})
}
