package cwsandbox

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// words are the texts of values.
func words[T fmt.Stringer](values ...T) string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = v.String()
	}
	return strings.Join(texts, " ")
}

func maskOf(paths ...string) *fieldmaskpb.FieldMask { return &fieldmaskpb.FieldMask{Paths: paths} }

func TestSettingsEnums(t *testing.T) {
	assert.Equal(t, "unspecified managed own SnapshotBucketMode(9)", words(SnapshotBucketMode(0), 1, 2, 9))
	assert.Equal(t, "unspecified managed own BuildStorageMode(9)", words(BuildStorageMode(0), 1, 2, 9))
	assert.Equal(t, "unspecified wandb SecretStoreProvider(9)", words(SecretStoreProvider(0), 1, 9))
}

func TestSnapshotBucketCalls(t *testing.T) {
	type request = sandboxv1.UpdateFileSystemSnapshotBucketConfigRequest
	type config = sandboxv1.FileSystemSnapshotBucketConfig
	const update = "UpdateFileSystemSnapshotBucketConfig"
	bubble(t, "get", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &config{BucketName: "b", Region: "r", Mode: 2, EffectiveBucketName: "e"})
		b, err := c.SnapshotBucket(t.Context())
		require.NoError(t, err)
		assert.Equal(t, SnapshotBucket{Name: "b", Region: "r", Mode: SnapshotBucketOwn, EffectiveName: "e"}, b)
	})
	bubble(t, "a full replacement has no mask", func(t *testing.T, f *fake, c *Client) {
		f.answers(&config{Mode: 1})
		b, err := c.UpdateSnapshotBucket(t.Context(), SnapshotBucket{Name: "b", Region: "r", Mode: 2, EffectiveName: "e"})
		require.NoError(t, err)
		assert.Equal(t, SnapshotBucketManaged, b.Mode)
		f.requireSent(t, update, &request{FileSystemSnapshotBucketConfig: &config{BucketName: "b", Region: "r"}})
	})
	bubble(t, "an update by mask is repeated", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &config{})
		_, err := c.UpdateSnapshotBucket(t.Context(), SnapshotBucket{Region: "r"}, "region")
		require.NoError(t, err)
		calls := f.of(update)
		require.Len(t, calls, 2)
		assert.Equal(t, []string{"region"}, calls[1].request.(*request).GetUpdateMask().GetPaths())
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		for _, fields := range [][]string{{"mode"}, {"effective_bucket_name"}, {""}, {"*"}, {"region", "region"}, {"region.x"}} {
			_, err := c.UpdateSnapshotBucket(t.Context(), SnapshotBucket{}, fields...)
			requireViolations(t, err, "update_mask")
		}
		_, err := c.UpdateSnapshotBucket(t.Context(), SnapshotBucket{Name: "\xff", Region: "a\x00"})
		requireViolations(t, err, "bucket_name", "region")
	})
}

func TestIdentityFederationCalls(t *testing.T) {
	type request = sandboxv1.UpdateObjectStorageWifConfigRequest
	type config = sandboxv1.ObjectStorageWifConfig
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	bubble(t, "get", func(t *testing.T, f *fake, c *Client) {
		f.answers(&config{
			WifConfigId: "w", Enabled: true, AllowedBuckets: []string{"a"}, MaxPermission: 2,
			CreateTime: timestamppb.New(at), UpdateTime: timestamppb.New(at.Add(1)),
		})
		i, err := c.IdentityFederation(t.Context())
		require.NoError(t, err)
		assert.Equal(t, IdentityFederation{
			ID: "w", Enabled: true, AllowedBuckets: []string{"a"}, MaxPermission: ObjectStorageReadWrite, CreateTime: at, UpdateTime: at.Add(1),
		}, i)
		f.fails(100, failure(codes.NotFound, ""), nil)
		_, err = c.IdentityFederation(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "identity federation", e.Resource)
	})
	bubble(t, "update", func(t *testing.T, f *fake, c *Client) {
		f.answers(&config{})
		_, err := c.UpdateIdentityFederation(t.Context(), IdentityFederation{
			ID: "w", Enabled: true, AllowedBuckets: []string{"a", "b"}, MaxPermission: ObjectStorageRead, CreateTime: at,
		}, "enabled", "max_permission")
		require.NoError(t, err)
		f.requireSent(t, "UpdateObjectStorageWifConfig", &request{
			ObjectStorageWifConfig: &config{WifConfigId: "w", Enabled: true, AllowedBuckets: []string{"a", "b"}, MaxPermission: 1},
			UpdateMask:             maskOf("enabled", "max_permission"),
		})
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		_, err := c.UpdateIdentityFederation(t.Context(), IdentityFederation{
			ID: "\xff", AllowedBuckets: []string{"", "a", "a"}, MaxPermission: -1,
		}, "create_time")
		requireViolations(t, err, "update_mask", "wif_config_id", "allowed_buckets[0]", "allowed_buckets[2]", "max_permission")
	})
}

