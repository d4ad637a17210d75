package cwsandbox_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func TestRegisteredVolumesOfTheServer(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	client := cwsandboxtest.NewServer(t, cwsandboxtest.WithClaim("ns", "data", dir)).Client()
	claim := cwsandbox.VolumeClaim{RunnerID: "local-runner", Namespace: "ns", Name: "data", SubPath: "sub"}

	made, err := client.CreateVolume(t.Context(), cwsandbox.RegisteredVolumeSpec{Claim: claim, Description: "first"})
	require.NoError(t, err)
	assert.Equal(t, cwsandbox.VolumeStateValidating, made.State)
	v, err := client.WaitVolume(t.Context(), made.ID)
	require.NoError(t, err)
	assert.Equal(t, cwsandbox.VolumeStateReady, v.State)
	assert.Equal(t, cwsandbox.VolumeLocalityClusterLocal, v.Locality)
	assert.Equal(t, claim, v.Claim)
	assert.False(t, v.ValidateTime.IsZero())

	v, err = client.UpdateVolume(t.Context(), v.ID, "second")
	require.NoError(t, err)
	assert.Equal(t, "second", v.Description)
	assert.Equal(t, claim, v.Claim, "the mask leaves the rest alone")

	require.NoError(t, os.Remove(filepath.Join(dir, "sub")))
	v, err = client.ValidateVolume(t.Context(), v.ID)
	require.NoError(t, err)
	assert.Equal(t, cwsandbox.VolumeStateError, v.State)
	_, err = client.WaitVolume(t.Context(), v.ID)
	require.ErrorIs(t, err, cwsandbox.ErrPrecondition)
	assert.ErrorContains(t, err, v.StateReason)

	ids := func(opts ...cwsandbox.VolumeListOption) (ids []string) {
		for v, err := range client.RegisteredVolumes(t.Context(), opts...) {
			require.NoError(t, err)
			ids = append(ids, v.ID)
		}
		return ids
	}
	assert.Equal(t, []string{v.ID}, ids(cwsandbox.WithVolumeStates(cwsandbox.VolumeStateError), cwsandbox.WithRunners("local-runner")))
	assert.Empty(t, ids(cwsandbox.WithVolumeStates(cwsandbox.VolumeStateReady)))

	require.NoError(t, client.DeleteVolume(t.Context(), v.ID))
	_, err = client.RegisteredVolume(t.Context(), v.ID)
	require.ErrorIs(t, err, cwsandbox.ErrNotFound)
	assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonVolumeNotFound))
	require.ErrorIs(t, client.DeleteVolume(t.Context(), v.ID), cwsandbox.ErrNotFound)
	require.NoError(t, client.DeleteVolume(t.Context(), v.ID, cwsandbox.MissingOK()))
}

func TestSettingsOfTheServer(t *testing.T) {
	client := cwsandboxtest.NewServer(t).Client()
	ctx := t.Context()
	t.Run("snapshot bucket", func(t *testing.T) {
		managed, err := client.SnapshotBucket(ctx)
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.SnapshotBucketManaged, managed.Mode)
		own, err := client.UpdateSnapshotBucket(ctx, cwsandbox.SnapshotBucket{Name: "mine", Region: "here"})
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.SnapshotBucket{Name: "mine", Region: "here", Mode: cwsandbox.SnapshotBucketOwn, EffectiveName: "mine"}, own)
		own, err = client.UpdateSnapshotBucket(ctx, cwsandbox.SnapshotBucket{Region: "there"}, "region")
		require.NoError(t, err)
		assert.Equal(t, "mine", own.Name)
		back, err := client.UpdateSnapshotBucket(ctx, cwsandbox.SnapshotBucket{})
		require.NoError(t, err)
		assert.Equal(t, managed, back)
	})
	t.Run("identity federation", func(t *testing.T) {
		_, err := client.IdentityFederation(ctx)
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
		made, err := client.UpdateIdentityFederation(ctx, cwsandbox.IdentityFederation{
			ID: "wif", Enabled: true, AllowedBuckets: []string{"b"}, MaxPermission: cwsandbox.ObjectStorageRead,
		})
		require.NoError(t, err)
		assert.False(t, made.CreateTime.IsZero())
		off, err := client.UpdateIdentityFederation(ctx, cwsandbox.IdentityFederation{}, "enabled")
		require.NoError(t, err)
		assert.False(t, off.Enabled)
		assert.Equal(t, []string{"b"}, off.AllowedBuckets)
		require.NoError(t, client.DeleteIdentityFederation(ctx))
		require.ErrorIs(t, client.DeleteIdentityFederation(ctx), cwsandbox.ErrNotFound)
		require.NoError(t, client.DeleteIdentityFederation(ctx, cwsandbox.MissingOK()))
	})
	t.Run("build storage", func(t *testing.T) {
		first, err := client.BuildStorage(ctx)
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.BuildStorageManaged, first.Mode)
		own := first
		own.Enabled, own.Mode, own.Bucket = true, cwsandbox.BuildStorageOwn, "mine"
		second, err := client.UpdateBuildStorage(ctx, own)
		require.NoError(t, err)
		assert.Equal(t, "mine", second.EffectiveBucket)
		assert.Equal(t, first.Revision+1, second.Revision)
		_, err = client.UpdateBuildStorage(ctx, first)
		require.ErrorIs(t, err, cwsandbox.ErrConflict, "somebody else came first")
		second.Location = "there"
		third, err := client.UpdateBuildStorage(ctx, second, "location")
		require.NoError(t, err)
		assert.Equal(t, "there", third.Location)
	})
	t.Run("secret stores", func(t *testing.T) {
		given := cwsandbox.SecretStore{
			Name: "team-secrets", Provider: cwsandbox.SecretStoreWandB, WandB: &cwsandbox.WandBStore{APIURL: "https://api.example.com", Team: "a"},
		}
		_, err := client.CreateSecretStore(ctx, given)
		require.NoError(t, err)
		_, err = client.CreateSecretStore(ctx, given)
		require.ErrorIs(t, err, cwsandbox.ErrConflict)
		given.WandB = &cwsandbox.WandBStore{Team: "b"}
		got, err := client.UpdateSecretStore(ctx, given, "wandb.team")
		require.NoError(t, err)
		assert.Equal(t, &cwsandbox.WandBStore{APIURL: "https://api.example.com", Team: "b"}, got.WandB)
		read, err := client.SecretStore(ctx, given.Name)
		require.NoError(t, err)
		assert.Equal(t, got, read)
		all, err := cwsandbox.Collect(client.SecretStores(ctx))
		require.NoError(t, err)
		assert.Equal(t, []cwsandbox.SecretStore{got}, all)
		require.NoError(t, client.DeleteSecretStore(ctx, given.Name))
		_, err = client.SecretStore(ctx, given.Name)
		require.ErrorIs(t, err, cwsandbox.ErrNotFound)
	})
}

func TestTemplatesOfTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	control := cwsandboxtest.NewServer(t)
	ctx := t.Context()
	client := server.Client()
	made, err := client.CreateTemplate(ctx, "build", cwsandbox.WithImage("golang:1.26"), cwsandbox.WithTags("a"), cwsandbox.WithMaxLifetime(time.Hour))
	require.NoError(t, err)
	assert.EqualValues(t, 1, made.Revision)
	assert.Equal(t, "golang:1.26", made.Spec.Containers[0].Image)
	assert.Empty(t, made.Spec.Containers[0].Command)
	assert.Equal(t, time.Hour, made.Spec.MaxLifetime)
	assert.Equal(t, "local-user", made.CreatorID)
	for _, key := range []string{made.ID, "build"} {
		got, err := client.Template(ctx, key)
		require.NoError(t, err)
		assert.Equal(t, made.ID, got.ID)
	}
	_, err = client.CreateTemplate(ctx, "build")
	require.ErrorIs(t, err, cwsandbox.ErrConflict)

	got, err := client.UpdateTemplate(ctx, made.ID, cwsandbox.WithTags("b"))
	require.NoError(t, err)
	assert.EqualValues(t, 2, got.Revision)
	assert.Equal(t, []string{"b"}, got.Spec.Tags)
	assert.Equal(t, time.Hour, got.Spec.MaxLifetime, "the rest stays")
	got, err = client.UpdateTemplate(ctx, made.ID, cwsandbox.WithDisplayName("test"), cwsandbox.WithAttachments(map[string]any{"a": "b"}))
	require.NoError(t, err)
	assert.Equal(t, "test", got.Name)
	assert.True(t, got.RequiresCKS)
	got, err = client.ReplaceTemplate(ctx, made.ID, "test", cwsandbox.WithTags("c"))
	require.NoError(t, err)
	assert.Equal(t, []string{"c"}, got.Spec.Tags)
	assert.Empty(t, got.Spec.Containers)
	assert.Nil(t, got.Attachments)

	require.NoError(t, client.DeleteTemplate(ctx, made.ID))
	require.ErrorIs(t, client.DeleteTemplate(ctx, made.ID), cwsandbox.ErrNotFound)
	require.NoError(t, client.DeleteTemplate(ctx, made.ID, cwsandbox.MissingOK()))
	_, err = client.Template(ctx, made.ID)
	require.ErrorIs(t, err, cwsandbox.ErrNotFound)
	gone, err := client.Template(ctx, made.ID, cwsandbox.WithDeleted())
	require.NoError(t, err)
	assert.True(t, gone.Deleted)
	active, err := cwsandbox.Collect(client.Templates(ctx))
	require.NoError(t, err)
	assert.Empty(t, active)
	all, err := cwsandbox.Collect(client.Templates(ctx, cwsandbox.WithDeleted()))
	require.NoError(t, err)
	assert.Len(t, all, 1)

	t.Run("they are on the control plane", func(t *testing.T) {
		client, err := cwsandbox.NewClient(cwsandbox.WithBaseURL(server.URL()), cwsandbox.WithControlPlaneURL(control.URL()),
			cwsandbox.WithAPIKey(control.APIKey()))
		require.NoError(t, err)
		defer client.Close()
		_, err = client.CreateTemplate(ctx, "elsewhere")
		require.NoError(t, err)
		assert.Len(t, control.Calls("CreateSandboxTemplate"), 1)
		_, err = client.SnapshotBucket(ctx)
		assert.True(t, errors.Is(err, cwsandbox.ErrUnauthenticated), "settings are not: the key is of the other server (%v)", err)
	})
}
