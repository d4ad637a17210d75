package cwsandbox_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func ExampleSandbox_Snapshot() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithScratch("/data", "1Gi"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()
	if err := sb.WriteFile(ctx, "/data/answer", []byte("42")); err != nil {
		fmt.Println(err)
		return
	}
	snapshot, err := sb.Snapshot(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fork, err := cwsandbox.Run(ctx, cwsandbox.WithRestored("/data", snapshot.ID))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fork.Stop().Wait()
	answer, err := fork.ReadFile(ctx, "/data/answer")
	fmt.Println(snapshot.State, snapshot.Volume, string(answer), err)
	// Output: ready workspace 42 <nil>
}

// snapshotTest runs a test with a server in memory, where time passes at once.
func snapshotTest(t *testing.T, name string, test func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.AllowLeftovers())
			test(t, server, server.Client())
		})
	})
}

// withVolumes runs a sandbox with scratch volumes, each at a path of its name.
func withVolumes(t *testing.T, c *cwsandbox.Client, names ...string) *cwsandbox.Sandbox {
	t.Helper()
	var volumes []cwsandbox.Volume
	for _, name := range names {
		volumes = append(volumes, cwsandbox.Volume{Name: name, Path: "/" + name})
	}
	sb, err := c.Run(t.Context(), cwsandbox.WithVolumes(volumes...))
	require.NoError(t, err)
	return sb
}

