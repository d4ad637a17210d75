package cwsandbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	unspecified = sandboxv1.State_STATE_UNSPECIFIED
	preparing   = sandboxv1.State_STATE_PREPARING
	creatingV   = sandboxv1.State_STATE_CREATING
	runningV    = sandboxv1.State_STATE_RUNNING
	pausedV     = sandboxv1.State_STATE_PAUSED
	terminating = sandboxv1.State_STATE_TERMINATING
	completed   = sandboxv1.State_STATE_COMPLETED
	failed      = sandboxv1.State_STATE_FAILED
	terminated  = sandboxv1.State_STATE_TERMINATED
)

// detached is a client without a service: enough for what needs none.
func detached(t *testing.T) *Client {
	t.Helper()
	conn, err := transport.New(transport.Config{
		Base: transport.Endpoint{Target: "127.0.0.1:1", Plaintext: true}, Credentials: asking(nil), RequestTimeout: time.Second,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &Client{
		config: clientConfig{logger: slog.New(slog.DiscardHandler)}, conn: conn, registry: newRegistry(),
		closed: make(chan struct{}), states: make(map[string]weak.Pointer[shared]),
	}
}

func TestStates(t *testing.T) {
	t.Run("L-001", func(t *testing.T) {
		names := map[string]bool{}
		for n := range sandboxv1.State_name {
			names[State(n).String()] = true
		}
		assert.Len(t, names, len(sandboxv1.State_name))
		assert.Equal(t, "State(42)", State(42).String())
		assert.False(t, State(42).ready())
		assert.False(t, State(42).Terminal())
	})
	t.Run("L-002", func(t *testing.T) {
		for n := range sandboxv1.State_name {
			s := State(n)
			assert.Equal(t, s == StateCompleted || s == StateFailed || s == StateTerminated, s.Terminal(), s)
		}
	})
	bubble(t, "L-003", func(t *testing.T, f *fake, c *Client) {
		assert.Equal(t, StateCreating, creating(t, c).Info().State)
	})

	// What an answer makes of what was known.
	answers := func(records ...*sandboxv1.Sandbox) Info {
		c := detached(t)
		s := c.stateOf("sb-1")
		for _, r := range records {
			s.apply(c.request(), r)
		}
		return s.snapshot()
	}
	for _, tt := range []struct {
		name  string
		seen  []*sandboxv1.Sandbox
		state State
		code  int // -1: unknown
	}{
		{"L-004", []*sandboxv1.Sandbox{record("sb-1", runningV), record("sb-1", creatingV)}, StateRunning, -1},
		{"L-005", []*sandboxv1.Sandbox{record("sb-1", terminating), record("sb-1", runningV)}, StateTerminating, -1},
		{"L-006", []*sandboxv1.Sandbox{record("sb-1", completed), record("sb-1", runningV), record("sb-1", failed)}, StateCompleted, -1},
		{"L-008", []*sandboxv1.Sandbox{record("sb-1", completed), ended("sb-1", completed, 0)}, StateCompleted, 0},
		{"L-009", []*sandboxv1.Sandbox{ended("sb-1", completed, 3), ended("sb-1", completed, 4)}, StateCompleted, 3},
		{"L-010", []*sandboxv1.Sandbox{ended("sb-1", failed, 137)}, StateFailed, 137},
		{"pause and resume", []*sandboxv1.Sandbox{record("sb-1", runningV), record("sb-1", pausedV), record("sb-1", runningV)}, StateRunning, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			info := answers(tt.seen...)
			assert.Equal(t, tt.state, info.State)
			if tt.code < 0 {
				assert.Nil(t, info.ExitCode)
			} else if assert.NotNil(t, info.ExitCode) {
				assert.Equal(t, tt.code, *info.ExitCode)
			}
		})
	}
	t.Run("L-007", func(t *testing.T) {
		c := detached(t)
		s := c.stateOf("sb-1")
		older, newer := c.request(), c.request()
		s.apply(newer, record("sb-1", pausedV))
		s.apply(older, record("sb-1", runningV))
		assert.Equal(t, StatePaused, s.snapshot().State)
	})
	bubble(t, "L-011", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			sb := record(id, unspecified)
			if n > 3 {
				sb.Status.EndTime = timestamppb.Now()
			}
			return sb, nil
		}
		info, err := creating(t, c).WaitDone(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 4, f.count("GetSandbox"))
		assert.NoError(t, info.Err())
	})
	bubble(t, "L-012", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			sb := ended("sb-1", completed, 1)
			sb.Spec.Tags = []string{"a"}
			sb.Spec.Annotations = map[string]string{"k": "v"}
			return sb, nil
		}
		sb := creating(t, c)
		info := sb.Info()
		info.Tags[0], info.Annotations["k"], *info.ExitCode = "changed", "changed", 9
		again := sb.Info()
		assert.Equal(t, []string{"a"}, again.Tags)
		assert.Equal(t, "v", again.Annotations["k"])
		assert.Equal(t, 1, *again.ExitCode)
		assert.Zero(t, f.count("GetSandbox"))
	})
}

