package cwsandbox

import (
	"context"
	"slices"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// IdentityFederation says how sandboxes get credentials for object storage, and bounds what they may ask for. One that is
// not enabled is not the same as none.
type IdentityFederation struct {
	ID             string // of the federation
	Enabled        bool
	AllowedBuckets []string
	MaxPermission  ObjectStoragePermission

	CreateTime time.Time // UTC; both times are set by the service
	UpdateTime time.Time
}

var federationFields = []string{"wif_config_id", "enabled", "allowed_buckets", "max_permission"}

// IdentityFederation returns how sandboxes get credentials for object storage: [ErrNotFound] where that was never set up.
func (c *Client) IdentityFederation(ctx context.Context) (IdentityFederation, error) {
	op := call{op: "get identity federation", resource: "identity federation"}
	m, err := c.settings.GetObjectStorageWifConfig(ctx, &sandboxv1.GetObjectStorageWifConfigRequest{})
	return federationOf(m), op.wrap(err)
}

// UpdateIdentityFederation changes how sandboxes get credentials for object storage, or sets it up, for administrators of
// the organization. Without fields it is a full replacement. With fields, which are "wif_config_id", "enabled",
// "allowed_buckets" and "max_permission", only those change. What the service sets is not sent.
func (c *Client) UpdateIdentityFederation(ctx context.Context, i IdentityFederation, fields ...string) (IdentityFederation, error) {
	op := call{op: "update identity federation", resource: "identity federation"}
	var f faults
	mask := checkedMask(&f, new(sandboxv1.ObjectStorageWifConfig), federationFields, fields)
	checkText(&f, "wif_config_id", i.ID)
	checkIDs(&f, "allowed_buckets", i.AllowedBuckets)
	if i.MaxPermission < 0 {
		f.add("max_permission", "must not be negative, is %d", i.MaxPermission)
	}
	if err := f.err(op); err != nil {
		return IdentityFederation{}, err
	}
	m, err := c.settings.UpdateObjectStorageWifConfig(ctx, &sandboxv1.UpdateObjectStorageWifConfigRequest{
		ObjectStorageWifConfig: &sandboxv1.ObjectStorageWifConfig{
			WifConfigId: i.ID, Enabled: i.Enabled, AllowedBuckets: slices.Clone(i.AllowedBuckets),
			MaxPermission: sandboxv1.ObjectStoragePermission(i.MaxPermission),
		},
		UpdateMask: mask,
	})
	return federationOf(m), op.wrap(err)
}

// DeleteIdentityFederation takes object storage away from sandboxes that are created from then on, for administrators of the
// organization: creates that ask for it fail. Where it was never set up that is [ErrNotFound], or nil with [MissingOK].
func (c *Client) DeleteIdentityFederation(ctx context.Context, opts ...SettingDeleteOption) error {
	const op = "delete identity federation"
	config, err := newSettingDeleteConfig(op, opts)
	if err != nil {
		return err
	}
	_, err = c.settings.DeleteObjectStorageWifConfig(ctx, &sandboxv1.DeleteObjectStorageWifConfigRequest{AllowMissing: config.missingOK})
	return forgiven(config.missingOK, call{op: op, resource: "identity federation"}.wrap(err))
}

func federationOf(m *sandboxv1.ObjectStorageWifConfig) IdentityFederation {
	return IdentityFederation{
		ID:             m.GetWifConfigId(),
		Enabled:        m.GetEnabled(),
		AllowedBuckets: slices.Clone(m.GetAllowedBuckets()),
		MaxPermission:  ObjectStoragePermission(m.GetMaxPermission()),
		CreateTime:     timeOf(m.GetCreateTime()),
		UpdateTime:     timeOf(m.GetUpdateTime()),
	}
}
