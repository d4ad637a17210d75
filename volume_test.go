package cwsandbox

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestVolumesAreValidated(t *testing.T) {
	const mount = "spec.containers[0].volume_mounts[0].mount_path"
	t.Run("K-085", func(t *testing.T) {
		for _, path := range []string{"rel", "/", "/a/../b", "/a/", "/etc/x", "/etc", "/proc/1", "/var/run/secrets/x", "/" + strings.Repeat("ä", 256), "/a\x00"} {
			err := createError(WithVolumes(Volume{Name: "v", Path: path}))
			require.ErrorIs(t, err, ErrInvalidArgument, path)
			assert.Equal(t, []string{mount}, fields(err), path)
			assert.Equal(t, []string{mount}, fields(createError(WithScratch(path, ""))), path)
		}
		assert.NoError(t, createError(WithVolumes(Volume{Name: "v", Path: "/" + strings.Repeat("ä", 255)}, Volume{Name: "w", Path: "/etcetera"})))
		assert.Equal(t, []string{mount}, fields(createError(WithScratch("", ""))))
	})
	t.Run("K-086", func(t *testing.T) {
		for file, path := range map[string]string{"/data/f": "/data", "/data": "/data/f", "/same": "/same"} {
			for _, opts := range [][]Option{
				{WithFile(file, nil), WithScratch(path, "")},
				{WithScratch(path, ""), WithFile(file, nil)},
				{WithVolumes(Volume{Name: "v"}), WithContainers(Container{Image: "i", Files: []File{{Path: file}}, Mounts: []VolumeMount{{Volume: "v", Path: path}}})},
			} {
				assert.Equal(t, []string{mount}, fields(createError(opts...)), "%s over %s", path, file)
			}
		}
		assert.NoError(t, createError(WithFile("/data2", nil), WithScratch("/data", "")))
	})
	t.Run("K-087", func(t *testing.T) {
		for _, name := range []string{"", strings.Repeat("v", 64), "a b", "ä", "a.b"} {
			err := createError(WithVolumes(Volume{Name: "good"}, Volume{Name: name}))
			require.ErrorIs(t, err, ErrInvalidArgument, name)
			assert.Equal(t, []string{"spec.volumes[1].name"}, fields(err), name)
			assert.ErrorContains(t, err, "WithVolumes")
		}
		assert.Equal(t, []string{"spec.volumes[1].name"}, fields(createError(WithVolumes(Volume{Name: "v"}, Volume{Name: "v"}))))
		assert.NoError(t, createError(WithVolumes(Volume{Name: strings.Repeat("v", 63)}, Volume{Name: "A_b-1"})))
	})
	t.Run("sizes and media", func(t *testing.T) {
		for want, volumes := range map[string][]Volume{
			"scratch.size": {
				{Medium: MediumMemory}, {Size: "50%"}, {Size: "0"}, {Size: "-1"}, {Size: "1e3Mi"}, {Size: "x"},
				{Medium: MediumMemory, Size: "0%"}, {Medium: MediumMemory, Size: "101%"}, {Medium: MediumMemory, Size: "1.5%"},
			},
			"scratch.medium":                   {{Medium: 3}, {Medium: -1}},
			"scratch.restore_from_snapshot_id": {{SnapshotID: " "}},
			"volume_id":                        {{VolumeID: "v", Size: "1Gi"}, {VolumeID: "v", SnapshotID: "s"}, {VolumeID: "v", Medium: MediumDisk}, {VolumeID: " "}},
			"path":                             {{SubPath: "a"}, {ReadOnly: true}},
		} {
			for _, v := range volumes {
				v.Name = "v"
				assert.Equal(t, []string{"spec.volumes[0]." + want}, fields(createError(WithVolumes(v))), "%+v", v)
			}
		}
		assert.NoError(t, createError(WithVolumes(Volume{Name: "a", Medium: MediumMemory, Size: "100%"}, Volume{Name: "b", Size: "1.5Gi"})))
		assert.Equal(t, []string{"disk", "memory", "Medium(7)"}, []string{MediumDisk.String(), MediumMemory.String(), Medium(7).String()})
	})
	t.Run("mounts", func(t *testing.T) {
		for want, mounts := range map[string][]VolumeMount{
			"[0].volume":     {{Volume: "other", Path: "/a"}},
			"[0].sub_path":   {{Volume: "v", Path: "/a", SubPath: "../x"}},
			"[1].mount_path": {{Volume: "v", Path: "/a"}, {Volume: "v", Path: "/a", SubPath: "x"}},
		} {
			err := createError(WithVolumes(Volume{Name: "v"}), WithContainers(Container{Image: "i", Mounts: mounts}))
			assert.Equal(t, []string{"spec.containers[0].volume_mounts" + want}, fields(err))
		}
		for _, sub := range []string{"/abs", ".", "..", "a/../b", "a/"} {
			assert.Len(t, fields(createError(WithVolumes(Volume{Name: "v", Path: "/v", SubPath: sub}))), 1, sub)
		}
	})
	t.Run("two ways to say it", func(t *testing.T) {
		err := createError(WithVolumes(Volume{Name: "v"}), WithScratch("/w", ""))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "spec.volumes: must not be given by WithVolumes too (WithScratch)")
		assert.Error(t, createError(WithScratch("/w", ""), WithRestored("/w", "fss-1")))
	})
}

