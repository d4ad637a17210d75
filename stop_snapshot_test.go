package cwsandbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// scratch returns a handle of a running sandbox with scratch volumes a and b and a registered one, whose stop archives
// into snapshots that are ready after three seconds and drains for two.
func scratch(t *testing.T, f *fake, c *Client) *Sandbox {
	t.Helper()
	withVolumes := func(sb *sandboxv1.Sandbox) *sandboxv1.Sandbox {
		sb.Spec.Volumes = []*sandboxv1.SandboxVolume{
			{Name: "a", Source: &sandboxv1.SandboxVolume_Scratch{}},
			{Name: "shared", Source: &sandboxv1.SandboxVolume_VolumeId{VolumeId: "vol-1"}},
			{Name: "b"},
		}
		return sb
	}
	f.drains(2*time.Second, ended("sb-1", completed, 0))
	drain, get := f.delete, f.get
	var taken time.Time
	f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		resp, err := drain(ctx, n, req)
		for _, name := range req.GetSnapshotVolumes() {
			resp.FileSystemSnapshotIds = append(resp.FileSystemSnapshotIds, "snap-"+name)
		}
		taken = time.Now()
		return resp, err
	}
	f.get = func(ctx context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
		sb, err := get(ctx, n, id)
		return withVolumes(sb), err
	}
	f.snapshot = func(_ context.Context, _ int, id string) (*sandboxv1.FileSystemSnapshot, error) {
		state := sandboxv1.SnapshotState_SNAPSHOT_STATE_READY
		if time.Since(taken) < 3*time.Second {
			state = sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING
		}
		return &sandboxv1.FileSystemSnapshot{FileSystemSnapshotId: id, State: state}, nil
	}
	sb, err := c.Attach(t.Context(), "sb-1")
	require.NoError(t, err)
	return sb
}

