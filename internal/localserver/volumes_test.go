package localserver

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	aVolume    = sandboxv1.Volume
	volumeSpec = sandboxv1.VolumeSpec
	pvcSource  = sandboxv1.PvcVolumeSource
)

func (w *world) volumes() sandboxv1.VolumeServiceClient {
	return sandboxv1.NewVolumeServiceClient(w.cc)
}

func (w *world) createVolume(spec *volumeSpec) *aVolume {
	w.Helper()
	v, err := w.volumes().CreateVolume(w.ctx, &sandboxv1.CreateVolumeRequest{Volume: &aVolume{Spec: spec}})
	require.NoError(w, err)
	return v
}

func (w *world) getVolume(id string) (*aVolume, error) {
	return w.volumes().GetVolume(w.ctx, &sandboxv1.GetVolumeRequest{VolumeId: id})
}

func (w *world) updateVolume(id string, v *aVolume, paths ...string) (*aVolume, error) {
	return w.volumes().UpdateVolume(w.ctx, &sandboxv1.UpdateVolumeRequest{VolumeId: id, Volume: v, UpdateMask: maskOf(paths)})
}

func (w *world) deleteVolume(req *sandboxv1.DeleteVolumeRequest) (*aVolume, error) {
	return w.volumes().DeleteVolume(w.ctx, req)
}

// withClaim are the options of a server that has a claim, ns/data.
func withClaim(dir string) Options {
	return Options{Runtime: scripted.New(programs...), Claims: []Claim{{Namespace: "ns", Name: "data", Dir: dir}}}
}

// aClaim registers the claim of withClaim.
func aClaim(changes ...func(*volumeSpec)) *volumeSpec {
	spec := &volumeSpec{Source: &sandboxv1.VolumeSpec_Pvc{Pvc: &pvcSource{RunnerId: "local-runner", Namespace: "ns", ClaimName: "data"}}}
	for _, change := range changes {
		change(spec)
	}
	return spec
}

func subPath(sub string) func(*volumeSpec) {
	return func(s *volumeSpec) { s.GetPvc().SubPath = sub }
}

var isNoVolume = refused{code: codes.NotFound, reason: "CWSANDBOX_VOLUME_NOT_FOUND"}

