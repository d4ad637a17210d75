package cwsandbox

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestSessionClose(t *testing.T) {
	bubble(t, "L-119", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.drain, fl.slow = 5*time.Second, time.Second
		s, all := session(t, c, 3)
		start := time.Now()
		require.NoError(t, s.Close())
		assert.Equal(t, 3, fl.atOnce())
		assert.GreaterOrEqual(t, time.Since(start), 6*time.Second)
		for _, sb := range all {
			assert.Equal(t, StateCompleted, sb.Info().State)
		}
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "L-120", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.set(fl.refused, true, "sb-2")
		s, _ := session(t, c, 3)
		err := s.Close()
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-2")
		assert.NotContains(t, err.Error(), "sb-1")
		assert.NotContains(t, err.Error(), "sb-3")
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		fl.set(fl.refused, false, "sb-2")
		require.NoError(t, s.Close())
		assert.Equal(t, 4, f.count("DeleteSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "L-121", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.drain, fl.slow = 5*time.Second, time.Second
		fl.set(fl.refused, true, "sb-2")
		s, _ := session(t, c, 2)
		start := time.Now()
		errs := make([]error, 10)
		var closes sync.WaitGroup
		for i := range errs {
			closes.Go(func() {
				errs[i] = s.Close()
				assert.GreaterOrEqual(t, time.Since(start), 5*time.Second)
			})
		}
		closes.Wait()
		assert.Equal(t, 2, f.count("DeleteSandbox"))
		for _, err := range errs {
			require.ErrorIs(t, err, ErrPermissionDenied)
			assert.Equal(t, errs[0], err)
		}
	})
	bubble(t, "L-122", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 2)
		require.NoError(t, s.Close())
		check := f.quiet(t)
		require.NoError(t, s.Close())
		require.NoError(t, s.Shutdown(t.Context()))
		check()
	})
	bubble(t, "L-123", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		s, err := c.NewSession()
		require.NoError(t, err)
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.Equal(t, "sb-lost", f.lastDelete(t).GetSandboxId())
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.NotErrorIs(t, err, context.Canceled)
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "L-124", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = 5 * time.Second
		s, _ := session(t, c, 1)
		other := creating(t, c)
		done := Go(func() (struct{}, error) { return struct{}{}, s.Close() })
		synctest.Wait()
		for _, closed := range []bool{false, true} {
			if closed {
				_, err := done.Wait()
				require.NoError(t, err)
			}
			check := f.quiet(t)
			_, err := s.Run(t.Context())
			require.ErrorIs(t, err, ErrClosed)
			_, err = s.Create(t.Context())
			require.ErrorIs(t, err, ErrClosed)
			err = s.RunFunc(t.Context(), func(*Sandbox) error { t.Error("called"); return nil })
			require.ErrorIs(t, err, ErrClosed)
			_, err = s.Attach(t.Context(), "sb-2")
			require.ErrorIs(t, err, ErrClosed)
			require.ErrorIs(t, s.Adopt(other), ErrClosed)
			_, err = Collect(s.List(t.Context()))
			require.ErrorIs(t, err, ErrClosed)
			_, err = s.AdoptAll(t.Context(), WithTags("job"))
			require.ErrorIs(t, err, ErrClosed)
			check()
		}
	})
	bubble(t, "L-127", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, _ := session(t, c, 2)
		fl.set(fl.gone, true, "sb-1")
		fl.set(fl.ended, true, "sb-2")
		require.NoError(t, s.Close())
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "L-128", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = 5 * time.Second
		s, all := session(t, c, 1)
		stop := all[0].Stop().Start()
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		_, err := stop.Wait()
		require.NoError(t, err)
	})
	bubble(t, "L-128 with a snapshot", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		s, _ := session(t, c, 0)
		require.NoError(t, s.Adopt(sb))
		stop := sb.Stop(WithStopSnapshot()).Start()
		synctest.Wait()
		require.NoError(t, s.Close())
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		result, err := stop.Wait()
		require.NoError(t, err)
		assert.Equal(t, []string{"snap-a", "snap-b"}, result.SnapshotIDs)
	})
	bubble(t, "the owned need not wait for a create that hangs", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, _ := session(t, c, 2)
		f.create = func(ctx context.Context, _ int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		go s.Create(t.Context())
		synctest.Wait()
		start := time.Now()
		done := Go(func() (struct{}, error) { return struct{}{}, s.Close() })
		synctest.Wait()
		fl.mu.Lock()
		assert.Len(t, fl.deleted, 2)
		fl.mu.Unlock()
		assert.Zero(t, time.Since(start))
		_, err := done.Wait()
		require.ErrorIs(t, err, ErrUndecided)
		assert.Equal(t, 1, s.Len())
	})
}

