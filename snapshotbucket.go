package cwsandbox

import (
	"context"
	"fmt"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// SnapshotBucket says which bucket holds the snapshots that an organization takes from now on.
type SnapshotBucket struct {
	Name   string // of the organization's own bucket; empty: the platform's is used
	Region string

	Mode          SnapshotBucketMode // whose bucket is in use; set by the service
	EffectiveName string             // of the bucket in use; set by the service
}

// SnapshotBucketMode says whose bucket holds snapshots. The numbers are the service's own; one that this version does not
// know keeps its number.
type SnapshotBucketMode int32

// The modes of a snapshot bucket.
const (
	SnapshotBucketUnspecified SnapshotBucketMode = SnapshotBucketMode(sandboxv1.FileSystemSnapshotBucketMode_FILE_SYSTEM_SNAPSHOT_BUCKET_MODE_UNSPECIFIED)    // not known
	SnapshotBucketManaged     SnapshotBucketMode = SnapshotBucketMode(sandboxv1.FileSystemSnapshotBucketMode_FILE_SYSTEM_SNAPSHOT_BUCKET_MODE_CW_MANAGED)     // the platform's
	SnapshotBucketOwn         SnapshotBucketMode = SnapshotBucketMode(sandboxv1.FileSystemSnapshotBucketMode_FILE_SYSTEM_SNAPSHOT_BUCKET_MODE_BRING_YOUR_OWN) // the organization's
)

// String returns the mode's name in lower case, or SnapshotBucketMode(42) for a number that this version does not know.
func (m SnapshotBucketMode) String() string {
	switch m {
	case SnapshotBucketUnspecified:
		return "unspecified"
	case SnapshotBucketManaged:
		return "managed"
	case SnapshotBucketOwn:
		return "own"
	}
	return fmt.Sprintf("SnapshotBucketMode(%d)", int32(m))
}

var snapshotBucketFields = []string{"bucket_name", "region"}

// SnapshotBucket returns which bucket holds snapshots.
func (c *Client) SnapshotBucket(ctx context.Context) (SnapshotBucket, error) {
	m, err := c.settings.GetFileSystemSnapshotBucketConfig(ctx, &sandboxv1.GetFileSystemSnapshotBucketConfigRequest{})
	return snapshotBucketOf(m), call{op: "get snapshot bucket"}.wrap(err)
}

// UpdateSnapshotBucket changes which bucket holds snapshots, for administrators of the organization. Without fields it is a
// full replacement: a bucket without a name goes back to the platform's. With fields, which are "bucket_name" and "region",
// only those change. What the service sets is not sent.
func (c *Client) UpdateSnapshotBucket(ctx context.Context, b SnapshotBucket, fields ...string) (SnapshotBucket, error) {
	op := call{op: "update snapshot bucket"}
	var f faults
	mask := checkedMask(&f, new(sandboxv1.FileSystemSnapshotBucketConfig), snapshotBucketFields, fields)
	checkText(&f, "bucket_name", b.Name)
	checkText(&f, "region", b.Region)
	if err := f.err(op); err != nil {
		return SnapshotBucket{}, err
	}
	m, err := c.settings.UpdateFileSystemSnapshotBucketConfig(ctx, &sandboxv1.UpdateFileSystemSnapshotBucketConfigRequest{
		FileSystemSnapshotBucketConfig: &sandboxv1.FileSystemSnapshotBucketConfig{BucketName: b.Name, Region: b.Region},
		UpdateMask:                     mask,
	})
	return snapshotBucketOf(m), op.wrap(err)
}

func snapshotBucketOf(m *sandboxv1.FileSystemSnapshotBucketConfig) SnapshotBucket {
	return SnapshotBucket{
		Name: m.GetBucketName(), Region: m.GetRegion(),
		Mode: SnapshotBucketMode(m.GetMode()), EffectiveName: m.GetEffectiveBucketName(),
	}
}