func TestBuildStorageCalls(t *testing.T) {
	type request = sandboxv1.UpdateBuildStorageConfigRequest
	type config = sandboxv1.BuildStorageConfig
	const update = "UpdateBuildStorageConfig"
	whole := BuildStorage{
		Enabled: true, Mode: BuildStorageOwn, Bucket: "b", Location: "l", RegistryNamespace: "n", BillingReference: "r",
		ETag: "e", Revision: 3, EffectiveBucket: "b",
	}
	bubble(t, "get", func(t *testing.T, f *fake, c *Client) {
		f.answers(&config{
			Enabled: true, Mode: 2, BucketName: "b", Location: "l", RegistryNamespace: "n", BillingReference: "r",
			Etag: "e", Revision: 3, EffectiveBucketName: "b",
		})
		b, err := c.BuildStorage(t.Context())
		require.NoError(t, err)
		assert.Equal(t, whole, b)
	})
	bubble(t, "update", func(t *testing.T, f *fake, c *Client) {
		f.answers(&config{})
		_, err := c.UpdateBuildStorage(t.Context(), whole, "enabled", "location")
		require.NoError(t, err)
		f.requireSent(t, update, &request{
			BuildStorageConfig: &config{
				Enabled: true, Mode: 2, BucketName: "b", Location: "l", RegistryNamespace: "n", BillingReference: "r", Etag: "e",
			},
			UpdateMask: maskOf("enabled", "location"),
		})
	})
	bubble(t, "with an etag it is not repeated", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &config{})
		_, err := c.UpdateBuildStorage(t.Context(), BuildStorage{ETag: "e"})
		require.ErrorIs(t, err, ErrUnavailable)
		f.fails(1000, failure(codes.Aborted, "CWSANDBOX_ETAG_MISMATCH"), nil)
		_, err = c.UpdateBuildStorage(t.Context(), BuildStorage{ETag: "e"})
		require.ErrorIs(t, err, ErrConflict)
		assert.True(t, HasReason(err, ReasonETagMismatch))
		assert.Equal(t, 2, f.count(update))
	})
	bubble(t, "without one it is", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &config{})
		_, err := c.UpdateBuildStorage(t.Context(), BuildStorage{})
		require.NoError(t, err)
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		const bad = "\xff"
		_, err := c.UpdateBuildStorage(t.Context(), BuildStorage{
			Mode: -1, Bucket: bad, Location: bad, RegistryNamespace: bad, BillingReference: bad, ETag: bad,
		}, "revision")
		requireViolations(t, err, "update_mask", "mode", "bucket_name", "location", "registry_namespace", "billing_reference", "etag")
		_, err = c.UpdateBuildStorage(t.Context(), BuildStorage{}, "etag")
		requireViolations(t, err, "update_mask")
	})
}

func TestSecretStoreCalls(t *testing.T) {
	type record = sandboxv1.SecretStore
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	wandb := func(url, team string) *sandboxv1.SecretStore_Wandb {
		return &sandboxv1.SecretStore_Wandb{Wandb: &sandboxv1.WandBStoreConfig{ApiUrl: url, Team: team}}
	}
	bubble(t, "create, get", func(t *testing.T, f *fake, c *Client) {
		f.answers(&record{
			Name: "store", ProviderType: 1, ProviderConfig: wandb("u", "t"), CreateTime: timestamppb.New(at), UpdateTime: timestamppb.New(at.Add(1)),
		})
		given := SecretStore{Name: "store", Provider: SecretStoreWandB, WandB: &WandBStore{APIURL: "u", Team: "t"}}
		want := given
		want.CreateTime, want.UpdateTime = at, at.Add(1)
		s, err := c.CreateSecretStore(t.Context(), given)
		require.NoError(t, err)
		assert.Equal(t, want, s)
		f.requireSent(t, "CreateSecretStore", &sandboxv1.CreateSecretStoreRequest{
			SecretStore: &record{Name: "store", ProviderType: 1, ProviderConfig: wandb("u", "t")},
		})
		s, err = c.SecretStore(t.Context(), "store")
		require.NoError(t, err)
		assert.Equal(t, want, s)
		f.requireSent(t, "GetSecretStore", &sandboxv1.GetSecretStoreRequest{Name: "store"})
	})
	bubble(t, "update", func(t *testing.T, f *fake, c *Client) {
		f.answers(&record{Name: "store", ProviderType: 1})
		s, err := c.UpdateSecretStore(t.Context(), SecretStore{Name: "store", WandB: &WandBStore{Team: "t"}}, "wandb.team")
		require.NoError(t, err)
		assert.Nil(t, s.WandB)
		f.requireSent(t, "UpdateSecretStore", &sandboxv1.UpdateSecretStoreRequest{
			SecretStore: &record{Name: "store", ProviderConfig: wandb("", "t")}, UpdateMask: maskOf("wandb.team"),
		})
		f.fails(100, failure(codes.NotFound, ""), nil)
		_, err = c.UpdateSecretStore(t.Context(), SecretStore{Name: "store"}, "wandb")
		require.ErrorIs(t, err, ErrNotFound)
		assert.ErrorContains(t, err, `"store"`)
		f.fails(100, failure(codes.AlreadyExists, ""), nil)
		_, err = c.CreateSecretStore(t.Context(), SecretStore{Name: "store", Provider: 9})
		require.ErrorIs(t, err, ErrConflict)
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		for _, name := range []string{"", "ab", "Abc", "1bc", "a_c", "abc\n", strings.Repeat("a", 64)} {
			for _, err := range []error{
				errorOf(c.CreateSecretStore(t.Context(), SecretStore{Name: name, Provider: SecretStoreWandB})),
				errorOf(c.UpdateSecretStore(t.Context(), SecretStore{Name: name}, "wandb")),
				errorOf(c.SecretStore(t.Context(), name)), c.DeleteSecretStore(t.Context(), name),
			} {
				requireViolations(t, err, "name")
			}
		}
		_, err := c.CreateSecretStore(t.Context(), SecretStore{Name: "store"})
		requireViolations(t, err, "provider_type")
		_, err = c.UpdateSecretStore(t.Context(), SecretStore{Name: "store", WandB: &WandBStore{APIURL: "\xff", Team: "\x00"}})
		requireViolations(t, err, "provider_type", "wandb.api_url", "wandb.team")
		_, err = c.UpdateSecretStore(t.Context(), SecretStore{Name: "store"}, "name", "wandb.nonsense")
		requireViolations(t, err, "update_mask", "update_mask")
	})
}