func TestVolumesAsSent(t *testing.T) {
	volumes := []Volume{
		{Name: "work", Path: "/files", SubPath: "a/b", ReadOnly: true, Size: "10Gi", SnapshotID: "fss-1"},
		{Name: "fast", Medium: MediumMemory, Size: "50%"},
		{Name: "data", Path: "/data", VolumeID: "vol-1"},
	}
	option := WithVolumes(volumes...)
	volumes[0].Name = "changed"
	spec := merged(t, nil, []Option{option, WithContainers(
		Container{Name: "a", Image: "i", Resources: small, Mounts: []VolumeMount{{Volume: "fast", Path: "/fast", ReadOnly: true}}},
		Container{Name: "b", Image: "i", Resources: small, Primary: true},
	)}).spec()
	want := &sandboxv1.SandboxSpec{Volumes: []*sandboxv1.SandboxVolume{
		{Name: "work", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{Size: "10Gi", RestoreFromSnapshotId: "fss-1"}}},
		{Name: "fast", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{Size: "50%", Medium: sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY}}},
		{Name: "data", Source: &sandboxv1.SandboxVolume_VolumeId{VolumeId: "vol-1"}},
	}}
	assert.True(t, proto.Equal(want, &sandboxv1.SandboxSpec{Volumes: spec.GetVolumes()}), "%v", spec.GetVolumes())
	assert.True(t, proto.Equal(&sandboxv1.VolumeMount{Volume: "fast", MountPath: "/fast", ReadOnly: true}, spec.GetContainers()[0].GetVolumeMounts()[0]))
	primary := spec.GetContainers()[1].GetVolumeMounts()
	require.Len(t, primary, 2)
	assert.True(t, proto.Equal(&sandboxv1.VolumeMount{Volume: "work", MountPath: "/files", SubPath: "a/b", ReadOnly: true}, primary[0]))
	assert.True(t, proto.Equal(&sandboxv1.VolumeMount{Volume: "data", MountPath: "/data"}, primary[1]))

	t.Run("a call replaces what a weaker layer says", func(t *testing.T) {
		session := []Option{Defaults(WithScratch("/scratch", "1Gi"))}
		assert.Equal(t, "workspace", merged(t, session, nil).spec().GetVolumes()[0].GetName())
		assert.Equal(t, "v", merged(t, session, []Option{WithVolumes(Volume{Name: "v"})}).spec().GetVolumes()[0].GetName())
		assert.Empty(t, merged(t, session, []Option{WithVolumes()}).spec().GetVolumes())
		restored := merged(t, session, []Option{WithRestored("/scratch", "fss-1")}).spec().GetVolumes()
		require.Len(t, restored, 1)
		assert.Equal(t, "fss-1", restored[0].GetScratch().GetRestoreFromSnapshotId())
	})
	t.Run("as the service repeats them", func(t *testing.T) {
		sb := record("sb-1", sandboxv1.State_STATE_RUNNING)
		sb.Spec = spec
		sb.Status.AttachedVolumeIds = []string{"vol-1"}
		info := infoOf(sb, sb.GetStatus().GetCreateTime().AsTime())
		volumes[0].Name = "work"
		assert.Equal(t, volumes, info.Volumes)
		assert.Equal(t, []string{"vol-1"}, info.VolumeIDs)
		assert.Equal(t, []VolumeMount{{Volume: "fast", Path: "/fast", ReadOnly: true}}, info.Containers[0].Spec.Mounts)
	})
}

func TestMountThatIsSaidTwice(t *testing.T) {
	volume := WithVolumes(Volume{Name: "v", Path: "/data"})
	in := func(mounts ...VolumeMount) []Option {
		return []Option{volume, WithContainers(Container{Name: "a", Image: "i", Mounts: mounts})}
	}
	same, other := VolumeMount{Volume: "v", Path: "/data"}, VolumeMount{Volume: "v", Path: "/other"}
	_, c := sent(t, nil, in(same, other))
	assert.Equal(t, []VolumeMount{same, other}, mountsOf(c.GetVolumeMounts()))
	_, err := newCreateConfig("create", environment{}, nil, in(VolumeMount{Volume: "v", Path: "/data", ReadOnly: true}))
	requireViolations(t, err, "spec.containers[0].volume_mounts[1].mount_path")
}
