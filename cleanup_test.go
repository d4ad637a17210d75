package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// many lets creates make sandboxes with ids of their own, sb-1, sb-2, …, one for each request id.
func (f *fake) many() {
	var mu sync.Mutex
	made := make(map[string]string)
	f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		mu.Lock()
		defer mu.Unlock()
		id, ok := made[req.GetRequestId()]
		if !ok {
			id = fmt.Sprintf("sb-%d", len(made)+1)
			made[req.GetRequestId()] = id
		}
		return record(id, runningV), nil
	}
	f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
		return record(id, runningV), nil
	}
}

// cleanup is Cleanup for the registry of one client.
func cleanup(c *Client, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	_, left := c.registry.cleanup(ctx, 0)
	return errors.Join(left...)
}

func TestCleanup(t *testing.T) {
	bubble(t, "L-151", func(t *testing.T, f *fake, c *Client) {
		f.many()
		for range 3 {
			creating(t, c)
		}
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if req.GetSandboxId() == "sb-2" {
				return nil, failure(codes.PermissionDenied, "")
			}
			return answer(ctx, n, req)
		}
		err := cleanup(c, time.Second)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-2")
		assert.NotContains(t, err.Error(), "sb-1")
		assert.NotContains(t, err.Error(), "sb-3")
		assert.Equal(t, 1, c.registry.unsettled())
		assert.Equal(t, 3, f.count("DeleteSandbox"))

		f.delete = answer
		require.NoError(t, cleanup(c, time.Second))
		assert.Equal(t, 4, f.count("DeleteSandbox"))
		assert.Zero(t, c.registry.unsettled())
	})
	bubble(t, "L-152", func(t *testing.T, f *fake, c *Client) {
		f.many()
		for range 5 {
			creating(t, c)
		}
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			time.Sleep(time.Second)
			if req.GetSandboxId() == "sb-1" {
				return nil, failure(codes.PermissionDenied, "")
			}
			return answer(ctx, n, req)
		}
		var all []*Future[struct{}]
		for range 10 {
			all = append(all, Go(func() (struct{}, error) { return struct{}{}, cleanup(c, time.Minute) }))
		}
		_, err := WaitAll(t.Context(), all...)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.Equal(t, 5, f.count("DeleteSandbox"))
	})
	bubble(t, "L-154", func(t *testing.T, f *fake, c *Client) {
		f.many()
		creating(t, c)
		hold := make(chan struct{})
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			<-hold
			return answer(ctx, n, req)
		}
		done := Go(func() (struct{}, error) { return struct{}{}, cleanup(c, time.Minute) })
		synctest.Wait()
		_, err := c.Create(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		assert.Equal(t, 1, f.count("CreateSandbox"))
		close(hold)
		_, err = done.Wait()
		require.NoError(t, err)
		creating(t, c)
		assert.Equal(t, 1, c.registry.unsettled())
	})
	bubble(t, "L-155", func(t *testing.T, f *fake, c *Client) {
		creating(t, c)
		require.NoError(t, c.Close())
		require.NoError(t, cleanup(c, time.Second))
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "L-156", func(t *testing.T, f *fake, c *Client) {
		f.create = func(ctx context.Context, _ int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		create := Go(func() (*Sandbox, error) { return c.Create(t.Context()) })
		synctest.Wait()
		err := cleanup(c, 7*time.Second)
		require.ErrorIs(t, err, ErrUndecided)
		assert.ErrorContains(t, err, f.requestIDs()[0])
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, err, ErrUndecided)
	})
	bubble(t, "a create in flight is ended and what it made is deleted", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		create := Go(func() (*Sandbox, error) { return c.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, cleanup(c, 7*time.Second))
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
		_, err := create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		require.NotErrorIs(t, err, ErrUndecided)
		assert.Zero(t, c.registry.unsettled())
	})
	bubble(t, "a create that is answered while a cleanup runs leaves nothing", func(t *testing.T, f *fake, c *Client) {
		f.many()
		creating(t, c)
		answer := f.create
		f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			time.Sleep(time.Second) // whoever has asked
			return answer(context.Background(), n, req)
		}
		f.delete = slowly(f.delete, 5*time.Second)
		create := Go(func() (*Sandbox, error) { return c.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, cleanup(c, time.Minute))
		_, err := create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Len(t, f.deleted(), 2)
		assert.Zero(t, c.registry.unsettled())
	})
	bubble(t, "it joins the stops in flight and deletes nothing twice", func(t *testing.T, f *fake, c *Client) {
		f.drains(3*time.Second, ended("sb-1", completed, 0))
		f.delete = slowly(f.delete, time.Second)
		sb := running(t, f, c)
		stop := sb.Stop().Start()
		synctest.Wait()
		require.NoError(t, cleanup(c, time.Minute))
		assert.Zero(t, c.registry.unsettled(), "accepted is enough")
		assert.Equal(t, 1, c.registry.count(c), "the end was not seen yet")
		require.NoError(t, cleanup(c, time.Minute))
		_, err := stop.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "who waits no longer cuts no delete", func(t *testing.T, f *fake, c *Client) {
		f.delete = slowly(f.delete, 10*time.Second)
		sb := running(t, f, c)
		err := cleanup(c, time.Second)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "sb-1")
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "the grace is cut on request", func(t *testing.T, f *fake, c *Client) {
		_, err := c.Create(t.Context(), WithGrace(30*time.Second))
		require.NoError(t, err)
		stopped, left := c.registry.cleanup(t.Context(), hurriedGrace)
		assert.Equal(t, 1, stopped)
		assert.Empty(t, left)
		assert.EqualValues(t, 5, f.of("DeleteSandbox")[0].request.(*sandboxv1.DeleteSandboxRequest).GetGracePeriodSeconds())
	})
	bubble(t, "who was let go is left alone", func(t *testing.T, f *fake, c *Client) {
		f.many()
		var last *Sandbox
		for range cleanupWidth + 100 {
			last = creating(t, c)
		}
		f.delete = slowly(f.delete, time.Second)
		done := Go(func() (struct{}, error) { return struct{}{}, cleanup(c, time.Minute) })
		synctest.Wait()
		sent := make(map[string]bool)
		for _, q := range f.of("DeleteSandbox") {
			sent[q.request.(*sandboxv1.DeleteSandboxRequest).GetSandboxId()] = true
		}
		var kept []string
		for _, s := range c.registry.statesOf(c) {
			if !sent[s.id] {
				require.NoError(t, s.handle().Detach(t.Context()))
				kept = append(kept, s.id)
			}
		}
		_, err := done.Wait()
		require.NoError(t, err)
		assert.Len(t, kept, 100)
		for _, id := range kept {
			assert.NotContains(t, f.deleted(), id)
		}
		runtime.KeepAlive(last)
	})
	bubble(t, "creates and cleanups at the same time leave nothing", func(t *testing.T, f *fake, c *Client) {
		f.many()
		for range 50 {
			var all sync.WaitGroup
			for range 10 {
				all.Go(func() {
					if sb, err := c.Create(t.Context()); err == nil {
						sb.Stop().Wait()
					}
				})
			}
			all.Go(func() { cleanup(c, time.Minute) })
			all.Wait()
		}
		assert.Zero(t, c.registry.unsettled())
		made := make(map[string]bool)
		for _, id := range f.requestIDs() {
			made[id] = true
		}
		ids := f.deleted()
		assert.Len(t, ids, len(made), "one delete each")
		slices.Sort(ids)
		assert.Len(t, slices.Compact(ids), len(made), "none is left")
	})
	bubble(t, "what is known to be made is not made again to undo it", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession()
		require.NoError(t, err)
		c.expiry.mu.Lock() // holds the create between the answer and the look at its session
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		for len(c.registry.statesOf(c)) == 0 {
			runtime.Gosched()
		}
		closing := s.state.close().Start()
		c.expiry.mu.Unlock()
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		_, err = closing.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("CreateSandbox"))
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "the answer of a proxy proves nothing", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			switch n {
			case 1:
				return nil, failure(codes.Internal, "")
			case 2:
				return nil, failure(codes.Unimplemented, "")
			}
			return record("sb-1", runningV), nil
		}
		_, err := c.Create(t.Context())
		require.Error(t, err)
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "a thousand at a time", func(t *testing.T, f *fake, c *Client) {
		f.many()
		for range 2500 {
			creating(t, c)
		}
		f.delete = slowly(f.delete, time.Second)
		begin := time.Now()
		require.NoError(t, cleanup(c, time.Minute))
		assert.Equal(t, 3*time.Second, time.Since(begin))
		assert.Equal(t, 2500, f.count("DeleteSandbox"))
	})
}

// slowly delays answers.
func slowly[Q, A any](answer func(context.Context, int, Q) (A, error), d time.Duration) func(context.Context, int, Q) (A, error) {
	return func(ctx context.Context, n int, req Q) (A, error) {
		time.Sleep(d)
		return answer(ctx, n, req)
	}
}