func TestVolumes(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "sub"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	require.NoError(t, os.Symlink("/", filepath.Join(dir, "out")))

	t.Run("C-175 VALIDATING to READY", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			began := time.Now()
			made := w.createVolume(aClaim(func(s *volumeSpec) { s.ReadOnly, s.Description = true, "for people" }))
			assert.NotEmpty(t, made.GetVolumeId())
			assert.Equal(t, volumeValidating, made.GetStatus().GetState())
			got, err := w.getVolume(made.GetVolumeId())
			require.NoError(t, err)
			st := got.GetStatus()
			assert.Equal(t, volumeReady, st.GetState())
			assert.Empty(t, st.GetStateReason())
			assert.Equal(t, sandboxv1.VolumeLocality_VOLUME_LOCALITY_CLUSTER_LOCAL, st.GetLocality())
			assert.WithinDuration(t, began, st.GetCreateTime().AsTime(), 0)
			assert.WithinDuration(t, began, st.GetLastValidatedTime().AsTime(), 0)
			assert.Equal(t, []string{"ReadWriteMany"}, st.GetAccessModes())
			assert.Zero(t, st.GetAttachedSandboxCount())
			assert.True(t, proto.Equal(made.GetSpec(), got.GetSpec()))
		})
	})
	t.Run("C-175 VALIDATING to ERROR", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			for _, spec := range []*volumeSpec{
				aClaim(func(s *volumeSpec) { s.GetPvc().ClaimName = "other" }),
				aClaim(func(s *volumeSpec) { s.GetPvc().Namespace = "other" }),
				aClaim(func(s *volumeSpec) { s.GetPvc().RunnerId = "other" }),
				aClaim(subPath("missing")), aClaim(subPath("file")), aClaim(subPath("out")), aClaim(subPath("out/tmp")),
			} {
				made := w.createVolume(spec)
				assert.Equal(t, volumeValidating, made.GetStatus().GetState(), "%v", spec)
				got, err := w.getVolume(made.GetVolumeId())
				require.NoError(t, err)
				assert.Equal(t, volumeError, got.GetStatus().GetState(), "%v", spec)
				assert.Contains(t, got.GetStatus().GetStateReason(), "CWSANDBOX_VOLUME_BACKEND_NOT_FOUND")
				assert.Empty(t, got.GetStatus().GetAccessModes())
			}
		})
	})
	t.Run("C-175 validate looks again", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			id := w.createVolume(aClaim(subPath("later"))).GetVolumeId()
			time.Sleep(time.Minute)
			validate := func() *aVolume {
				v, err := w.volumes().ValidateVolume(w.ctx, &sandboxv1.ValidateVolumeRequest{VolumeId: id})
				require.NoError(t, err)
				got, err := w.getVolume(id)
				require.NoError(t, err)
				assert.True(t, proto.Equal(v, got))
				return v
			}
			require.NoError(t, os.Mkdir(filepath.Join(dir, "later"), 0o755))
			v := validate()
			assert.Equal(t, volumeReady, v.GetStatus().GetState())
			assert.Equal(t, time.Minute, v.GetStatus().GetLastValidatedTime().AsTime().Sub(v.GetStatus().GetCreateTime().AsTime()))
			require.NoError(t, os.Remove(filepath.Join(dir, "later")))
			assert.Equal(t, volumeError, validate().GetStatus().GetState())
		})
	})
	t.Run("C-175 update of the description only", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			made := w.createVolume(aClaim(subPath("sub")))
			id := made.GetVolumeId()
			time.Sleep(time.Minute)
			got, err := w.updateVolume(id, &aVolume{Spec: &volumeSpec{Description: "one", ReadOnly: true}}, "spec.description")
			require.NoError(t, err, "what the mask leaves out is not looked at")
			assert.Equal(t, "one", got.GetSpec().GetDescription())
			assert.False(t, got.GetSpec().GetReadOnly())
			assert.Equal(t, time.Minute, got.GetStatus().GetUpdateTime().AsTime().Sub(got.GetStatus().GetCreateTime().AsTime()))

			same := aClaim(subPath("sub"), func(s *volumeSpec) { s.Description = "two" })
			for _, mask := range [][]string{nil, {"*"}, {"spec"}, {"spec.description", "spec.read_only", "spec.pvc"}} {
				got, err = w.updateVolume(id, &aVolume{VolumeId: id, Spec: same}, mask...)
				require.NoError(t, err, mask)
				assert.True(t, proto.Equal(same, got.GetSpec()), mask)
			}
			for field, v := range map[string]*aVolume{
				"volume_id":      {VolumeId: "other", Spec: same},
				"spec.pvc":       {Spec: aClaim(subPath("other"))},
				"spec.read_only": {Spec: aClaim(subPath("sub"), func(s *volumeSpec) { s.ReadOnly = true })},
			} {
				_, err = w.updateVolume(id, v)
				w.requireRefused(badField(field), err)
			}
			_, err = w.updateVolume(id, &aVolume{Spec: &volumeSpec{Description: "three"}})
			w.requireRefused(badField("spec.pvc"), err)
			for _, path := range []string{"status", "status.state", "spec.nonsense", "nonsense"} {
				_, err = w.updateVolume(id, &aVolume{Spec: same}, path)
				w.requireRefused(badField("update_mask"), err)
			}
			read, err := w.getVolume(id)
			require.NoError(t, err)
			assert.True(t, proto.Equal(got, read), "what was refused changes nothing")
		})
	})
	t.Run("C-175 delete", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			id := w.createVolume(aClaim()).GetVolumeId()
			gone, err := w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: id})
			require.NoError(t, err)
			assert.Equal(t, volumeDeleting, gone.GetStatus().GetState())
			_, err = w.getVolume(id)
			w.requireRefused(isNoVolume, err)
			assert.Equal(t, id, w.info(err).GetMetadata()["volume_id"])
			_, err = w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: id})
			w.requireRefused(isNoVolume, err)
			empty, err := w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: id, AllowMissing: true})
			require.NoError(t, err)
			assert.True(t, proto.Equal(&aVolume{}, empty))
			_, err = os.Stat(filepath.Join(dir, "sub"))
			assert.NoError(t, err, "the data stays")
		})
	})
	t.Run("C-175 lists", func(t *testing.T) {
		o := withClaim(dir)
		o.Claims = append(o.Claims, Claim{Runner: "second", Namespace: "ns", Name: "data", Dir: dir})
		inWorld(t, o, func(w *world) {
			ready := w.createVolume(aClaim()).GetVolumeId()
			second := w.createVolume(aClaim(func(s *volumeSpec) { s.GetPvc().RunnerId = "second" })).GetVolumeId()
			broken := w.createVolume(aClaim(subPath("missing"))).GetVolumeId()
			list := func(req *sandboxv1.ListVolumesRequest) (ids []string) {
				resp, err := w.volumes().ListVolumes(w.ctx, req)
				require.NoError(t, err)
				for _, v := range resp.GetVolumes() {
					ids = append(ids, v.GetVolumeId())
				}
				return ids
			}
			assert.Equal(t, []string{broken, second, ready}, list(&sandboxv1.ListVolumesRequest{}))
			assert.Equal(t, []string{broken, ready}, list(&sandboxv1.ListVolumesRequest{RunnerIds: []string{"local-runner", "x"}}))
			states := []sandboxv1.VolumeState{volumeReady, volumeDeleting}
			assert.Equal(t, []string{second, ready}, list(&sandboxv1.ListVolumesRequest{States: states}))
			assert.Equal(t, []string{second}, list(&sandboxv1.ListVolumesRequest{States: states, RunnerIds: []string{"second"}}))
			assert.Equal(t, []string{broken}, list(&sandboxv1.ListVolumesRequest{PageSize: 1}))
			_, err := w.volumes().ListVolumes(w.ctx, &sandboxv1.ListVolumesRequest{PageSize: -1})
			w.requireRefused(badField("page_size"), err)
		})
	})
	t.Run("requests are checked", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			for _, row := range []struct {
				v      *aVolume
				fields []string
			}{
				{nil, []string{"volume"}},
				{&aVolume{}, []string{"spec"}},
				{&aVolume{Spec: &volumeSpec{}}, []string{"spec.pvc"}},
				{
					&aVolume{Spec: &volumeSpec{Source: &sandboxv1.VolumeSpec_Pvc{Pvc: &pvcSource{SubPath: "/a"}}}},
					[]string{"spec.pvc.runner_id", "spec.pvc.namespace", "spec.pvc.claim_name", "spec.pvc.sub_path"},
				},
				{&aVolume{Spec: aClaim(subPath("a/../b"))}, []string{"spec.pvc.sub_path"}},
				{&aVolume{Spec: aClaim(subPath(".."))}, []string{"spec.pvc.sub_path"}},
			} {
				_, err := w.volumes().CreateVolume(w.ctx, &sandboxv1.CreateVolumeRequest{Volume: row.v})
				w.requireRefused(badField(row.fields...), err)
			}
			_, err := w.getVolume("")
			w.requireRefused(badField("volume_id"), err)
			_, err = w.updateVolume("", nil)
			w.requireRefused(badField("volume_id", "volume"), err)
			_, err = w.deleteVolume(&sandboxv1.DeleteVolumeRequest{AllowMissing: true})
			w.requireRefused(badField("volume_id"), err)
			_, err = w.volumes().ValidateVolume(w.ctx, &sandboxv1.ValidateVolumeRequest{})
			w.requireRefused(badField("volume_id"), err)
			_, err = w.volumes().ValidateVolume(w.ctx, &sandboxv1.ValidateVolumeRequest{VolumeId: "x"})
			w.requireRefused(isNoVolume, err)
			_, err = w.updateVolume("x", &aVolume{}, "spec.description")
			w.requireRefused(isNoVolume, err)
		})
	})
	t.Run("creates are repeatable", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			req := &sandboxv1.CreateVolumeRequest{Volume: &aVolume{Spec: aClaim()}, RequestId: "k"}
			first, err := w.volumes().CreateVolume(w.ctx, req)
			require.NoError(t, err)
			again, err := w.volumes().CreateVolume(w.ctx, req)
			require.NoError(t, err)
			assert.True(t, proto.Equal(first, again))
			req.Volume.Spec.ReadOnly = true
			_, err = w.volumes().CreateVolume(w.ctx, req)
			w.requireRefused(badField("request_id"), err)
		})
	})
	t.Run("quota", func(t *testing.T) {
		o := withClaim(dir)
		o.MaxVolumes = 1
		inWorld(t, o, func(w *world) {
			id := w.createVolume(aClaim()).GetVolumeId()
			req := &sandboxv1.CreateVolumeRequest{Volume: &aVolume{Spec: aClaim()}}
			_, err := w.volumes().CreateVolume(w.ctx, req)
			w.requireRefused(refused{code: codes.ResourceExhausted, reason: "CWSANDBOX_VOLUME_QUOTA_EXCEEDED"}, err)
			_, err = w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: id})
			require.NoError(t, err)
			_, err = w.volumes().CreateVolume(w.ctx, req)
			require.NoError(t, err)
		})
	})
	t.Run("impossible claims", func(t *testing.T) {
		for _, c := range []Claim{{}, {Namespace: "ns", Dir: "/x"}, {Name: "n", Dir: "/x"}, {Namespace: "ns", Name: "n", Dir: "x"}} {
			_, err := New(Options{Runtime: scripted.New(), Claims: []Claim{c}})
			assert.ErrorContains(t, err, "claim")
		}
	})
}

