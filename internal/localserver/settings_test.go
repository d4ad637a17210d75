package localserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	bucketConfig     = sandboxv1.FileSystemSnapshotBucketConfig
	federationConfig = sandboxv1.ObjectStorageWifConfig
	buildConfig      = sandboxv1.BuildStorageConfig
	aSecretStore     = sandboxv1.SecretStore
)

const (
	wandbProvider = sandboxv1.SecretStoreProviderType_SECRET_STORE_PROVIDER_TYPE_WANDB
	readOnly      = sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ
	readWrite     = sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ_WRITE
	customerOwned = sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_CUSTOMER_OWNED
	managed       = sandboxv1.BuildStorageMode_BUILD_STORAGE_MODE_MANAGED
)

func (w *world) settings() sandboxv1.SettingsServiceClient {
	return sandboxv1.NewSettingsServiceClient(w.cc)
}

func (w *world) updateBucket(config *bucketConfig, paths ...string) (*bucketConfig, error) {
	return w.settings().UpdateFileSystemSnapshotBucketConfig(w.ctx, &sandboxv1.UpdateFileSystemSnapshotBucketConfigRequest{
		FileSystemSnapshotBucketConfig: config, UpdateMask: maskOf(paths),
	})
}

func (w *world) updateFederation(config *federationConfig, paths ...string) (*federationConfig, error) {
	return w.settings().UpdateObjectStorageWifConfig(w.ctx, &sandboxv1.UpdateObjectStorageWifConfigRequest{
		ObjectStorageWifConfig: config, UpdateMask: maskOf(paths),
	})
}

func (w *world) deleteFederation(missing bool) error {
	_, err := w.settings().DeleteObjectStorageWifConfig(w.ctx, &sandboxv1.DeleteObjectStorageWifConfigRequest{AllowMissing: missing})
	return err
}

func (w *world) updateBuilds(config *buildConfig, paths ...string) (*buildConfig, error) {
	return w.settings().UpdateBuildStorageConfig(w.ctx, &sandboxv1.UpdateBuildStorageConfigRequest{
		BuildStorageConfig: config, UpdateMask: maskOf(paths),
	})
}

func (w *world) createStore(st *aSecretStore, key string) (*aSecretStore, error) {
	return w.settings().CreateSecretStore(w.ctx, &sandboxv1.CreateSecretStoreRequest{SecretStore: st, RequestId: key})
}

func (w *world) updateStore(st *aSecretStore, paths ...string) (*aSecretStore, error) {
	return w.settings().UpdateSecretStore(w.ctx, &sandboxv1.UpdateSecretStoreRequest{SecretStore: st, UpdateMask: maskOf(paths)})
}

func (w *world) deleteStore(name string, missing bool) error {
	_, err := w.settings().DeleteSecretStore(w.ctx, &sandboxv1.DeleteSecretStoreRequest{Name: name, AllowMissing: missing})
	return err
}

// aStore is a secret store at Weights & Biases.
func aStore(name, url, team string) *aSecretStore {
	return &aSecretStore{
		Name: name, ProviderType: wandbProvider,
		ProviderConfig: &sandboxv1.SecretStore_Wandb{Wandb: &sandboxv1.WandBStoreConfig{ApiUrl: url, Team: team}},
	}
}

