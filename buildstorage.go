package cwsandbox

import (
	"context"
	"fmt"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// BuildStorage says where build contexts and built images lie. The service documents little of it.
type BuildStorage struct {
	Enabled           bool
	Mode              BuildStorageMode
	Bucket            string // of the organization, for [BuildStorageOwn]
	Location          string // region or zone of the bucket
	RegistryNamespace string // where built images go in a registry
	BillingReference  string // account that pays

	// ETag stands for what was read. An update with it fails with [ErrConflict] when somebody else came first; without it
	// the last one wins.
	ETag string

	Revision        int64  // count of the changes; set by the service
	EffectiveBucket string // the bucket in use; set by the service
}

// BuildStorageMode says whose storage holds build contexts. The numbers are the service's own; one that this version does
// not know keeps its number.
type BuildStorageMode int32

// The modes of build storage.
const (
	BuildStorageUnspecified BuildStorageMode = BuildStorageMode(sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_UNSPECIFIED)    // the service's choice
	BuildStorageManaged     BuildStorageMode = BuildStorageMode(sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_MANAGED)        // the platform's
	BuildStorageOwn         BuildStorageMode = BuildStorageMode(sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_CUSTOMER_OWNED) // the organization's
)

// String returns the mode's name in lower case, or BuildStorageMode(42) for a number that this version does not know.
func (m BuildStorageMode) String() string {
	switch m {
	case BuildStorageUnspecified:
		return "unspecified"
	case BuildStorageManaged:
		return "managed"
	case BuildStorageOwn:
		return "own"
	}
	return fmt.Sprintf("BuildStorageMode(%d)", int32(m))
}

var buildStorageFields = []string{"enabled", "mode", "bucket_name", "location", "registry_namespace", "billing_reference"}

// BuildStorage returns where build contexts and built images lie.
func (c *Client) BuildStorage(ctx context.Context) (BuildStorage, error) {
	m, err := c.settings.GetBuildStorageConfig(ctx, &sandboxv1.GetBuildStorageConfigRequest{})
	return buildStorageOf(m), call{op: "get build storage"}.wrap(err)
}

// UpdateBuildStorage changes where build contexts and built images lie, for administrators of the organization. Without
// fields it is a full replacement. With fields, which are "enabled", "mode", "bucket_name", "location",
// "registry_namespace" and "billing_reference", only those change; an ETag is heeded all the same. What the
// service sets is not sent. With an ETag a request whose outcome is unknown is not repeated: if it had been carried out,
// the repetition would be a conflict.
func (c *Client) UpdateBuildStorage(ctx context.Context, b BuildStorage, fields ...string) (BuildStorage, error) {
	op := call{op: "update build storage"}
	var f faults
	mask := checkedMask(&f, new(sandboxv1.BuildStorageConfig), buildStorageFields, fields)
	if b.Mode < 0 {
		f.add("mode", "must not be negative, is %d", b.Mode)
	}
	checkText(&f, "bucket_name", b.Bucket)
	checkText(&f, "location", b.Location)
	checkText(&f, "registry_namespace", b.RegistryNamespace)
	checkText(&f, "billing_reference", b.BillingReference)
	checkText(&f, "etag", b.ETag)
	if err := f.err(op); err != nil {
		return BuildStorage{}, err
	}
	m, err := c.settings.UpdateBuildStorageConfig(ctx, &sandboxv1.UpdateBuildStorageConfigRequest{
		BuildStorageConfig: &sandboxv1.BuildStorageConfig{
			Enabled: b.Enabled, Mode: sandboxv1.BuildStorageMode(b.Mode), BucketName: b.Bucket, Location: b.Location,
			RegistryNamespace: b.RegistryNamespace, BillingReference: b.BillingReference, Etag: b.ETag,
		},
		UpdateMask: mask,
	})
	return buildStorageOf(m), op.wrap(err)
}

func buildStorageOf(m *sandboxv1.BuildStorageConfig) BuildStorage {
	return BuildStorage{
		Enabled:           m.GetEnabled(),
		Mode:              BuildStorageMode(m.GetMode()),
		Bucket:            m.GetBucketName(),
		Location:          m.GetLocation(),
		RegistryNamespace: m.GetRegistryNamespace(),
		BillingReference:  m.GetBillingReference(),
		ETag:              m.GetEtag(),
		Revision:          m.GetRevision(),
		EffectiveBucket:   m.GetEffectiveBucketName(),
	}
}