func TestSnapshots(t *testing.T) {
	snapshotTest(t, "take and restore", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "data")
		require.NoError(t, sb.WriteFile(t.Context(), "/data/a/file", []byte("hello")))
		taken, err := sb.Snapshot(t.Context())
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.SnapshotStateReady, taken.State)
		assert.Equal(t, cwsandbox.SnapshotTriggerManual, taken.Trigger)
		assert.Equal(t, []string{sb.ID(), "data", "local-managed-bucket"}, []string{taken.SandboxID, taken.Volume, taken.Bucket})
		assert.EqualValues(t, 5, taken.SizeBytes)
		assert.NotEmpty(t, taken.RequestID)
		assert.False(t, taken.ReadyTime.IsZero())
		require.NoError(t, sb.WriteFile(t.Context(), "/data/a/file", []byte("later")))

		fork, err := c.Run(t.Context(), cwsandbox.WithVolumes(cwsandbox.Volume{Name: "mine", Path: "/mine", SnapshotID: taken.ID}))
		require.NoError(t, err)
		assert.Equal(t, taken.ID, fork.Info().Volumes[0].SnapshotID)
		got, err := fork.ReadFile(t.Context(), "/mine/a/file")
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
		same, err := c.Snapshot(t.Context(), taken.ID)
		require.NoError(t, err)
		assert.Equal(t, taken, same)
	})
	snapshotTest(t, "a sandbox that is still starting", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		release := server.Hold("slow", cwsandbox.StateCreating)
		sb, err := c.Create(t.Context(), cwsandbox.WithTags("slow"), cwsandbox.WithScratch("/w", ""))
		require.NoError(t, err)
		time.AfterFunc(time.Minute, release)
		taken, err := sb.Snapshot(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "workspace", taken.Volume)
	})
	snapshotTest(t, "which volume", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a", "b")
		for _, opts := range [][]cwsandbox.SnapshotOption{nil, {cwsandbox.WithSnapshotVolume("c")}} {
			_, err := sb.Snapshot(t.Context(), opts...)
			require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
			assert.ErrorContains(t, err, "scratch_volume_name: must be")
		}
		assert.Empty(t, server.Calls("CreateFileSystemSnapshot"), "nothing is sent")
		taken, err := sb.Snapshot(t.Context(), cwsandbox.WithSnapshotVolume("b"))
		require.NoError(t, err)
		assert.Equal(t, "b", taken.Volume)
		none, err := c.Run(t.Context())
		require.NoError(t, err)
		_, err = none.Snapshot(t.Context())
		require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, "the service knows that there is none")
	})
	snapshotTest(t, "without the wait", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		release := server.HoldSnapshots(sb.ID())
		begun, err := sb.Snapshot(t.Context(), cwsandbox.WithSnapshotWait(false), cwsandbox.WithSnapshotRequestID("mine"))
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.SnapshotStateCreating, begun.State)
		again, err := sb.Snapshot(t.Context(), cwsandbox.WithSnapshotWait(false), cwsandbox.WithSnapshotRequestID("mine"))
		require.NoError(t, err)
		assert.Equal(t, begun.ID, again.ID)
		_, err = c.Run(t.Context(), cwsandbox.WithRestored("/w", begun.ID))
		require.ErrorIs(t, err, cwsandbox.ErrPrecondition)
		assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonFSSNotReady))
		time.AfterFunc(time.Minute, release)
		ready, err := c.WaitSnapshot(t.Context(), begun.ID)
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.SnapshotStateReady, ready.State)
	})
	snapshotTest(t, "it fails", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		defer server.FailSnapshots(sb.ID(), "the disk is on fire")()
		failed, err := sb.Snapshot(t.Context())
		require.ErrorIs(t, err, cwsandbox.ErrSnapshotFailed)
		assert.ErrorContains(t, err, "the disk is on fire")
		assert.ErrorContains(t, err, failed.ID)
		assert.Equal(t, cwsandbox.SnapshotStateFailed, failed.State)
	})
	snapshotTest(t, "one deadline for all of it", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		server.HoldSnapshots(sb.ID())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		begin := time.Now()
		seen, err := sb.Snapshot(ctx)
		require.ErrorIs(t, err, cwsandbox.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(begin))
		assert.Equal(t, cwsandbox.SnapshotStateCreating, seen.State)
	})
	snapshotTest(t, "L-016", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		_, err = sb.Snapshot(t.Context())
		require.ErrorIs(t, err, cwsandbox.ErrNotRunning)
		assert.Empty(t, server.Calls("CreateFileSystemSnapshot"))
	})
	snapshotTest(t, "a lost answer makes no second one", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		server.Inject(cwsandboxtest.Rule{Method: "CreateFileSystemSnapshot", Times: 1,
			Action: cwsandboxtest.FailAfter(codes.Unavailable, "try again")})
		_, err := sb.Snapshot(t.Context())
		require.NoError(t, err)
		calls := server.Calls("CreateFileSystemSnapshot")
		require.Len(t, calls, 2)
		assert.Equal(t, calls[0].Request, calls[1].Request)
		list, err := cwsandbox.Collect(c.Snapshots(t.Context()))
		require.NoError(t, err)
		assert.Len(t, list, 1)
	})
	snapshotTest(t, "bad options", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		for _, opt := range []cwsandbox.SnapshotOption{
			cwsandbox.WithSnapshotRequestID(strings.Repeat("ä", 65)), cwsandbox.WithSnapshotRequestID(""), cwsandbox.WithSnapshotVolume(" "),
		} {
			_, err := sb.Snapshot(t.Context(), opt)
			require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
		}
		for _, stop := range []cwsandbox.StopOption{cwsandbox.WithSnapshotRequestID("x"), cwsandbox.WithSnapshotWait(false)} {
			_, err := sb.Stop(stop).Wait()
			require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, "there is no snapshot")
		}
		for _, call := range []func() error{
			func() error { _, err := c.Snapshot(t.Context(), ""); return err },
			func() error { _, err := c.WaitSnapshot(t.Context(), " "); return err },
			func() error { return c.DeleteSnapshot(t.Context(), "") },
			func() error {
				_, err := cwsandbox.Collect(c.Snapshots(t.Context(), cwsandbox.WithSnapshotStates(0), cwsandbox.WithSourceSandbox("")))
				return err
			},
		} {
			require.ErrorIs(t, call(), cwsandbox.ErrInvalidArgument)
		}
		assert.Empty(t, server.Calls("CreateFileSystemSnapshot"))
		assert.NotEmpty(t, server.Active())
	})
}