func TestSnapshotBucket(t *testing.T) {
	managed := &bucketConfig{Mode: 1, EffectiveBucketName: "local-managed-bucket"}
	t.Run("C-159 managed, own, managed again", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			get := func() *bucketConfig {
				got, err := w.settings().GetFileSystemSnapshotBucketConfig(w.ctx, &sandboxv1.GetFileSystemSnapshotBucketConfigRequest{})
				require.NoError(t, err)
				return got
			}
			assert.True(t, proto.Equal(managed, get()))
			assert.Equal(t, "local-managed-bucket", w.taken(w.run(withScratch("v"))).GetObjectBucket())

			own := &bucketConfig{BucketName: "mine", Region: "here", Mode: 2, EffectiveBucketName: "mine"}
			got, err := w.updateBucket(&bucketConfig{BucketName: "mine", Region: "here", Mode: 1, EffectiveBucketName: "other"})
			require.NoError(t, err)
			assert.True(t, proto.Equal(own, got), "%v", got)
			assert.True(t, proto.Equal(own, get()))
			assert.Equal(t, "mine", w.taken(w.run(withScratch("v"))).GetObjectBucket(), "new snapshots carry the name")

			got, err = w.updateBucket(&bucketConfig{BucketName: "ignored", Region: "there"}, "region")
			require.NoError(t, err)
			assert.Equal(t, "mine", got.GetBucketName())
			assert.Equal(t, "there", got.GetRegion())

			got, err = w.updateBucket(&bucketConfig{})
			require.NoError(t, err)
			assert.True(t, proto.Equal(managed, got), "no mask replaces everything")
			assert.True(t, proto.Equal(managed, get()))
		})
	})
	t.Run("C-159 only the service sets mode and effective name", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, path := range []string{"mode", "effective_bucket_name", "nonsense"} {
				_, err := w.updateBucket(&bucketConfig{}, path)
				w.requireRefused(badField("update_mask"), err)
			}
			_, err := w.updateBucket(nil)
			w.requireRefused(badField("file_system_snapshot_bucket_config"), err)
		})
	})
	t.Run("C-159 of an organization", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			_, err := w.updateBucket(&bucketConfig{BucketName: "mine"})
			require.NoError(t, err)
			w.ctx = as(context.Background(), "other")
			got, err := w.settings().GetFileSystemSnapshotBucketConfig(w.ctx, &sandboxv1.GetFileSystemSnapshotBucketConfigRequest{})
			require.NoError(t, err)
			assert.True(t, proto.Equal(managed, got))
		})
	})
}

func TestSettingsNeedTheAdminAction(t *testing.T) {
	t.Run("C-007", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			w.ctx = as(context.Background(), "user")
			var errs []error
			note := func(_ any, err error) { errs = append(errs, err) }
			note(w.updateBucket(&bucketConfig{}))
			note(w.updateFederation(&federationConfig{}))
			note(nil, w.deleteFederation(true))
			note(w.updateBuilds(&buildConfig{}))
			note(w.createStore(aStore("store", "", ""), ""))
			note(w.updateStore(aStore("store", "", "")))
			note(nil, w.deleteStore("store", true))
			for _, err := range errs {
				w.requireRefused(isDenied, err)
			}
			_, err := w.settings().GetFileSystemSnapshotBucketConfig(w.ctx, &sandboxv1.GetFileSystemSnapshotBucketConfigRequest{})
			require.NoError(t, err)
			_, err = w.settings().GetBuildStorageConfig(w.ctx, &sandboxv1.GetBuildStorageConfigRequest{})
			require.NoError(t, err)
			_, err = w.settings().ListSecretStores(w.ctx, &sandboxv1.ListSecretStoresRequest{})
			require.NoError(t, err)
		})
	})
}

func TestFederation(t *testing.T) {
	t.Run("C-179", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			get := func() (*federationConfig, error) {
				return w.settings().GetObjectStorageWifConfig(w.ctx, &sandboxv1.GetObjectStorageWifConfigRequest{})
			}
			_, err := get()
			w.requireRefused(isMissing, err)
			assert.Nil(t, w.srv.federation("local-org"))
			w.requireRefused(isMissing, w.deleteFederation(false))
			require.NoError(t, w.deleteFederation(true))

			began := time.Now()
			made, err := w.updateFederation(&federationConfig{
				WifConfigId: "wif", Enabled: true, AllowedBuckets: []string{"a", "b"}, MaxPermission: readWrite,
			})
			require.NoError(t, err)
			assert.WithinDuration(t, began, made.GetCreateTime().AsTime(), 0)
			time.Sleep(time.Minute)
			got, err := w.updateFederation(&federationConfig{MaxPermission: readOnly}, "enabled", "max_permission")
			require.NoError(t, err)
			want := proto.CloneOf(made)
			want.Enabled, want.MaxPermission, want.UpdateTime = false, readOnly, got.GetUpdateTime()
			assert.True(t, proto.Equal(want, got), "%v", got)
			assert.Equal(t, time.Minute, got.GetUpdateTime().AsTime().Sub(began))
			read, err := get()
			require.NoError(t, err)
			assert.True(t, proto.Equal(got, read), "switched off is not the same as deleted")
			assert.True(t, proto.Equal(got, w.srv.federation("local-org")))
			assert.Nil(t, w.srv.federation("other-org"))

			got, err = w.updateFederation(&federationConfig{WifConfigId: "new"})
			require.NoError(t, err)
			assert.Empty(t, got.GetAllowedBuckets(), "no mask replaces everything")

			for field, config := range map[string]*federationConfig{
				"allowed_buckets[0]": {AllowedBuckets: []string{""}},
				"allowed_buckets[1]": {AllowedBuckets: []string{"a", "a"}},
				"max_permission":     {MaxPermission: 9},
			} {
				_, err = w.updateFederation(config)
				w.requireRefused(badField(field), err)
			}
			_, err = w.updateFederation(&federationConfig{}, "create_time")
			w.requireRefused(badField("update_mask"), err)
			_, err = w.updateFederation(nil)
			w.requireRefused(badField("object_storage_wif_config"), err)

			require.NoError(t, w.deleteFederation(false))
			_, err = get()
			w.requireRefused(isMissing, err)
		})
	})
}