func TestWaitRunning(t *testing.T) {
	for _, name := range []string{"L-022", "K-042"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.states(creatingV, creatingV, creatingV, creatingV, creatingV, creatingV, creatingV, creatingV, runningV)
			require.NoError(t, creating(t, c).WaitRunning(t.Context()))
			gaps := f.gaps("GetSandbox")
			want := []float64{0.2, 0.3, 0.45, 0.675, 1.0125, 1.51875, 2, 2}
			require.Len(t, gaps, len(want))
			for i, w := range want {
				assert.InDelta(t, w, gaps[i].Seconds(), w*0.1+1e-6, "interval %d", i)
			}
		})
	}
	bubble(t, "L-023", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV, creatingV, runningV)
		require.NoError(t, creating(t, c).WaitRunning(t.Context()))
		for _, call := range f.of("GetSandbox") {
			assert.Greater(t, call.deadline, time.Duration(0))
			assert.LessOrEqual(t, call.deadline, 15*time.Second)
		}
	})
	for name, state := range map[string]sandboxv1.State{"L-024 running": runningV, "L-024 paused": pausedV} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return record("sb-1", state), nil
			}
			require.NoError(t, creating(t, c).WaitRunning(t.Context()))
			assert.Zero(t, f.count("GetSandbox"))
		})
	}
	for _, tt := range []struct {
		name   string
		states []*sandboxv1.Sandbox
		want   error
	}{
		{"L-025", []*sandboxv1.Sandbox{record("sb-1", creatingV), record("sb-1", pausedV)}, nil},
		{"L-026", []*sandboxv1.Sandbox{record("sb-1", creatingV), ended("sb-1", completed, 0)}, nil},
		{"L-028", []*sandboxv1.Sandbox{record("sb-1", creatingV), record("sb-1", terminated)}, ErrTerminated},
		{"L-029 completed", []*sandboxv1.Sandbox{record("sb-1", terminating), ended("sb-1", completed, 0)}, nil},
		{"L-029 failed", []*sandboxv1.Sandbox{record("sb-1", terminating), record("sb-1", failed)}, ErrFailed},
		{"L-031", []*sandboxv1.Sandbox{record("sb-1", unspecified), record("sb-1", unspecified), record("sb-1", unspecified), record("sb-1", runningV)}, nil},
	} {
		bubble(t, tt.name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) { return tt.states[n-1], nil }
			err := creating(t, c).WaitRunning(t.Context())
			if tt.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, tt.want)
			}
			assert.Equal(t, len(tt.states), f.count("GetSandbox"))
		})
	}
	bubble(t, "L-027", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			sb := record(id, failed)
			sb.Status.StateReason = "no such image"
			return sb, nil
		}
		err := creating(t, c).WaitRunning(t.Context())
		require.ErrorIs(t, err, ErrFailed)
		assert.ErrorContains(t, err, "no such image")
		assert.ErrorContains(t, err, "sb-1")
	})
	bubble(t, "L-030", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		f.delete = func(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return &sandboxv1.DeleteSandboxResponse{Sandbox: record("sb-1", terminating)}, nil
		}
		sb := creating(t, c)
		waiting := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) })
		synctest.Wait()
		stop := sb.Stop().Start()
		_, err := waiting.Wait()
		require.ErrorIs(t, err, ErrTerminated)
		assert.False(t, stop.finished(), "the end was not seen yet")
		f.nowGet(func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 0), nil
		})
		_, err = stop.Wait()
		require.NoError(t, err)
	})
	bubble(t, "L-037", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			if n <= 3 {
				return nil, failure([]codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted}[n-1], "")
			}
			return record(id, runningV), nil
		}
		require.NoError(t, creating(t, c).WaitRunning(t.Context()))
		assert.Equal(t, 4, f.count("GetSandbox"))
	})
	bubble(t, "L-038", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.PermissionDenied, "")
		}
		require.ErrorIs(t, creating(t, c).WaitRunning(t.Context()), ErrPermissionDenied)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	for _, name := range []string{"L-039", "K-121"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
				return nil, failure(codes.Unavailable, "")
			}
			sb, start := creating(t, c), time.Now()
			require.ErrorIs(t, sb.WaitRunning(t.Context()), ErrUnavailable)
			assert.InDelta(t, 30, time.Since(start).Seconds(), 2.1)
		})
	}
	for _, name := range []string{"L-040", "K-122"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			var start time.Time
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
				switch since := time.Since(start); {
				case since < 25*time.Second, since > 27500*time.Millisecond && since < 52*time.Second:
					return nil, failure(codes.Unavailable, "")
				case since < 55*time.Second:
					return record(id, creatingV), nil
				}
				return record(id, runningV), nil
			}
			sb := creating(t, c)
			start = time.Now()
			require.NoError(t, sb.WaitRunning(t.Context()))
		})
	}
	bubble(t, "K-120", func(t *testing.T, f *fake, c *Client) {
		start := time.Now()
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			if time.Since(start) < 10*time.Second {
				return nil, failure(codes.Unavailable, "")
			}
			return record(id, runningV), nil
		}
		require.NoError(t, creating(t, c).WaitRunning(t.Context()))
	})
	bubble(t, "L-041", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			switch {
			case n == 1:
				return nil, failure(codes.Unavailable, "")
			case n < 7:
				return record(id, creatingV), nil
			}
			return record(id, runningV), nil
		}
		require.NoError(t, creating(t, c).WaitRunning(t.Context()))
		for _, call := range f.of("GetSandbox")[2:] {
			assert.InDelta(t, 15, call.deadline.Seconds(), 0.01)
		}
	})
	for name, tt := range map[string]struct {
		hint     time.Duration
		min, max time.Duration
	}{
		"L-042 3s":       {3 * time.Second, 3 * time.Second, 3 * time.Second},
		"L-042 60s":      {time.Minute, 10 * time.Second, 10 * time.Second},
		"L-042 zero":     {0, 200 * time.Millisecond, 300 * time.Millisecond},
		"L-042 negative": {-time.Second, 200 * time.Millisecond, 300 * time.Millisecond},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
				if n == 1 {
					return nil, failure(codes.Unavailable, "", retryAfter(tt.hint))
				}
				return record(id, runningV), nil
			}
			require.NoError(t, creating(t, c).WaitRunning(t.Context()))
			gaps := f.gaps("GetSandbox")
			require.Len(t, gaps, 1)
			assert.GreaterOrEqual(t, gaps[0], tt.min)
			assert.LessOrEqual(t, gaps[0], tt.max)
		})
	}
	bubble(t, "L-043", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.Unavailable, "", retryAfter(9*time.Second))
		}
		sb, start := creating(t, c), time.Now()
		require.ErrorIs(t, sb.WaitRunning(t.Context()), ErrUnavailable)
		assert.LessOrEqual(t, time.Since(start), 31*time.Second)
		calls := f.of("GetSandbox")
		assert.Less(t, calls[len(calls)-1].at.Sub(start), 30*time.Second)
	})
	bubble(t, "L-044", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.Unavailable, "")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := creating(t, c).WaitRunning(ctx)
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrUnavailable)
		assert.ErrorContains(t, err, "creating")
	})
	bubble(t, "L-045", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		ctx, cancel := context.WithCancelCause(t.Context())
		sb := creating(t, c)
		waiting := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(ctx) })
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		cause := errors.New("no more")
		start := time.Now()
		cancel(cause)
		_, err := waiting.Wait()
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, cause)
		assert.NotErrorIs(t, err, ErrTimeout)
		assert.Zero(t, time.Since(start))
	})
	bubble(t, "L-046", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		sb, start := creating(t, c), time.Now()
		err := sb.WaitRunning(context.Background())
		require.ErrorIs(t, err, ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set no deadline")
		assert.Equal(t, 300*time.Second, time.Since(start))

		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			time.Sleep(14 * time.Second) // a slow service keeps the number of calls small
			return record(id, creatingV), nil
		}
		waiting := Go(func() (Info, error) { return sb.WaitDone(t.Context()) })
		time.Sleep(24 * time.Hour)
		assert.False(t, waiting.finished())
		f.nowGet(func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 0), nil
		})
		_, err = waiting.Wait()
		require.NoError(t, err)
	})
	bubble(t, "K-119", func(t *testing.T, f *fake, c *Client) {
		f.states(preparing, sandboxv1.State(42), sandboxv1.State(42), runningV)
		sb := creating(t, c)
		waiting := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) })
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		assert.Equal(t, State(42), sb.Info().State)
		_, err := waiting.Wait()
		require.NoError(t, err)
	})
}