func TestSnapshotsAreManaged(t *testing.T) {
	snapshotTest(t, "list", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		one, two := withVolumes(t, c, "v"), withVolumes(t, c, "v")
		first, err := one.Snapshot(t.Context())
		require.NoError(t, err)
		release := server.FailSnapshots(one.ID(), "no")
		failed, err := one.Snapshot(t.Context())
		require.Error(t, err)
		release()
		_, err = two.Snapshot(t.Context())
		require.NoError(t, err)
		ids := func(opts ...cwsandbox.SnapshotListOption) (ids []string) {
			for s, err := range c.Snapshots(t.Context(), opts...) {
				require.NoError(t, err)
				ids = append(ids, s.ID)
			}
			return ids
		}
		assert.Len(t, ids(), 3)
		assert.Equal(t, ids(), ids(cwsandbox.WithPageSize(1)))
		assert.ElementsMatch(t, []string{first.ID, failed.ID}, ids(cwsandbox.WithSourceSandbox(one.ID())))
		assert.Equal(t, []string{failed.ID}, ids(cwsandbox.WithSnapshotStates(cwsandbox.SnapshotStateFailed, cwsandbox.SnapshotStateDeleting)))
	})
	snapshotTest(t, "delete", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "v")
		taken, err := sb.Snapshot(t.Context())
		require.NoError(t, err)
		fork, err := c.Run(t.Context(), cwsandbox.WithRestored("/w", taken.ID))
		require.NoError(t, err)
		require.NoError(t, c.DeleteSnapshot(t.Context(), taken.ID))
		err = c.DeleteSnapshot(t.Context(), taken.ID)
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
		assert.ErrorContains(t, err, taken.ID)
		require.NoError(t, c.DeleteSnapshot(t.Context(), taken.ID, cwsandbox.MissingOK()))
		_, err = c.Snapshot(t.Context(), taken.ID)
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
		_, err = c.WaitSnapshot(t.Context(), taken.ID)
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
		_, err = c.Run(t.Context(), cwsandbox.WithRestored("/w", taken.ID))
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
		require.NoError(t, fork.WriteFile(t.Context(), "/w/file", nil), "what was restored from it goes on")
	})
}

func TestStopSnapshotByTheServer(t *testing.T) {
	snapshotTest(t, "L-094", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a", "b")
		require.NoError(t, sb.WriteFile(t.Context(), "/b/file", []byte("kept")))
		release := server.HoldSnapshots(sb.ID())
		time.AfterFunc(time.Minute, release)
		begin := time.Now()
		result, err := sb.Stop(cwsandbox.WithStopSnapshot("b", "a"), cwsandbox.WithSnapshotRequestID("mine")).Wait()
		require.NoError(t, err)
		assert.GreaterOrEqual(t, time.Since(begin), time.Minute)
		require.Len(t, result.SnapshotIDs, 2)
		for i, volume := range []string{"b", "a"} {
			s, err := c.Snapshot(t.Context(), result.SnapshotIDs[i])
			require.NoError(t, err)
			assert.Equal(t, cwsandbox.SnapshotStateReady, s.State)
			assert.Equal(t, cwsandbox.SnapshotTriggerOnStop, s.Trigger)
			assert.Equal(t, []string{volume, "mine"}, []string{s.Volume, s.RequestID})
		}
		fork, err := c.Run(t.Context(), cwsandbox.WithRestored("/w", result.SnapshotIDs[0]))
		require.NoError(t, err)
		got, err := fork.ReadFile(t.Context(), "/w/file")
		require.NoError(t, err)
		assert.Equal(t, "kept", string(got))
	})
	snapshotTest(t, "L-094 one fails", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a")
		defer server.FailSnapshots(sb.ID(), "no space")()
		result, err := sb.Stop(cwsandbox.WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, cwsandbox.ErrSnapshotFailed)
		assert.ErrorContains(t, err, result.SnapshotIDs[0])
		assert.True(t, result.Info.State.Terminal(), "the end is awaited all the same")
	})
	snapshotTest(t, "L-088", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a")
		server.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Times: 1, Action: cwsandboxtest.FailAfter(codes.Unavailable, "try again")})
		result, err := sb.Stop(cwsandbox.WithStopSnapshot()).Wait()
		require.NoError(t, err)
		list, err := cwsandbox.Collect(c.Snapshots(t.Context()))
		require.NoError(t, err)
		require.Len(t, list, 1, "one batch")
		assert.Equal(t, result.SnapshotIDs, []string{list[0].ID})
	})
	snapshotTest(t, "a handle that has not noticed the end", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a")
		stale, err := server.Client().Attach(t.Context(), sb.ID())
		require.NoError(t, err)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		_, err = stale.Stop(cwsandbox.WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, cwsandbox.ErrSnapshotConflict)
		require.ErrorIs(t, err, cwsandbox.ErrConflict)
	})
	snapshotTest(t, "L-096", func(t *testing.T, server *cwsandboxtest.Server, c *cwsandbox.Client) {
		sb := withVolumes(t, c, "a", "b")
		attached, err := server.Client().Attach(t.Context(), sb.ID())
		require.NoError(t, err)
		result, err := attached.Stop(cwsandbox.WithStopSnapshot(), cwsandbox.WithSnapshotWait(false)).Wait()
		require.NoError(t, err)
		assert.Len(t, result.SnapshotIDs, 2)
	})
}
