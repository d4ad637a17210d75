package cwsandbox

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestWaitSnapshot(t *testing.T) {
	answering := func(f *fake, state sandboxv1.SnapshotState) {
		f.snapshot = func(_ context.Context, _ int, id string) (*sandboxv1.FileSystemSnapshot, error) {
			return &sandboxv1.FileSystemSnapshot{FileSystemSnapshotId: id, State: state}, nil
		}
	}
	bubble(t, "without a deadline it has one", func(t *testing.T, f *fake, c *Client) {
		answering(f, sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING)
		begin := time.Now()
		seen, err := c.WaitSnapshot(t.Context(), "fss-1")
		require.ErrorIs(t, err, ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "the caller's own context goes on")
		assert.ErrorContains(t, err, "fss-1")
		assert.Equal(t, 605*time.Second, time.Since(begin))
		assert.Equal(t, SnapshotStateCreating, seen.State)
	})
	bubble(t, "one that is being deleted fails at once", func(t *testing.T, f *fake, c *Client) {
		answering(f, sandboxv1.SnapshotState_SNAPSHOT_STATE_DELETING)
		begin := time.Now()
		seen, err := c.WaitSnapshot(t.Context(), "fss-1")
		require.ErrorIs(t, err, ErrSnapshotFailed)
		assert.Zero(t, time.Since(begin))
		assert.Equal(t, SnapshotStateDeleting, seen.State)
	})
	bubble(t, "a cancelled wait is no timeout", func(t *testing.T, f *fake, c *Client) {
		answering(f, sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Minute, cancel)
		_, err := c.WaitSnapshot(ctx, "fss-1")
		require.ErrorIs(t, err, context.Canceled)
		assert.NotErrorIs(t, err, ErrTimeout)
	})
	bubble(t, "failures of a moment", func(t *testing.T, f *fake, c *Client) {
		f.snapshot = func(_ context.Context, n int, id string) (*sandboxv1.FileSystemSnapshot, error) {
			if n%2 == 1 {
				return nil, failure(codes.Unavailable, "CWSANDBOX_FSS_BACKEND_THROTTLED")
			}
			return &sandboxv1.FileSystemSnapshot{FileSystemSnapshotId: id, State: sandboxv1.SnapshotState(n / 4 * 2)}, nil
		}
		_, err := c.WaitSnapshot(t.Context(), "fss-1")
		require.NoError(t, err)
		assert.Equal(t, 4, f.count("GetFileSystemSnapshot"))
	})
	bubble(t, "a state of a later version", func(t *testing.T, f *fake, c *Client) {
		answering(f, 9)
		got, err := c.Snapshot(t.Context(), "fss-1")
		require.NoError(t, err)
		assert.Equal(t, "SnapshotState(9)", got.State.String())
		assert.Equal(t, "SnapshotTrigger(9)", SnapshotTrigger(9).String())
	})
}
