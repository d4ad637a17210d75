package cwsandbox

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// pages makes List answer n pages of one running sandbox each.
func (f *fake) pages(n int) {
	f.list = func(_ context.Context, _ int, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
		page, _ := strconv.Atoi(req.GetPageToken())
		reply := &sandboxv1.ListSandboxesResponse{Sandboxes: []*sandboxv1.Sandbox{record(fmt.Sprintf("sb-%d", page), runningV)}}
		if page+1 < n {
			reply.NextPageToken = strconv.Itoa(page + 1)
		}
		return reply, nil
	}
}

func TestList(t *testing.T) {
	bubble(t, "L-106", func(t *testing.T, f *fake, c *Client) {
		f.pages(1)
		_, err := Collect(c.List(t.Context(), WithTags("a", "b"), WithRunners("r"), WithVolumeIDs("v")))
		require.NoError(t, err)
		want := &sandboxv1.ListSandboxesRequest{Tags: []string{"a", "b"}, RunnerIds: []string{"r"}, VolumeIds: []string{"v"}}
		assert.True(t, proto.Equal(want, f.of("ListSandboxes")[0].request))
	})
	bubble(t, "L-107", func(t *testing.T, f *fake, c *Client) {
		f.pages(1)
		_, err := Collect(c.List(t.Context(), WithState(StateCompleted), WithPageSize(7)))
		require.NoError(t, err)
		want := &sandboxv1.ListSandboxesRequest{State: completed, ShowTerminated: true, PageSize: 7}
		assert.True(t, proto.Equal(want, f.of("ListSandboxes")[0].request))
	})
	bubble(t, "L-108", func(t *testing.T, f *fake, c *Client) {
		f.pages(25)
		all, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		ids := map[string]bool{}
		for _, sb := range all {
			ids[sb.ID()] = true
		}
		assert.Len(t, ids, 25)
		assert.Equal(t, 25, f.count("ListSandboxes"))
		n := 0
		for _, err := range c.List(t.Context()) {
			require.NoError(t, err)
			if n++; n == 3 {
				break
			}
		}
		assert.Equal(t, 28, f.count("ListSandboxes"))
	})
	for _, name := range []string{"L-109 once", "K-174"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.pages(5)
			answer := f.list
			f.list = func(ctx context.Context, n int, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
				if n == 3 {
					return nil, failure(codes.Unavailable, "")
				}
				return answer(ctx, n, req)
			}
			all, err := Collect(c.List(t.Context()))
			require.NoError(t, err)
			assert.Len(t, all, 5)
			calls := f.of("ListSandboxes")
			assert.True(t, proto.Equal(calls[2].request, calls[3].request))
		})
	}
	bubble(t, "L-109 for good", func(t *testing.T, f *fake, c *Client) {
		f.pages(5)
		answer := f.list
		f.list = func(ctx context.Context, n int, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			if req.GetPageToken() == "2" {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, req)
		}
		all, err := Collect(c.List(t.Context()))
		require.ErrorIs(t, err, ErrUnavailable)
		assert.Len(t, all, 2)
	})
	for _, name := range []string{"L-110", "K-175"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
				return &sandboxv1.ListSandboxesResponse{NextPageToken: "same"}, nil
			}
			_, err := Collect(c.List(t.Context()))
			require.ErrorContains(t, err, `"same"`)
			assert.Equal(t, 2, f.count("ListSandboxes"))
		})
	}
	bubble(t, "L-110 many pages", func(t *testing.T, f *fake, c *Client) {
		f.pages(150)
		all, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		assert.Len(t, all, 150)
	})
	bubble(t, "L-111", func(t *testing.T, f *fake, c *Client) {
		f.pages(3)
		_, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		_, err = c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		assert.Zero(t, c.registry.count(c))
		runtime.GC()
		assert.Empty(t, f.logged())
	})
	bubble(t, "L-112", func(t *testing.T, f *fake, c *Client) {
		created := time.Now().Add(-time.Hour).UTC()
		f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			sb := record("sb-1", runningV)
			sb.Spec.Tags, sb.Status.CreateTime = []string{"a"}, timestamppb.New(created)
			return &sandboxv1.ListSandboxesResponse{Sandboxes: []*sandboxv1.Sandbox{sb}}, nil
		}
		all, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		info := all[0].Info()
		assert.Equal(t, []string{"a"}, info.Tags)
		assert.Equal(t, created, info.CreateTime)
		require.NoError(t, all[0].s.ready(t.Context(), "exec"))
		_, err = all[0].Stop().Wait()
		require.NoError(t, err)
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "older than", func(t *testing.T, f *fake, c *Client) {
		f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			young, old, unknown := record("young", runningV), record("old", runningV), record("unknown", runningV)
			old.Status.CreateTime = timestamppb.New(time.Now().Add(-2 * time.Hour))
			unknown.Status.CreateTime = nil
			return &sandboxv1.ListSandboxesResponse{Sandboxes: []*sandboxv1.Sandbox{young, old, unknown}}, nil
		}
		all, err := Collect(c.List(t.Context(), WithOlderThan(time.Hour)))
		require.NoError(t, err)
		require.Len(t, all, 1)
		assert.Equal(t, "old", all[0].ID())
	})
}