func TestWaitDone(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  *sandboxv1.Sandbox
		want error // of Info.Err; nil: none
		code int
	}{
		{"L-032", ended("sb-1", completed, 7), nil, 7},
		{"L-033 failed", record("sb-1", failed), ErrFailed, 0},
		{"L-033 terminated", record("sb-1", terminated), ErrTerminated, 0},
		{"completed well", ended("sb-1", completed, 0), nil, 0},
	} {
		bubble(t, tt.name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return tt.end, nil }
			info, err := creating(t, c).WaitDone(t.Context())
			require.NoError(t, err)
			var exit *ExitError
			switch {
			case tt.want != nil:
				require.ErrorIs(t, info.Err(), tt.want)
			case tt.code != 0:
				require.ErrorAs(t, info.Err(), &exit)
				assert.Equal(t, tt.code, exit.Code)
				assert.Equal(t, "sb-1", exit.SandboxID)
			default:
				require.NoError(t, info.Err())
			}
		})
	}
	bubble(t, "L-033 own stop", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 0), nil
		}
		sb := creating(t, c)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		info, err := sb.WaitDone(t.Context())
		require.NoError(t, err)
		require.ErrorIs(t, info.Err(), ErrTerminated)
	})
	bubble(t, "L-034", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return ended("sb-1", completed, 0), nil
		}
		_, err := creating(t, c).WaitDone(t.Context())
		require.NoError(t, err)
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "L-035", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.NotFound, "")
		}
		sb := creating(t, c)
		_, err := sb.WaitDone(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		assert.Equal(t, 1, f.count("GetSandbox"))
		assert.Zero(t, c.registry.count(c))
		_, err = sb.Refresh(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	bubble(t, "L-036", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.Internal, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		_, err := creating(t, c).WaitDone(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
	})
	for name, tt := range map[string]struct {
		codeAt time.Duration // when the service knows the exit code
		code   bool
		took   time.Duration
		gets   int
	}{
		"L-052": {3 * time.Second, true, 4 * time.Second, 3},
		"L-053": {time.Hour, false, 4 * time.Second, 3},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			sb, start := creating(t, c), time.Now()
			f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
				if time.Since(start) >= tt.codeAt {
					return ended(id, completed, 5), nil
				}
				return record(id, completed), nil
			}
			info, err := sb.WaitDone(t.Context())
			require.NoError(t, err)
			assert.Equal(t, tt.code, info.ExitCode != nil)
			assert.Equal(t, tt.took, time.Since(start))
			calls := f.of("GetSandbox")
			require.Len(t, calls, tt.gets)
			for _, call := range calls[1:] {
				assert.LessOrEqual(t, call.deadline, 2*time.Second)
			}
		})
	}
	for name, second := range map[string]func(id string) (*sandboxv1.Sandbox, error){
		"L-054 fails": func(string) (*sandboxv1.Sandbox, error) { return nil, failure(codes.Unavailable, "") },
		"L-054 runs":  func(id string) (*sandboxv1.Sandbox, error) { return record(id, runningV), nil },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
				if n == 1 {
					return record(id, completed), nil
				}
				return second(id)
			}
			sb := creating(t, c)
			info, err := sb.WaitDone(t.Context())
			require.NoError(t, err)
			assert.Equal(t, StateCompleted, info.State)
			if name == "L-054 fails" {
				assert.Equal(t, 2, f.count("GetSandbox"))
			}
		})
	}
	bubble(t, "L-055", func(t *testing.T, f *fake, c *Client) {
		f.states(completed)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		info, err := creating(t, c).WaitDone(ctx)
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, info.State)
	})
	for name, state := range map[string]sandboxv1.State{"L-056 failed": failed, "L-056 terminated": terminated} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.states(state)
			_, err := creating(t, c).WaitDone(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 1, f.count("GetSandbox"))
		})
	}
	bubble(t, "L-056 own stop", func(t *testing.T, f *fake, c *Client) {
		f.states(completed)
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return &sandboxv1.DeleteSandboxResponse{Sandbox: record("sb-1", terminating)}, nil
		}
		sb := creating(t, c)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		_, err = sb.WaitDone(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	bubble(t, "L-060", func(t *testing.T, f *fake, c *Client) {
		info := creating(t, c).Info()
		assert.Equal(t, time.UTC, info.CreateTime.Location())
		assert.Equal(t, time.UTC, info.SeenTime.Location())
		assert.True(t, info.StartTime.IsZero())
	})
}

func TestWaitersShareOnePoll(t *testing.T) {
	for _, name := range []string{"L-047", "K-043"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			var mu sync.Mutex
			inFlight, most := 0, 0
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
				mu.Lock()
				inFlight++
				most = max(most, inFlight)
				mu.Unlock()
				time.Sleep(50 * time.Millisecond)
				mu.Lock()
				inFlight--
				mu.Unlock()
				if n < 5 {
					return record(id, creatingV), nil
				}
				return ended(id, completed, 0), nil
			}
			sb := creating(t, c)
			var waits []*Future[struct{}]
			for range 20 {
				waits = append(waits,
					Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) }),
					Go(func() (struct{}, error) { _, err := sb.WaitDone(t.Context()); return struct{}{}, err }))
			}
			_, err := WaitAll(t.Context(), waits...)
			require.NoError(t, err)
			assert.Equal(t, 1, most)
			assert.Equal(t, 5, f.count("GetSandbox"))
		})
	}
	bubble(t, "L-048", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV, creatingV, creatingV, runningV)
		one := creating(t, c)
		two, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		before := f.count("GetSandbox")
		_, err = WaitAll(t.Context(),
			Go(func() (struct{}, error) { return struct{}{}, one.WaitRunning(t.Context()) }),
			Go(func() (struct{}, error) { return struct{}{}, two.WaitRunning(t.Context()) }))
		require.NoError(t, err)
		assert.Equal(t, 3, f.count("GetSandbox")-before)
		assert.Equal(t, StateRunning, one.Info().State)
	})
	bubble(t, "L-049", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV, creatingV, creatingV, creatingV, runningV)
		sb := creating(t, c)
		patient := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) })
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, sb.WaitRunning(ctx), ErrTimeout)
		_, err := patient.Wait()
		require.NoError(t, err)
	})
	bubble(t, "L-050", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		sb := creating(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, sb.WaitRunning(ctx), ErrTimeout)
		before := f.count("GetSandbox")
		time.Sleep(time.Minute)
		assert.Equal(t, before, f.count("GetSandbox"))
		sb.s.mu.Lock()
		defer sb.s.mu.Unlock()
		assert.Nil(t, sb.s.poll)
	})
	bubble(t, "L-051", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			time.Sleep(10 * time.Millisecond)
			if n == 1 {
				return nil, failure(codes.Internal, "")
			}
			return record(id, runningV), nil
		}
		sb := creating(t, c)
		one := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) })
		two := Go(func() (struct{}, error) { return struct{}{}, sb.WaitRunning(t.Context()) })
		_, err1 := one.Wait()
		_, err2 := two.Wait()
		require.Error(t, err1)
		require.Equal(t, err1.Error(), err2.Error())
		require.NoError(t, sb.WaitRunning(t.Context()))
	})
}

func TestRefresh(t *testing.T) {
	bubble(t, "L-057", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			if n == 2 {
				return nil, failure(codes.Unavailable, "")
			}
			return record(id, runningV), nil
		}
		sb := creating(t, c)
		for range 2 { // the second one is repeated once
			info, err := sb.Refresh(t.Context())
			require.NoError(t, err)
			assert.Equal(t, StateRunning, info.State)
		}
		assert.Equal(t, 3, f.count("GetSandbox"))
	})
	bubble(t, "L-058", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return record("sb-1", completed), nil
		}
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 6), nil
		}
		sb := creating(t, c)
		for range 3 { // only the first one asks
			info, err := sb.Refresh(t.Context())
			require.NoError(t, err)
			assert.Equal(t, 6, *info.ExitCode)
		}
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	bubble(t, "L-059", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, completed, 4), nil
		}
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		assert.Equal(t, 4, *sb.Info().ExitCode)
	})
}