func TestBuildStorage(t *testing.T) {
	t.Run("C-179", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			first, err := w.settings().GetBuildStorageConfig(w.ctx, &sandboxv1.GetBuildStorageConfigRequest{})
			require.NoError(t, err)
			assert.Equal(t, managed, first.GetMode())
			assert.False(t, first.GetEnabled())
			assert.NotEmpty(t, first.GetEtag())
			assert.NotEmpty(t, first.GetEffectiveBucketName())

			own := &buildConfig{
				Enabled: true, Mode: customerOwned, BucketName: "mine", Location: "here", RegistryNamespace: "ns",
				BillingReference: "ref", Etag: first.GetEtag(), Revision: 99, EffectiveBucketName: "other",
			}
			second, err := w.updateBuilds(own)
			require.NoError(t, err)
			assert.NotEqual(t, first.GetEtag(), second.GetEtag())
			own.Etag, own.Revision, own.EffectiveBucketName = second.GetEtag(), first.GetRevision()+1, "mine"
			assert.True(t, proto.Equal(own, second), "%v", second)

			_, err = w.updateBuilds(&buildConfig{Etag: first.GetEtag()})
			w.requireRefused(refused{code: codes.Aborted, reason: "CWSANDBOX_ETAG_MISMATCH"}, err)

			third, err := w.updateBuilds(&buildConfig{Etag: second.GetEtag(), Location: "there"}, "location")
			require.NoError(t, err)
			assert.Equal(t, "mine", third.GetBucketName())
			assert.Equal(t, "there", third.GetLocation())
			fourth, err := w.updateBuilds(&buildConfig{})
			require.NoError(t, err, "without an etag nobody asks who came first")
			assert.Equal(t, managed, fourth.GetMode())
			assert.Empty(t, fourth.GetBucketName())
			assert.EqualValues(t, first.GetRevision()+3, fourth.GetRevision())
			assert.Equal(t, first.GetEffectiveBucketName(), fourth.GetEffectiveBucketName())
			read, err := w.settings().GetBuildStorageConfig(w.ctx, &sandboxv1.GetBuildStorageConfigRequest{})
			require.NoError(t, err)
			assert.True(t, proto.Equal(fourth, read))

			for field, config := range map[string]*buildConfig{"mode": {Mode: 9}, "bucket_name": {Mode: customerOwned}} {
				_, err = w.updateBuilds(config)
				w.requireRefused(badField(field), err)
			}
			_, err = w.updateBuilds(&buildConfig{}, "revision")
			w.requireRefused(badField("update_mask"), err)
			_, err = w.updateBuilds(nil)
			w.requireRefused(badField("build_storage_config"), err)
		})
	})
}