func TestStopSnapshot(t *testing.T) {
	both := []string{"snap-a", "snap-b"}
	for _, name := range []string{"L-087", "L-096"} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			begin := time.Now()
			result, err := scratch(t, f, c).Stop(WithStopSnapshot()).Wait()
			require.NoError(t, err)
			assert.GreaterOrEqual(t, time.Since(begin), 3*time.Second, "until they are ready")
			assert.Equal(t, both, result.SnapshotIDs)
			req := f.lastDelete(t)
			assert.Equal(t, []string{"a", "b"}, req.GetSnapshotVolumes())
			assert.False(t, req.GetAllowMissing())
			assert.NotEmpty(t, req.GetRequestId())
			assert.LessOrEqual(t, len(req.GetRequestId()), 128)
			assert.Equal(t, StateCompleted, result.Info.State)
		})
	}
	bubble(t, "L-088", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			resp, err := answer(ctx, n, req)
			if n == 1 {
				return nil, failure(codes.Unavailable, "")
			}
			return resp, err
		}
		result, err := sb.Stop(WithStopSnapshot("b")).Wait()
		require.NoError(t, err)
		assert.Equal(t, []string{"snap-b"}, result.SnapshotIDs)
		calls := f.of("DeleteSandbox")
		require.Len(t, calls, 2)
		assert.True(t, proto.Equal(calls[0].request, calls[1].request))
	})
	bubble(t, "L-089", func(t *testing.T, f *fake, c *Client) {
		_, err := running(t, f, c).Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrInvalidArgument)
		_, err = scratch(t, f, c).Stop(WithStopSnapshot("shared")).Wait()
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	bubble(t, "L-090", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		plain := sb.Stop().Start()
		synctest.Wait()
		_, err := sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
		require.ErrorIs(t, err, ErrConflict)
		_, err = plain.Wait()
		require.NoError(t, err)
		result, err := sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-090", func(t *testing.T, f *fake, c *Client) { // seen terminating, by whomever
		sb := scratch(t, f, c)
		f.drains(time.Hour, nil)
		_, err := f.delete(t.Context(), 1, &sandboxv1.DeleteSandboxRequest{SandboxId: "sb-1"})
		require.NoError(t, err)
		_, err = sb.Refresh(t.Context())
		require.NoError(t, err)
		_, err = sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	bubble(t, "L-091", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		archiving := sb.Stop(WithStopSnapshot()).Start()
		synctest.Wait()
		result, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, both, result.SnapshotIDs)
		_, err = archiving.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-092", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		first, second := sb.Stop(WithStopSnapshot()).Start(), sb.Stop(WithStopSnapshot("a", "b")).Start()
		synctest.Wait()
		_, err := sb.Stop(WithStopSnapshot("a")).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
		for _, stop := range []*Future[StopResult]{first, second} {
			result, err := stop.Wait()
			require.NoError(t, err)
			assert.Equal(t, both, result.SnapshotIDs)
		}
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-093", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		for range 2 { // the second knows already
			_, err := sb.Stop(WithStopSnapshot()).Wait()
			require.ErrorIs(t, err, ErrSnapshotConflict)
			require.ErrorIs(t, err, ErrNotFound)
		}
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-094", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		answer := f.snapshot
		f.snapshot = func(ctx context.Context, n int, id string) (*sandboxv1.FileSystemSnapshot, error) {
			if id == "snap-b" {
				return &sandboxv1.FileSystemSnapshot{State: sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED, StateReason: "disk on fire"}, nil
			}
			return answer(ctx, n, id)
		}
		result, err := sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotFailed)
		assert.ErrorContains(t, err, "snap-b")
		assert.ErrorContains(t, err, "disk on fire")
		assert.NotContains(t, err.Error(), "snap-a")
		assert.Equal(t, both, result.SnapshotIDs)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.True(t, result.Accepted)
	})
	bubble(t, "L-095", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		for range 2 {
			result, err := sb.Stop(WithStopSnapshot()).Wait()
			require.NoError(t, err)
			assert.Equal(t, both, result.SnapshotIDs)
		}
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		_, err := sb.Stop(WithStopSnapshot("a")).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
	})
	bubble(t, "closing the client does not cut it", func(t *testing.T, f *fake, c *Client) {
		stop := scratch(t, f, c).Stop(WithStopSnapshot()).Start()
		synctest.Wait()
		require.NoError(t, c.Close())
		result, err := stop.Wait()
		require.NoError(t, err)
		assert.Equal(t, both, result.SnapshotIDs)
		before := f.count("GetSandbox")
		_, err = c.sandboxes.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"}, transport.AfterDrain())
		require.Error(t, err)
		assert.Equal(t, before, f.count("GetSandbox"), "the connections have ended with it")
	})
	bubble(t, "nor does the end of the sandbox, which is tracked no more", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession()
		require.NoError(t, err)
		sb := scratch(t, f, c)
		require.NoError(t, s.Adopt(sb))
		require.NoError(t, c.Close())
		result, err := sb.Stop(WithStopSnapshot()).Wait()
		require.NoError(t, err)
		assert.Equal(t, both, result.SnapshotIDs)
	})
	t.Run("no delete without them slips in", func(t *testing.T) {
		for range 200 {
			synctest.Test(t, func(t *testing.T) {
				f, c := fakeClient(t)
				s := scratch(t, f, c).s
				stop := Go(func() (StopResult, error) { return s.stopOnce(stopConfig{archive: true}) })
				for begun := false; !begun; { // as a cleanup that comes just then
					s.mu.Lock()
					begun = s.stop != nil
					s.mu.Unlock()
				}
				s.deleteOnce(removal{}).Wait()
				result, err := stop.Wait()
				require.NoError(t, err)
				require.Equal(t, both, result.SnapshotIDs)
			})
		}
	})
	bubble(t, "a stop need not wait for its snapshots", func(t *testing.T, f *fake, c *Client) {
		result, err := scratch(t, f, c).Stop(WithStopSnapshot(), WithSnapshotWait(false)).Wait()
		require.NoError(t, err)
		assert.Equal(t, both, result.SnapshotIDs)
		assert.Zero(t, f.count("GetFileSystemSnapshot"))
	})
	bubble(t, "snapshots have 600 seconds", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		f.snapshot = func(_ context.Context, _ int, id string) (*sandboxv1.FileSystemSnapshot, error) {
			return &sandboxv1.FileSystemSnapshot{State: sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING}, nil
		}
		begin := time.Now()
		result, err := sb.Stop(WithStopSnapshot("a")).Wait()
		require.ErrorIs(t, err, ErrTimeout)
		require.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 600*time.Second, time.Since(begin).Truncate(time.Second))
		assert.Equal(t, []string{"snap-a"}, result.SnapshotIDs)
	})
	bubble(t, "an answer without all the snapshots is no success", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			resp, err := answer(ctx, n, req)
			resp.FileSystemSnapshotIds = resp.FileSystemSnapshotIds[:1]
			return resp, err
		}
		for range 2 {
			_, err := sb.Stop(WithStopSnapshot()).Wait()
			require.ErrorIs(t, err, ErrSnapshotConflict)
		}
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Contains(t, f.logged(), "snap-a", "the one that there is")
	})
	bubble(t, "bad options send nothing", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		for _, opts := range [][]StopOption{
			{WithStopSnapshot("a", "a")}, {WithStopSnapshot("")}, {WithSnapshotWait(false)},
		} {
			_, err := sb.Stop(opts...).Wait()
			require.ErrorIs(t, err, ErrInvalidArgument)
		}
		assert.Zero(t, f.count("DeleteSandbox"))
	})
}