func TestSessionCloseBesideCreates(t *testing.T) {
	bubble(t, "L-133", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, err := c.NewSession()
		require.NoError(t, err)
		var creates sync.WaitGroup
		for range 1000 {
			creates.Go(func() {
				time.Sleep(rand.N(10 * time.Millisecond))
				if _, err := s.Create(t.Context()); err != nil {
					assert.ErrorIs(t, err, ErrClosed)
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, s.Close())
		creates.Wait()
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))
		assert.Equal(t, fl.made, len(fl.deleted))
		assert.Greater(t, fl.made, 100)
		assert.Less(t, fl.made, 1000)
	})
}

// TestSessionsBesideEverything: whatever happens at the same time, no sandbox is lost.
func TestSessionsBesideEverything(t *testing.T) {
	bubble(t, "moved, stopped, detached, closed", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.drain, fl.slow = 5*time.Millisecond, time.Millisecond
		a, all := session(t, c, 200)
		b, _ := session(t, c, 0)
		var work sync.WaitGroup
		for i, sb := range all {
			work.Go(func() {
				time.Sleep(rand.N(10 * time.Millisecond))
				switch i % 4 {
				case 0:
					assert.NoError(t, b.Adopt(sb))
				case 1:
					_, err := sb.Stop().Wait()
					assert.NoError(t, err)
				case 2:
					assert.NoError(t, sb.Detach(t.Context()))
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		require.NoError(t, a.Close())
		work.Wait()
		require.NoError(t, b.Close())
		assert.Zero(t, a.Len()+b.Len())
		assert.Zero(t, c.registry.count(c))
		deletes := f.deleted()
		for i, sb := range all {
			if i%4 != 2 {
				assert.Contains(t, deletes, sb.ID())
			}
		}
		slices.Sort(deletes)
		assert.Len(t, slices.Compact(deletes), f.count("DeleteSandbox"), "none twice")
	})
}

func TestShutdown(t *testing.T) {
	bubble(t, "L-125", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = 20 * time.Second
		s, _ := session(t, c, 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := s.Shutdown(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "shutdown")
		assert.Equal(t, time.Second, time.Since(start))
		assert.Equal(t, 2, f.count("DeleteSandbox"))
		assert.Equal(t, 2, c.registry.count(c))
		assert.Zero(t, c.registry.unsettled(), "the service has taken the deletes")
		require.NoError(t, s.Close())
		assert.Equal(t, 2, f.count("DeleteSandbox"))
		assert.GreaterOrEqual(t, time.Since(start), 20*time.Second)
	})
	bubble(t, "an ended context begins the stops all the same", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 2)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
		synctest.Wait()
		assert.Equal(t, 2, f.count("DeleteSandbox"))
		require.NoError(t, s.Shutdown(ctx), "a result beats an ended context")
	})
}

// TestStopsOfMany: however many stops begin together, the service sees a bounded number of deletes.
func TestStopsOfMany(t *testing.T) {
	const n = 1050
	make := func(t *testing.T, f *fake, c *Client) (*fleet, *Session, []*Sandbox) {
		fl := f.fleet()
		fl.slow = time.Second
		s, all := session(t, c, n)
		return fl, s, all
	}
	bubble(t, "by WaitAll", func(t *testing.T, f *fake, c *Client) {
		fl, s, all := make(t, f, c)
		var stops []*Future[StopResult]
		for _, sb := range all {
			stops = append(stops, sb.Stop())
		}
		_, err := WaitAll(t.Context(), stops...)
		require.NoError(t, err)
		assert.Equal(t, 1000, fl.atOnce())
		assert.Equal(t, n, f.count("DeleteSandbox"))
		assert.Zero(t, s.Len())
	})
	bubble(t, "by a close", func(t *testing.T, f *fake, c *Client) {
		fl, s, _ := make(t, f, c)
		require.NoError(t, s.Close())
		assert.Equal(t, 1000, fl.atOnce())
		assert.Equal(t, n, f.count("DeleteSandbox"))
		assert.Zero(t, strings.Count(f.logged(), "level=WARN"))
	})
}