// withVolume gives a sandbox a registered volume, mounted at /data.
func withVolume(id string, readOnly bool) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) {
		s.Mode = sandboxv1.SandboxMode_SANDBOX_MODE_CKS
		s.Volumes = append(s.Volumes, &sandboxv1.SandboxVolume{Name: "data", Source: &sandboxv1.SandboxVolume_VolumeId{VolumeId: id}})
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, &sandboxv1.VolumeMount{
			Volume: "data", MountPath: "/data", ReadOnly: readOnly,
		})
	}
}

func (w *world) tryWrite(id, path, content string) error {
	_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: path, Content: []byte(content)})
	return err
}

func TestAttachedVolumes(t *testing.T) {
	dir := t.TempDir()
	t.Run("C-176 shared live, and read-only where asked", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			volume := w.createVolume(aClaim()).GetVolumeId()
			fixed := w.createVolume(aClaim(func(s *volumeSpec) { s.ReadOnly = true })).GetVolumeId()
			one, other := w.run(withVolume(volume, false)), w.run(withVolume(volume, false))
			require.NoError(t, w.tryWrite(one, "/data/f", "hello"))
			assert.Equal(t, "hello", w.read(other, "/data/f"))
			require.NoError(t, w.tryWrite(other, "/data/f", "changed"))
			assert.Equal(t, "changed", w.read(one, "/data/f"))

			denied := refused{code: codes.Internal, reason: "CWSANDBOX_FILE_PERMISSION_DENIED"}
			for _, id := range []string{w.run(withVolume(volume, true)), w.run(withVolume(fixed, false))} {
				assert.Equal(t, "changed", w.read(id, "/data/f"))
				w.requireRefused(denied, w.tryWrite(id, "/data/f", "no"))
			}
		})
	})
	t.Run("C-175 in use until the sandbox has ended", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			volume := w.createVolume(aClaim()).GetVolumeId()
			other := w.createVolume(aClaim()).GetVolumeId()
			ids := []string{w.run(withVolume(volume, false)), w.run(withVolume(volume, true))}
			assert.Equal(t, []string{volume}, w.get(ids[0]).GetStatus().GetAttachedVolumeIds())
			count := func(id string) int32 {
				v, err := w.getVolume(id)
				require.NoError(t, err)
				list, err := w.volumes().ListVolumes(w.ctx, &sandboxv1.ListVolumesRequest{})
				require.NoError(t, err)
				for _, listed := range list.GetVolumes() {
					if listed.GetVolumeId() == id {
						assert.True(t, proto.Equal(v, listed))
					}
				}
				return v.GetStatus().GetAttachedSandboxCount()
			}
			assert.EqualValues(t, 2, count(volume))
			assert.Zero(t, count(other))
			assert.ElementsMatch(t, ids, w.list(&sandboxv1.ListSandboxesRequest{VolumeIds: []string{volume, "x"}}))
			assert.Empty(t, w.list(&sandboxv1.ListSandboxesRequest{VolumeIds: []string{other}}))

			inUse := refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_VOLUME_IN_USE"}
			for _, id := range ids {
				_, err := w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: volume, AllowMissing: true})
				w.requireRefused(inUse, err)
				assert.Equal(t, volume, w.info(err).GetMetadata()["volume_id"])
				w.delete(id, 0)
				synctest.Wait()
			}
			assert.Zero(t, count(volume))
			_, err := w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: volume})
			require.NoError(t, err)
		})
	})
	t.Run("C-175 force takes a volume that is in use; its sandbox keeps it", func(t *testing.T) {
		inWorld(t, withClaim(dir), func(w *world) {
			volume := w.createVolume(aClaim()).GetVolumeId()
			id := w.run(withVolume(volume, false))
			_, err := w.deleteVolume(&sandboxv1.DeleteVolumeRequest{VolumeId: volume, Force: true})
			require.NoError(t, err)
			_, err = w.getVolume(volume)
			w.requireRefused(isNoVolume, err)
			require.NoError(t, w.tryWrite(id, "/data/f", "still there"))
		})
	})
	t.Run("creates are refused", func(t *testing.T) {
		o := withClaim(dir)
		o.Keys = twoKeys.Keys
		inWorld(t, o, func(w *world) {
			create := func(change ...func(*sandboxv1.SandboxSpec)) error {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(change...)))
				return err
			}
			err := create(withVolume("vol-x", false))
			w.requireRefused(isNoVolume, err)
			assert.Equal(t, "vol-x", w.info(err).GetMetadata()["volume_id"])

			broken := w.createVolume(aClaim(subPath("missing"))).GetVolumeId()
			err = create(withVolume(broken, false))
			w.requireRefused(refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_VOLUME_NOT_READY"}, err)
			assert.Equal(t, broken, w.info(err).GetMetadata()["volume_id"])

			ready := w.createVolume(aClaim()).GetVolumeId()
			for _, mode := range []sandboxv1.SandboxMode{0, sandboxv1.SandboxMode_SANDBOX_MODE_SERVERLESS} {
				err = create(withVolume(ready, false), func(s *sandboxv1.SandboxSpec) { s.Mode = mode })
				w.requireRefused(badField("spec.volumes[0].volume_id"), err)
			}
			require.NoError(t, create(withVolume(ready, false)))
			w.ctx = as(context.Background(), "other")
			w.requireRefused(isNoVolume, create(withVolume(ready, false)))
		})
	})
}
