package cwsandbox

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// idle lets fake time pass and what happens in it be done.
func idle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// armed reports whether the client's timer runs.
func (x *expiry) armed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.timer != nil
}

func TestExpiry(t *testing.T) {
	const due = time.Hour + 5*time.Minute
	for name, end := range map[string]func(fl *fleet){
		"L-157":          func(fl *fleet) { fl.set(fl.gone, true, "sb-1", "sb-2") },
		"L-157 terminal": func(fl *fleet) { fl.set(fl.ended, true, "sb-1", "sb-2") },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			fl := f.fleet()
			s, _ := session(t, c, 1)
			alone := creating(t, c)
			defer runtime.KeepAlive(alone) // to drop it is worth a warning
			end(fl)
			idle(due - time.Second)
			assert.Zero(t, f.count("GetSandbox"), "nobody asks for one that may live")
			assert.Equal(t, 2, c.registry.count(c))
			idle(time.Second)
			assert.Equal(t, 2, f.count("GetSandbox"), "each once")
			assert.Zero(t, c.registry.count(c))
			assert.Zero(t, s.Len())
			assert.Empty(t, f.logged())
			assert.False(t, c.expiry.armed())
			idle(48 * time.Hour)
			assert.Equal(t, 2, f.count("GetSandbox"))
		})
	}
	bubble(t, "one that is still there is looked at again", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		creating(t, c)
		idle(due + 59*time.Minute)
		assert.Equal(t, 1, f.count("GetSandbox"))
		assert.Equal(t, 1, c.registry.count(c))
		fl.set(fl.gone, true, "sb-1")
		idle(time.Minute)
		assert.Equal(t, 2, f.count("GetSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "so is one of which nothing was heard", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.PermissionDenied, "")
		}
		sb := creating(t, c)
		defer runtime.KeepAlive(sb)
		idle(due)
		assert.Equal(t, 1, c.registry.count(c))
		assert.Empty(t, f.logged())
		f.nowGet(func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return nil, errNoSandbox })
		idle(time.Hour)
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "the lifetime is the service's, from the start on", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			sb := record("sb-1", runningV)
			sb.Status.EffectiveMaxLifetimeSeconds = 600
			sb.Status.StartTime = timestamppb.New(time.Now().Add(time.Minute))
			return sb, nil
		}
		_, err := c.Create(t.Context(), WithMaxLifetime(0))
		require.NoError(t, err)
		idle(16*time.Minute - time.Second)
		assert.Zero(t, f.count("GetSandbox"))
		idle(time.Second)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	bubble(t, "an earlier end moves the timer", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		creating(t, c)
		fl.set(fl.gone, true, "sb-9")
		f.nowGet(func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			sb := record(id, runningV)
			sb.Status.EffectiveMaxLifetimeSeconds = 60
			return sb, nil
		})
		s, _ := session(t, c, 0)
		_, err := s.Attach(t.Context(), "sb-9")
		require.NoError(t, err)
		f.nowGet(func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) { return fl.get(id) })
		idle(6 * time.Minute)
		assert.Zero(t, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		idle(due)
		assert.Equal(t, 3, f.count("GetSandbox"), "the other one is not forgotten")
	})
	bubble(t, "many at a time, but not all", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		for range 250 {
			creating(t, c)
		}
		f.nowGet(func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			fl.flight(1)
			defer fl.flight(-1)
			time.Sleep(time.Second)
			return nil, errNoSandbox
		})
		idle(due)
		assert.Equal(t, 100, fl.atOnce())
		idle(3 * time.Second)
		assert.Equal(t, 100, fl.atOnce())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "a closed client lets its connection go", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		creating(t, c)
		require.NoError(t, c.Close())
		fl.set(fl.ended, true, "sb-1")
		get := func() error {
			_, err := c.sandboxes.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"}, transport.AfterDrain())
			return call{op: "get"}.wrap(err)
		}
		require.NoError(t, get())
		idle(due)
		assert.Zero(t, c.registry.count(c))
		require.ErrorIs(t, get(), ErrClosed)
		assert.False(t, c.expiry.armed())
	})
	bubble(t, "closing a client whole ends the timer", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		creating(t, c)
		require.True(t, c.expiry.armed())
		require.NoError(t, c.closeWhole())
		assert.False(t, c.expiry.armed())
	})
}

func TestExpiryOfCreates(t *testing.T) {
	hang := func(ctx context.Context, _ int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	bubble(t, "one that could not be undone", func(t *testing.T, f *fake, c *Client) {
		f.create = hang
		s, err := c.NewSession()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Create(ctx, WithMaxLifetime(10*time.Minute))
		require.ErrorIs(t, err, ErrUndecided)
		_, err = c.Create(ctx)
		require.Error(t, err)
		idle(time.Minute)
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		check := f.quiet(t)
		idle(14 * time.Minute)
		assert.Equal(t, 1, s.Len(), "counted from its last repetition")
		idle(time.Minute)
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
		assert.False(t, c.expiry.armed())
		require.NoError(t, s.Close())
		check()
	})
	bubble(t, "one that was undone later", func(t *testing.T, f *fake, c *Client) {
		f.create = hang
		s, err := c.NewSession()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Create(ctx)
		require.ErrorIs(t, err, ErrUndecided)
		idle(time.Minute)
		f.fleet()
		require.NoError(t, cleanup(c, time.Minute))
		assert.Zero(t, s.Len(), "whoever undid it")
		assert.Empty(t, c.expiry.open)
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "one that is being undone is that one's", func(t *testing.T, f *fake, c *Client) {
		f.create = hang
		s, err := c.NewSession()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = s.Create(ctx, WithMaxLifetime(time.Minute))
		require.ErrorIs(t, err, ErrUndecided)
		idle(6*time.Minute + 15*time.Second) // the undo gave up after half a minute; another one begins just before the end
		require.Equal(t, 1, s.Len())
		require.ErrorIs(t, s.Close(), ErrUndecided)
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		idle(6 * time.Minute)
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
	})
}

// TestIdleSandboxes: what only waits for its end costs memory, but no goroutine.
func TestIdleSandboxes(t *testing.T) {
	for name, opts := range map[string][]Option{"plain": nil, "leased": {WithLease(24 * time.Hour)}} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			const n = 300
			f.fleet()
			s, err := c.NewSession(opts...)
			require.NoError(t, err)
			goroutines := func() int {
				t.Helper()
				_, err := s.Create(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Minute) // the first heartbeats are over
				synctest.Wait()
				return runtime.NumGoroutine()
			}
			before := goroutines()
			for range n {
				_, err := s.Create(t.Context())
				require.NoError(t, err)
			}
			assert.Less(t, goroutines(), before+n/10)
			assert.Equal(t, n+2, s.Len())
			require.NoError(t, s.Close())
		})
	}
}