func TestSecretStores(t *testing.T) {
	t.Run("C-179", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			get := func(name string) (*aSecretStore, error) {
				return w.settings().GetSecretStore(w.ctx, &sandboxv1.GetSecretStoreRequest{Name: name})
			}
			_, err := get("team-secrets")
			w.requireRefused(isMissing, err)
			began := time.Now()
			made, err := w.createStore(aStore("team-secrets", "https://api.wandb.ai", "team"), "")
			require.NoError(t, err)
			assert.WithinDuration(t, began, made.GetCreateTime().AsTime(), 0)
			assert.True(t, proto.Equal(made, w.srv.secretStore("local-org", "team-secrets")))
			assert.Nil(t, w.srv.secretStore("other-org", "team-secrets"))

			time.Sleep(time.Minute)
			got, err := w.updateStore(aStore("team-secrets", "ignored", "new"), "wandb.team")
			require.NoError(t, err)
			assert.Equal(t, "https://api.wandb.ai", got.GetWandb().GetApiUrl())
			assert.Equal(t, "new", got.GetWandb().GetTeam())
			assert.Equal(t, time.Minute, got.GetUpdateTime().AsTime().Sub(got.GetCreateTime().AsTime()))
			read, err := get("team-secrets")
			require.NoError(t, err)
			assert.True(t, proto.Equal(got, read))
			got, err = w.updateStore(&aSecretStore{Name: "team-secrets", ProviderType: wandbProvider})
			require.NoError(t, err)
			assert.Nil(t, got.GetWandb(), "no mask replaces everything")

			_, err = w.createStore(aStore("team-secrets", "", ""), "")
			w.requireRefused(isTaken, err)
			_, err = w.updateStore(aStore("unknown", "", ""))
			w.requireRefused(isMissing, err)
			require.NoError(t, w.deleteStore("team-secrets", false))
			w.requireRefused(isMissing, w.deleteStore("team-secrets", false))
			require.NoError(t, w.deleteStore("team-secrets", true))
			_, err = get("team-secrets")
			w.requireRefused(isMissing, err)
			assert.Nil(t, w.srv.secretStore("local-org", "team-secrets"))
		})
	})
	t.Run("requests are checked", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, name := range []string{"", "ab", "Abc", "1bc", "-bc", "a_c", strings.Repeat("a", 64)} {
				_, err := w.createStore(aStore(name, "", ""), "")
				w.requireRefused(badField("name"), err)
			}
			for _, name := range []string{"abc", "a1-", strings.Repeat("a", 63)} {
				_, err := w.createStore(aStore(name, "", ""), "")
				require.NoError(t, err)
			}
			_, err := w.createStore(&aSecretStore{Name: "abcd"}, "")
			w.requireRefused(badField("provider_type"), err)
			_, err = w.createStore(&aSecretStore{ProviderType: 9}, "")
			w.requireRefused(badField("name", "provider_type"), err)
			_, err = w.createStore(nil, "")
			w.requireRefused(badField("secret_store"), err)

			_, err = w.updateStore(&aSecretStore{Name: "abc"}) // a full replacement needs the kind again
			w.requireRefused(badField("provider_type"), err)
			_, err = w.updateStore(&aSecretStore{Name: "abc", ProviderType: 9}, "provider_type")
			w.requireRefused(badField("provider_type"), err)
			for _, path := range []string{"name", "create_time", "wandb.nonsense"} {
				_, err = w.updateStore(aStore("abc", "", ""), path)
				w.requireRefused(badField("update_mask"), err)
			}
			_, err = w.updateStore(&aSecretStore{})
			w.requireRefused(badField("name"), err)
			_, err = w.updateStore(nil)
			w.requireRefused(badField("secret_store"), err)
			w.requireRefused(badField("name"), w.deleteStore("", true))
			_, err = w.settings().GetSecretStore(w.ctx, &sandboxv1.GetSecretStoreRequest{})
			w.requireRefused(badField("name"), err)
		})
	})
	t.Run("creates are repeatable, as long as the store is kept", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			first, err := w.createStore(aStore("abc", "", ""), "k")
			require.NoError(t, err)
			again, err := w.createStore(aStore("abc", "", ""), "k")
			require.NoError(t, err)
			assert.True(t, proto.Equal(first, again))
			_, err = w.createStore(aStore("abc", "", "other"), "k")
			w.requireRefused(badField("request_id"), err)
			require.NoError(t, w.deleteStore("abc", false))
			_, err = w.createStore(aStore("abc", "", "other"), "k")
			require.NoError(t, err)
		})
	})
	t.Run("pages", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for i := range 3 {
				_, err := w.createStore(aStore(fmt.Sprintf("store-%d", i), "", ""), "")
				require.NoError(t, err)
			}
			first, err := w.settings().ListSecretStores(w.ctx, &sandboxv1.ListSecretStoresRequest{PageSize: 2})
			require.NoError(t, err)
			require.Len(t, first.GetSecretStores(), 2)
			require.NoError(t, w.deleteStore("store-1", false)) // the last one of the page
			second, err := w.settings().ListSecretStores(w.ctx, &sandboxv1.ListSecretStoresRequest{PageSize: 2, PageToken: first.GetNextPageToken()})
			require.NoError(t, err)
			require.Len(t, second.GetSecretStores(), 1)
			assert.Equal(t, "store-0", second.GetSecretStores()[0].GetName())
			assert.Empty(t, second.GetNextPageToken())
			_, err = w.templates().ListSandboxTemplates(w.ctx, &sandboxv1.ListSandboxTemplatesRequest{PageToken: first.GetNextPageToken()})
			w.requireRefused(badField("page_token"), err)
		})
	})
}
