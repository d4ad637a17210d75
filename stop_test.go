package cwsandbox

import (
	"context"
	"runtime"
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

// drains makes a delete answer terminating and Get answer end once d has passed since.
func (f *fake) drains(d time.Duration, end *sandboxv1.Sandbox) {
	var mu sync.Mutex
	var since time.Time
	f.delete = func(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		mu.Lock()
		defer mu.Unlock()
		since = time.Now()
		return &sandboxv1.DeleteSandboxResponse{Sandbox: record(req.GetSandboxId(), terminating)}, nil
	}
	f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case since.IsZero():
			return record(id, runningV), nil
		case time.Since(since) < d:
			return record(id, terminating), nil
		}
		return end, nil
	}
}

// lastDelete returns the newest DeleteSandbox request.
func (f *fake) lastDelete(t *testing.T) *sandboxv1.DeleteSandboxRequest {
	t.Helper()
	calls := f.of("DeleteSandbox")
	require.NotEmpty(t, calls)
	return calls[len(calls)-1].request.(*sandboxv1.DeleteSandboxRequest)
}

func TestStopIsCold(t *testing.T) {
	bubble(t, "L-061", func(t *testing.T, f *fake, c *Client) {
		stop := running(t, f, c).Stop()
		time.Sleep(time.Hour)
		assert.Zero(t, f.count("DeleteSandbox"))
		runtime.KeepAlive(stop)
	})
	bubble(t, "L-062", func(t *testing.T, f *fake, c *Client) {
		func() {
			sb := running(t, f, c)
			defer sb.Stop().Wait()
			_, err := sb.Refresh(t.Context())
			require.NoError(t, err)
			assert.Zero(t, f.count("DeleteSandbox"))
		}()
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-105", func(t *testing.T, f *fake, c *Client) {
		assert.PanicsWithValue(t, "bug", func() {
			sb := running(t, f, c)
			defer sb.Stop().Wait()
			panic("bug")
		})
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	t.Run("L-063", func(t *testing.T) { // in real time: cleanups run outside a bubble
		f, c := fakeClient(t)
		sb := running(t, f, c)
		sb.Stop()
		deadline := time.Now().Add(10 * time.Second)
		for !strings.Contains(f.logged(), "sb-1") {
			require.True(t, time.Now().Before(deadline), "no warning")
			runtime.GC()
			runtime.Gosched()
		}
		assert.Equal(t, 1, strings.Count(f.logged(), "level=WARN"))
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	for name, begin := range map[string]func(*Future[StopResult]){
		"L-064 Start":       func(f *Future[StopResult]) { f.Start() },
		"L-064 Done":        func(f *Future[StopResult]) { f.Done() },
		"L-064 Wait":        func(f *Future[StopResult]) { f.Wait() },
		"L-064 WaitContext": func(f *Future[StopResult]) { f.WaitContext(context.Background()) },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			begin(running(t, f, c).Stop())
			synctest.Wait()
			assert.Equal(t, 1, f.count("DeleteSandbox"))
		})
	}
	bubble(t, "L-064 all", func(t *testing.T, f *fake, c *Client) {
		stop := running(t, f, c).Stop()
		stop.Start()
		<-stop.Done()
		_, err := stop.WaitContext(t.Context())
		require.NoError(t, err)
		_, err = stop.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	t.Run("nil sandbox", func(t *testing.T) {
		var sb *Sandbox
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
	})
}

func TestStop(t *testing.T) {
	bubble(t, "L-065", func(t *testing.T, f *fake, c *Client) {
		f.drains(3*time.Second, ended("sb-1", completed, 143))
		sb := running(t, f, c)
		var stops []*Future[StopResult]
		for range 100 {
			stops = append(stops, sb.Stop())
		}
		results, err := WaitAll(t.Context(), stops...)
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		for _, r := range results {
			assert.Equal(t, 143, *r.Info.ExitCode)
			assert.Equal(t, results[0].Accepted, r.Accepted)
		}
	})
	bubble(t, "L-066", func(t *testing.T, f *fake, c *Client) {
		running(t, f, c).Stop().Wait()
		want := &sandboxv1.DeleteSandboxRequest{SandboxId: "sb-1", GracePeriodSeconds: 10, AllowMissing: true}
		assert.True(t, proto.Equal(want, f.lastDelete(t)), "%v", f.lastDelete(t))
	})
	for name, tt := range map[string]struct {
		grace time.Duration
		sent  int32
	}{"L-067 none": {0, 0}, "L-067 fraction": {1200 * time.Millisecond, 2}} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			_, err := running(t, f, c).Stop(WithGrace(tt.grace)).Wait()
			require.NoError(t, err)
			assert.Equal(t, tt.sent, f.lastDelete(t).GetGracePeriodSeconds())
		})
	}
	bubble(t, "L-067 negative", func(t *testing.T, f *fake, c *Client) {
		_, err := running(t, f, c).Stop(WithGrace(-time.Second)).Wait()
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	bubble(t, "grace of the create", func(t *testing.T, f *fake, c *Client) {
		sb, err := c.Create(t.Context(), WithGrace(25*time.Second))
		require.NoError(t, err)
		sb.Stop().Wait()
		assert.EqualValues(t, 25, f.lastDelete(t).GetGracePeriodSeconds())
	})
	bubble(t, "L-068", func(t *testing.T, f *fake, c *Client) {
		running(t, f, c).Stop().Wait()
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "L-069", func(t *testing.T, f *fake, c *Client) {
		f.drains(7*time.Second, ended("sb-1", completed, 0))
		sb, start := running(t, f, c), time.Now()
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(start), 7*time.Second)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.True(t, result.Accepted)
		assert.Zero(t, c.registry.count(c))
	})
	for name, state := range map[string]sandboxv1.State{"L-070 failed": failed, "L-070 terminated": terminated} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.drains(time.Second, record("sb-1", state))
			result, err := running(t, f, c).Stop().Wait()
			require.NoError(t, err)
			assert.Equal(t, State(state), result.Info.State)
		})
	}
	bubble(t, "L-071", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		for range 3 {
			_, err := sb.Stop().Wait()
			require.NoError(t, err)
		}
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-072", func(t *testing.T, f *fake, c *Client) {
		f.states(terminating, terminating, completed)
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.False(t, result.Accepted)
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	bubble(t, "L-073", func(t *testing.T, f *fake, c *Client) {
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if n <= 2 {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, req)
		}
		_, err := running(t, f, c).Stop().Wait()
		require.NoError(t, err)
		calls := f.of("DeleteSandbox")
		require.Len(t, calls, 3)
		for _, call := range calls {
			assert.True(t, proto.Equal(calls[0].request, call.request))
		}
	})
	bubble(t, "L-074", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(_ context.Context, n int, _ *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "")
			}
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		_, err := running(t, f, c).Stop().Wait()
		require.NoError(t, err)
	})
	for name, answer := range map[string]func() (*sandboxv1.DeleteSandboxResponse, error){
		"L-075 not found": func() (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		},
		"L-075 empty answer": func() (*sandboxv1.DeleteSandboxResponse, error) { return &sandboxv1.DeleteSandboxResponse{}, nil },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				return answer()
			}
			session, err := c.NewSession()
			require.NoError(t, err)
			sb, err := session.Create(t.Context())
			require.NoError(t, err)
			result, err := sb.Stop().Wait()
			require.NoError(t, err)
			assert.True(t, result.Missing)
			assert.Zero(t, c.registry.count(c))
			assert.Zero(t, session.Len())
		})
	}
	bubble(t, "L-076", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.PermissionDenied, "")
		}
		sb := running(t, f, c)
		_, err := sb.Stop().Wait()
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "sb-1")
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Equal(t, 1, c.registry.count(c))
		assert.Equal(t, 1, strings.Count(f.logged(), "level=WARN"))
		assert.Contains(t, f.logged(), "sb-1")
		assert.Equal(t, StateRunning, sb.Info().State)
		require.NoError(t, sb.s.ready(t.Context(), "exec"))
	})
	bubble(t, "L-077", func(t *testing.T, f *fake, c *Client) {
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if n == 1 {
				return nil, failure(codes.PermissionDenied, "")
			}
			return answer(ctx, n, req)
		}
		sb := running(t, f, c)
		_, err := sb.Stop().Wait()
		require.Error(t, err)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 2, f.count("DeleteSandbox"))
	})
	bubble(t, "L-080", func(t *testing.T, f *fake, c *Client) {
		f.drains(20*time.Second, ended("sb-1", completed, 0))
		sb := running(t, f, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := sb.Stop().WaitContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-081", func(t *testing.T, f *fake, c *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := running(t, f, c).Stop().WaitContext(ctx)
		require.ErrorIs(t, err, context.Canceled)
		synctest.Wait()
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	for name, tt := range map[string]struct {
		until time.Duration // NOT_FOUND is answered that long
		state State
		took  time.Duration
	}{
		"L-082": {time.Second, StateCompleted, time.Second},
		"L-083": {time.Hour, StateTerminating, 2 * time.Second},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.drains(0, nil)
			sb, start := running(t, f, c), time.Now()
			f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
				if time.Since(start) < tt.until {
					return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
				}
				return ended(id, completed, 0), nil
			}
			result, err := sb.Stop().Wait()
			require.NoError(t, err)
			assert.Equal(t, tt.state, result.Info.State)
			assert.GreaterOrEqual(t, time.Since(start), tt.took)
			assert.LessOrEqual(t, time.Since(start), tt.took+2*time.Second)
			assert.Zero(t, c.registry.count(c))
			_, err = sb.WaitDone(t.Context())
			if name == "L-083" {
				require.ErrorIs(t, err, ErrNotFound)
			} else {
				require.NoError(t, err)
			}
		})
	}
	bubble(t, "L-084", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Hour, nil)
		sb, start := running(t, f, c), time.Now()
		result, err := sb.Stop().Wait()
		require.ErrorIs(t, err, ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 70*time.Second, time.Since(start))
		assert.True(t, result.Accepted)
	})
	bubble(t, "L-085", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Second, ended("sb-1", completed, 0))
		sb, answer, start := running(t, f, c), f.get, time.Now()
		f.get = func(ctx context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			if time.Since(start) < 20*time.Second {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, id)
		}
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
	})
	bubble(t, "L-086", func(t *testing.T, f *fake, c *Client) {
		f.drains(5*time.Second, ended("sb-1", completed, 0))
		sb := running(t, f, c)
		first := sb.Stop(WithGrace(30 * time.Second)).Start()
		synctest.Wait()
		_, err := sb.Stop(WithGrace(time.Second)).Wait()
		require.NoError(t, err)
		_, err = first.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.EqualValues(t, 30, f.lastDelete(t).GetGracePeriodSeconds())
	})
	bubble(t, "stop during the start", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		_, err := creating(t, c).Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "stop after the client was closed", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Second, ended("sb-1", completed, 0))
		sb := running(t, f, c)
		require.NoError(t, c.Close())
		_, err := sb.Refresh(t.Context())
		require.ErrorIs(t, err, ErrClosed)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		assert.Zero(t, c.registry.count(c))
	})
}

func TestStreamsEndAfterAStop(t *testing.T) {
	bubble(t, "L-078", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.PermissionDenied, "")
		}
		sb := running(t, f, c)
		ctx, release := sb.s.stream(t.Context())
		defer release()
		_, err := sb.Stop().Wait()
		require.Error(t, err)
		assert.NoError(t, ctx.Err())
	})
	bubble(t, "L-079", func(t *testing.T, f *fake, c *Client) {
		f.drains(5*time.Second, ended("sb-1", completed, 0))
		sb := running(t, f, c)
		ctx, release := sb.s.stream(t.Context())
		defer release()
		stop := sb.Stop().Start()
		time.Sleep(4 * time.Second)
		assert.NoError(t, ctx.Err(), "it goes on while the sandbox drains")
		_, err := stop.Wait()
		require.NoError(t, err)
		<-ctx.Done()
		assert.Equal(t, errStopped, context.Cause(ctx), "which a process reports as ErrNotRunning")
	})
}