func TestAttach(t *testing.T) {
	bubble(t, "L-113 missing", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		_, err := c.Attach(t.Context(), "sb-1")
		require.ErrorIs(t, err, ErrNotFound)
	})
	bubble(t, "L-113 terminal", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "")
			}
			return ended(id, completed, 2), nil
		}
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		assert.True(t, sb.Info().State.Terminal())
		assert.Equal(t, 2, f.count("GetSandbox"))
	})
	bubble(t, "L-114", func(t *testing.T, f *fake, c *Client) {
		_, err := c.Attach(t.Context(), "")
		require.ErrorIs(t, err, ErrInvalidArgument)
		require.ErrorIs(t, c.Delete(t.Context(), ""), ErrInvalidArgument)
		assert.Empty(t, f.calls)
	})
}

func TestDelete(t *testing.T) {
	bubble(t, "L-115", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Hour, nil)
		require.NoError(t, c.Delete(t.Context(), "sb-1"))
		want := &sandboxv1.DeleteSandboxRequest{SandboxId: "sb-1"}
		assert.True(t, proto.Equal(want, f.lastDelete(t)))
		assert.Zero(t, f.count("GetSandbox"))
	})
	for _, name := range []string{"L-116", "K-165"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.delete = func(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				if req.GetAllowMissing() {
					return &sandboxv1.DeleteSandboxResponse{}, nil
				}
				return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
			}
			require.ErrorIs(t, c.Delete(t.Context(), "sb-1"), ErrNotFound)
			require.NoError(t, c.Delete(t.Context(), "sb-1", MissingOK()))
			assert.True(t, f.lastDelete(t).GetAllowMissing())
		})
	}
	bubble(t, "missing ok where the service says not found", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		require.NoError(t, c.Delete(t.Context(), "sb-1", MissingOK()))
	})
	for _, name := range []string{"L-117", "K-164"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.delete = func(_ context.Context, n int, _ *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				if n == 1 {
					return nil, failure(codes.Unavailable, "")
				}
				return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
			}
			require.NoError(t, c.Delete(t.Context(), "sb-1"))
			assert.Equal(t, 2, f.count("DeleteSandbox"))
		})
	}
	bubble(t, "L-118", func(t *testing.T, f *fake, c *Client) {
		f.drains(time.Second, ended("sb-1", completed, 0))
		sb := running(t, f, c)
		require.NoError(t, c.Delete(t.Context(), "sb-1", WithGrace(3*time.Second)))
		assert.EqualValues(t, 3, f.lastDelete(t).GetGracePeriodSeconds())
		require.ErrorIs(t, sb.s.ready(t.Context(), "exec"), ErrNotRunning)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
}

func TestOperationsByState(t *testing.T) {
	for _, tt := range []struct {
		name string
		seen *sandboxv1.Sandbox
		want []error
	}{
		{"L-016", record("sb-1", terminating), []error{ErrNotRunning}},
		{"L-017 failed", record("sb-1", failed), []error{ErrNotRunning, ErrFailed}},
		{"L-017 terminated", record("sb-1", terminated), []error{ErrNotRunning, ErrTerminated}},
		{"L-020", ended("sb-1", completed, 0), []error{ErrNotRunning}},
	} {
		bubble(t, tt.name, func(t *testing.T, f *fake, c *Client) {
			f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return tt.seen, nil }
			sb := creating(t, c)
			for range 2 { // the first waits, the second knows
				err := sb.s.ready(t.Context(), "exec")
				for _, want := range tt.want {
					require.ErrorIs(t, err, want)
				}
				assert.ErrorContains(t, err, "exec sb-1")
			}
			assert.Equal(t, 1, f.count("GetSandbox"))
		})
	}
	bubble(t, "L-017 own stop", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		err = sb.s.ready(t.Context(), "exec")
		require.ErrorIs(t, err, ErrNotRunning)
		require.ErrorIs(t, err, ErrTerminated)
	})
	bubble(t, "L-013", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV, creatingV, runningV)
		require.NoError(t, creating(t, c).s.ready(t.Context(), "exec"))
		assert.Equal(t, 3, f.count("GetSandbox"))
	})
	bubble(t, "L-014", func(t *testing.T, f *fake, c *Client) {
		f.states(creatingV)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, creating(t, c).s.ready(ctx, "exec"), context.DeadlineExceeded)
		assert.Equal(t, 1, c.registry.count(c))
	})
	bubble(t, "L-015", func(t *testing.T, f *fake, c *Client) {
		require.NoError(t, running(t, f, c).s.ready(t.Context(), "exec"))
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "L-018", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.NotFound, "")
		}
		sb := creating(t, c)
		_, err := sb.Refresh(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		require.ErrorIs(t, sb.s.ready(t.Context(), "exec"), ErrNotFound)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
}
