package localserver

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	snapshotRequest = sandboxv1.CreateFileSystemSnapshotRequest
	snapshotsQuery  = sandboxv1.ListFileSystemSnapshotsRequest
	deleteRequest   = sandboxv1.DeleteSandboxRequest
	fsSnapshot      = sandboxv1.FileSystemSnapshot
)

const (
	snapshotCreating = sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING
	snapshotReady    = sandboxv1.SnapshotState_SNAPSHOT_STATE_READY
	snapshotFailed   = sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED
	snapshotDeleting = sandboxv1.SnapshotState_SNAPSHOT_STATE_DELETING
)

// withScratch adds a scratch volume for each name, mounted at /name.
func withScratch(names ...string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) {
		for _, name := range names {
			s.Volumes = append(s.Volumes, &sandboxv1.SandboxVolume{Name: name})
			for _, c := range s.Containers {
				c.VolumeMounts = append(c.VolumeMounts, &sandboxv1.VolumeMount{Volume: name, MountPath: "/" + name})
			}
		}
	}
}

// restored adds a volume that is filled from a snapshot.
func restored(name, snapshot string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) {
		withScratch(name)(s)
		s.Volumes[len(s.Volumes)-1].Source = &sandboxv1.SandboxVolume_Scratch{
			Scratch: &sandboxv1.ScratchVolume{RestoreFromSnapshotId: snapshot},
		}
	}
}

func (w *world) write(id, path, content string) {
	w.Helper()
	_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: path, Content: []byte(content)})
	require.NoError(w, err)
}

func (w *world) read(id, path string) string {
	w.Helper()
	resp, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: path})
	require.NoError(w, err)
	return string(resp.GetContent())
}

func (w *world) snapshot(req *snapshotRequest) *fsSnapshot {
	w.Helper()
	sn, err := w.api.CreateFileSystemSnapshot(w.ctx, req)
	require.NoError(w, err)
	return sn
}

// taken is snapshot, and then its end.
func (w *world) taken(id string) *fsSnapshot {
	w.Helper()
	sn := w.snapshot(&snapshotRequest{SandboxId: id})
	synctest.Wait()
	return w.getSnapshot(sn.GetFileSystemSnapshotId())
}

func (w *world) getSnapshot(id string) *fsSnapshot {
	w.Helper()
	sn, err := w.api.GetFileSystemSnapshot(w.ctx, &sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: id})
	require.NoError(w, err)
	return sn
}

func (w *world) deleteSnapshot(id string) *fsSnapshot {
	w.Helper()
	sn, err := w.api.DeleteFileSystemSnapshot(w.ctx, &sandboxv1.DeleteFileSystemSnapshotRequest{FileSystemSnapshotId: id})
	require.NoError(w, err)
	return sn
}

var isUnknownSnapshot = refused{code: codes.NotFound, reason: "CWSANDBOX_FSS_NOT_FOUND"}

func precondition(reason string) refused {
	return refused{code: codes.FailedPrecondition, reason: reason}
}

func TestScratchVolumes(t *testing.T) {
	t.Run("containers share them, and they outlive a restart", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(func(s *sandboxv1.SandboxSpec) {
				primary := true
				s.Containers[0].Primary = &primary
				s.Containers = append(s.Containers, &sandboxv1.Container{Name: "side", Image: "i", Command: "wait-for-term",
					VolumeMounts: []*sandboxv1.VolumeMount{{Volume: "v", MountPath: "/here", SubPath: "part", ReadOnly: true}}})
				s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v"}}
				s.Containers[0].VolumeMounts = []*sandboxv1.VolumeMount{{Volume: "v", MountPath: "/all"}}
			})
			w.write(id, "/all/part/file", "shared")
			resp, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/here/file", Container: "side"})
			require.NoError(t, err)
			assert.Equal(t, "shared", string(resp.GetContent()))
			_, err = w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/here/file", Container: "side"})
			assert.Equal(t, "CWSANDBOX_FILE_PERMISSION_DENIED", w.info(err).GetReason())
		})
	})
	t.Run("a percentage is of all memory that is asked for", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			req := keyed("r", func(s *sandboxv1.SandboxSpec) {
				s.Containers[0].Resources = &sandboxv1.Resources{Cpu: "1", Memory: "2Gi"}
				s.Volumes = []*sandboxv1.SandboxVolume{{Name: "v", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{
					Medium: sandboxv1.StorageMedium_STORAGE_MEDIUM_MEMORY, Size: "25%",
				}}}}
			})
			sb, err := w.api.CreateSandbox(w.ctx, req)
			require.NoError(t, err)
			assert.Equal(t, "512Mi", sb.GetSpec().GetVolumes()[0].GetScratch().GetSize())
			again, err := w.api.CreateSandbox(w.ctx, req)
			require.NoError(t, err)
			assert.Equal(t, sb.GetSandboxId(), again.GetSandboxId(), "the request as it came is what is compared")
			req.RequestId, req.Sandbox.Spec.Containers[0].Resources.Memory = "", ""
			_, err = w.api.CreateSandbox(w.ctx, req)
			w.requireRefused(badField("spec.volumes[0].scratch.size"), err)
		})
	})
}

func TestSnapshots(t *testing.T) {
	t.Run("C-149 from CREATING to READY", func(t *testing.T) {
		inWorld(t, Options{SnapshotDelay: time.Minute}, func(w *world) {
			id := w.run(withScratch("data"))
			w.write(id, "/data/a/file", "hello")
			sn := w.snapshot(&snapshotRequest{SandboxId: id, RequestId: "r"})
			assert.Equal(t, snapshotCreating, sn.GetState())
			assert.Zero(t, sn.GetSizeBytes())
			assert.Nil(t, sn.GetCompleteTime())
			synctest.Wait()
			assert.Equal(t, snapshotCreating, w.getSnapshot(sn.GetFileSystemSnapshotId()).GetState())
			time.Sleep(time.Minute)
			synctest.Wait()
			sn = w.getSnapshot(sn.GetFileSystemSnapshotId())
			assert.Equal(t, snapshotReady, sn.GetState())
			assert.EqualValues(t, 5, sn.GetSizeBytes())
			assert.Equal(t, time.Minute, sn.GetCompleteTime().AsTime().Sub(sn.GetCreateTime().AsTime()))
			assert.Equal(t, sn.GetCompleteTime(), sn.GetUpdatedAt())
			assert.Equal(t, sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_MANUAL, sn.GetTrigger())
			assert.Equal(t, []string{id, "data", "local-managed-bucket", "r"},
				[]string{sn.GetSourceSandboxId(), sn.GetSourceVolumeName(), sn.GetObjectBucket(), sn.GetRequestId()})
		})
	})
	t.Run("C-150 restored", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("data"))
			w.write(id, "/data/a/file", "hello")
			sn := w.taken(id).GetFileSystemSnapshotId()
			w.write(id, "/data/a/file", "later")
			w.delete(id, 0)
			one, two := w.run(restored("mine", sn)), w.run(restored("mine", sn))
			assert.Equal(t, "hello", w.read(one, "/mine/a/file"))
			w.write(one, "/mine/a/file", "changed")
			assert.Equal(t, "hello", w.read(two, "/mine/a/file"))
			assert.Equal(t, "hello", w.read(w.run(restored("mine", sn)), "/mine/a/file"))
		})
	})
	t.Run("C-151 which volume", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for names, want := range map[string]string{"": "", "a": "a", "a b": ""} {
				id := w.run(withScratch(strings.Fields(names)...))
				sn, err := w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id})
				if want == "" {
					w.requireRefused(badField("scratch_volume_name"), err)
					continue
				}
				assert.Equal(t, want, sn.GetSourceVolumeName())
			}
			id := w.run(withScratch("a", "b"))
			assert.Equal(t, "b", w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "b"}).GetSourceVolumeName())
			_, err := w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id, ScratchVolumeName: "c"})
			w.requireRefused(badField("scratch_volume_name"), err)
		})
	})
	t.Run("C-152 not running", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.srv.Hold("held", creating)
			id := w.create(withScratch("v"), tagged("held")).GetSandboxId()
			_, err := w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id})
			w.requireRefused(isNotRunning, err)
			w.srv.Release("held")
			w.delete(id, 0)
			synctest.Wait()
			_, err = w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id})
			w.requireRefused(isNotRunning, err)
			_, err = w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: "sb-none"})
			w.requireRefused(isGone, err)
		})
	})
	t.Run("C-068 repeated", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("a", "b"))
			first := w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "a", RequestId: "r"})
			synctest.Wait()
			again := w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "a", RequestId: "r"})
			assert.Equal(t, first.GetFileSystemSnapshotId(), again.GetFileSystemSnapshotId())
			assert.Equal(t, snapshotReady, again.GetState(), "as it is now")
			_, err := w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id, ScratchVolumeName: "b", RequestId: "r"})
			w.requireRefused(badField("request_id"), err)
			_, err = w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id, RequestId: strings.Repeat("x", 129)})
			w.requireRefused(badField("request_id"), err)
		})
	})
	t.Run("C-156 deleted", func(t *testing.T) {
		inWorld(t, Options{PendingDelay: time.Minute}, func(w *world) {
			id := w.create(withScratch("v")).GetSandboxId()
			time.Sleep(time.Minute)
			synctest.Wait()
			w.write(id, "/v/file", "kept")
			sn := w.taken(id).GetFileSystemSnapshotId()
			waiting := w.create(restored("v", sn)).GetSandboxId()
			assert.Equal(t, snapshotDeleting, w.deleteSnapshot(sn).GetState())
			_, err := w.api.GetFileSystemSnapshot(w.ctx, &sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: sn})
			w.requireRefused(isUnknownSnapshot, err)
			assert.Equal(t, sn, w.info(err).GetMetadata()["file_system_snapshot_id"])
			_, err = w.api.DeleteFileSystemSnapshot(w.ctx, &sandboxv1.DeleteFileSystemSnapshotRequest{FileSystemSnapshotId: sn})
			w.requireRefused(isUnknownSnapshot, err)
			gone, err := w.api.DeleteFileSystemSnapshot(w.ctx, &sandboxv1.DeleteFileSystemSnapshotRequest{FileSystemSnapshotId: sn, AllowMissing: true})
			require.NoError(t, err)
			assert.Empty(t, gone.GetFileSystemSnapshotId())
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Equal(t, "kept", w.read(waiting, "/v/file"), "it was accepted before the snapshot went")
		})
	})
	t.Run("C-157 list", func(t *testing.T) {
		inWorld(t, Options{Keys: []Key{{Token: "a-key"}, {Token: "same", User: "other"}, {Token: "alien", Organization: "x"}}}, func(w *world) {
			one, two := w.run(withScratch("v")), w.run(withScratch("v"))
			var want []string
			for i := range 5 {
				want = append([]string{w.taken(one).GetFileSystemSnapshotId()}, want...)
				if i == 2 {
					w.taken(two)
				}
			}
			list := func(ctx context.Context, req *snapshotsQuery) (ids []string) {
				for {
					page, err := w.api.ListFileSystemSnapshots(ctx, req)
					require.NoError(t, err)
					require.LessOrEqual(t, len(page.GetFileSystemSnapshots()), 2)
					for _, sn := range page.GetFileSystemSnapshots() {
						ids = append(ids, sn.GetFileSystemSnapshotId())
					}
					if req.PageToken = page.GetNextPageToken(); req.PageToken == "" {
						return ids
					}
				}
			}
			assert.ElementsMatch(t, want, list(w.ctx, &snapshotsQuery{PageSize: 2, SourceSandboxId: one}))
			assert.Len(t, list(w.ctx, &snapshotsQuery{PageSize: 2}), 6)
			assert.Len(t, list(as(context.Background(), "same"), &snapshotsQuery{PageSize: 2}), 6, "they are the organization's")
			alien := as(context.Background(), "alien")
			assert.Empty(t, list(alien, &snapshotsQuery{PageSize: 2}))
			_, err := w.api.GetFileSystemSnapshot(alien, &sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: want[0]})
			w.requireRefused(isUnknownSnapshot, err)
			_, err = w.api.DeleteFileSystemSnapshot(alien, &sandboxv1.DeleteFileSystemSnapshotRequest{FileSystemSnapshotId: want[0]})
			w.requireRefused(isUnknownSnapshot, err)
			_, err = w.api.ListFileSystemSnapshots(w.ctx, &snapshotsQuery{PageToken: "x"})
			w.requireRefused(badField("page_token"), err)
			_, err = w.api.ListFileSystemSnapshots(w.ctx, &snapshotsQuery{PageSize: -1})
			w.requireRefused(badField("page_size"), err)
		})
	})
	t.Run("C-158 what cannot be restored", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			create := func(snapshot string) error {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(restored("v", snapshot))))
				return err
			}
			w.requireRefused(isUnknownSnapshot, create("fss-none"))
			id := w.run(withScratch("v"))
			release := w.srv.HookSnapshots(SnapshotHook{Target: id, Hold: true})
			sn := w.taken(id)
			require.Equal(t, snapshotCreating, sn.GetState())
			w.requireRefused(precondition("CWSANDBOX_FSS_NOT_READY"), create(sn.GetFileSystemSnapshotId()))
			release()
			synctest.Wait()
			require.NoError(t, create(sn.GetFileSystemSnapshotId()))
		})
		inWorld(t, Options{DisableSnapshots: true}, func(w *world) {
			off := precondition("CWSANDBOX_FSS_NOT_SUPPORTED")
			id := w.run(withScratch("v"))
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(restored("v", "fss-any"))))
			w.requireRefused(off, err)
			_, err = w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id})
			w.requireRefused(off, err)
			_, err = w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"v"}})
			w.requireRefused(off, err)
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("C-160 in flight", func(t *testing.T) {
		inWorld(t, Options{MaxSnapshotsInFlight: 1}, func(w *world) {
			id := w.run(withScratch("v"))
			release := w.srv.HookSnapshots(SnapshotHook{Target: id, Hold: true})
			w.taken(id)
			_, err := w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id})
			w.requireRefused(refused{code: codes.Unavailable, reason: "CWSANDBOX_FSS_INFLIGHT_LIMIT"}, err)
			hint := false
			for _, d := range status.Convert(err).Details() {
				if retry, ok := d.(*errdetails.RetryInfo); ok {
					hint = true
					assert.Equal(t, time.Second, retry.GetRetryDelay().AsDuration())
				}
			}
			assert.True(t, hint)
			release()
			synctest.Wait()
			assert.Equal(t, snapshotReady, w.taken(id).GetState())
		})
	})
}

func TestSnapshotLimits(t *testing.T) {
	t.Run("size", func(t *testing.T) {
		inWorld(t, Options{MaxSnapshotBytes: 4}, func(w *world) {
			id := w.run(withScratch("v"))
			w.write(id, "/v/f", "1234")
			assert.Equal(t, snapshotReady, w.taken(id).GetState())
			w.write(id, "/v/g", "5")
			sn := w.taken(id)
			assert.Equal(t, snapshotFailed, sn.GetState())
			assert.Contains(t, sn.GetStateReason(), "CWSANDBOX_FSS_SIZE_EXCEEDED")
			assert.Zero(t, sn.GetSizeBytes())
		})
	})
	t.Run("number", func(t *testing.T) {
		inWorld(t, Options{MaxSnapshots: 2}, func(w *world) {
			id := w.run(withScratch("a", "b"))
			first := w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "a"})
			_, err := w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a", "b"}})
			w.requireRefused(precondition("CWSANDBOX_FSS_QUOTA_EXCEEDED"), err)
			w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "a"})
			_, err = w.api.CreateFileSystemSnapshot(w.ctx, &snapshotRequest{SandboxId: id, ScratchVolumeName: "a"})
			w.requireRefused(precondition("CWSANDBOX_FSS_QUOTA_EXCEEDED"), err)
			w.deleteSnapshot(first.GetFileSystemSnapshotId())
			w.snapshot(&snapshotRequest{SandboxId: id, ScratchVolumeName: "a"})
		})
	})
	t.Run("time", func(t *testing.T) {
		inWorld(t, Options{SnapshotTimeout: time.Minute}, func(w *world) {
			id := w.run(withScratch("v"))
			w.srv.HookSnapshots(SnapshotHook{Target: id, Hold: true})
			sn := w.taken(id).GetFileSystemSnapshotId()
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Equal(t, snapshotFailed, w.getSnapshot(sn).GetState())
			assert.Contains(t, w.getSnapshot(sn).GetStateReason(), "CWSANDBOX_FSS_CREATE_TIMED_OUT")
		})
	})
	t.Run("one that is deleted while it is taken is given up", func(t *testing.T) {
		inWorld(t, Options{MaxSnapshotsInFlight: 1}, func(w *world) {
			id := w.run(withScratch("v"))
			w.srv.HookSnapshots(SnapshotHook{Target: id, Hold: true})
			assert.Equal(t, snapshotDeleting, w.deleteSnapshot(w.taken(id).GetFileSystemSnapshotId()).GetState())
			synctest.Wait()
			w.snapshot(&snapshotRequest{SandboxId: id})
		})
	})
}

func TestSnapshotsOnDelete(t *testing.T) {
	both := func(id, key string) *deleteRequest {
		return &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"b", "a"}, RequestId: key, GracePeriodSeconds: 10}
	}
	t.Run("C-153 archives, then grace", func(t *testing.T) {
		inWorld(t, Options{SnapshotDelay: time.Minute}, func(w *world) {
			id := w.run(withScratch("a", "b"), command("ignore-term"))
			w.write(id, "/a/f", "A")
			w.write(id, "/b/f", "BB")
			resp, err := w.api.DeleteSandbox(w.ctx, both(id, ""))
			require.NoError(t, err)
			assert.Equal(t, terminating, resp.GetSandbox().GetStatus().GetState())
			require.Len(t, resp.GetFileSystemSnapshotIds(), 2)
			time.Sleep(time.Minute)
			synctest.Wait()
			for i, volume := range []string{"b", "a"} {
				sn := w.getSnapshot(resp.GetFileSystemSnapshotIds()[i])
				assert.Equal(t, snapshotReady, sn.GetState())
				assert.Equal(t, volume, sn.GetSourceVolumeName())
				assert.Equal(t, sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_ON_DELETE, sn.GetTrigger())
			}
			time.Sleep(9 * time.Second)
			assert.Equal(t, terminating, w.state(id), "the grace begins after the archives")
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			assert.Equal(t, "BB", func() string {
				id := w.run(restored("v", resp.GetFileSystemSnapshotIds()[0]))
				return w.read(id, "/v/f")
			}())
		})
	})
	t.Run("a later delete shortens the grace, not the archive", func(t *testing.T) {
		inWorld(t, Options{SnapshotDelay: time.Minute}, func(w *world) {
			id := w.run(withScratch("a", "b"), command("ignore-term"))
			resp, err := w.api.DeleteSandbox(w.ctx, both(id, ""))
			require.NoError(t, err)
			w.delete(id, 0)
			time.Sleep(time.Minute - 1)
			assert.Equal(t, terminating, w.state(id))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			assert.Equal(t, snapshotReady, w.getSnapshot(resp.GetFileSystemSnapshotIds()[1]).GetState())
		})
	})
	t.Run("C-154 too late, or no such volume", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("a"))
			_, err := w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a", "none"}})
			w.requireRefused(badField("snapshot_volumes"), err)
			assert.Equal(t, running, w.state(id))
			page, err := w.api.ListFileSystemSnapshots(w.ctx, &snapshotsQuery{})
			require.NoError(t, err)
			assert.Empty(t, page.GetFileSystemSnapshots())
			w.srv.Hold(id, terminating)
			w.delete(id, 0)
			_, err = w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a"}})
			w.requireRefused(isNotRunning, err)
			w.srv.Release(id)
			synctest.Wait()
			_, err = w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a"}})
			w.requireRefused(isNotRunning, err)
		})
	})
	t.Run("C-155 a failing archive", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("a", "b"))
			release := w.srv.HookSnapshots(SnapshotHook{Target: id, FailReason: "CWSANDBOX_FSS_CREATE_FAILED: the disk is on fire"})
			defer release()
			resp, err := w.api.DeleteSandbox(w.ctx, both(id, "r"))
			require.NoError(t, err)
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			sn := w.getSnapshot(resp.GetFileSystemSnapshotIds()[0])
			assert.Equal(t, snapshotFailed, sn.GetState())
			assert.Contains(t, sn.GetStateReason(), "on fire")
		})
	})
	t.Run("C-065 repeated", func(t *testing.T) {
		for _, fails := range []bool{false, true} {
			inWorld(t, Options{}, func(w *world) {
				id := w.run(withScratch("a", "b"))
				if fails {
					w.srv.HookSnapshots(SnapshotHook{Target: id, FailReason: "it failed"})
				}
				first, err := w.api.DeleteSandbox(w.ctx, both(id, "r"))
				require.NoError(t, err)
				time.Sleep(time.Minute)
				synctest.Wait()
				again, err := w.api.DeleteSandbox(w.ctx, both(id, "r"))
				require.NoError(t, err)
				assert.Equal(t, first.GetFileSystemSnapshotIds(), again.GetFileSystemSnapshotIds())
				assert.Equal(t, completed, again.GetSandbox().GetStatus().GetState())
				page, err := w.api.ListFileSystemSnapshots(w.ctx, &snapshotsQuery{})
				require.NoError(t, err)
				assert.Len(t, page.GetFileSystemSnapshots(), 2)
			})
		}
	})
	t.Run("C-066 one token, another request", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("a", "b"))
			_, err := w.api.DeleteSandbox(w.ctx, both(id, "r"))
			require.NoError(t, err)
			other := both(id, "r")
			other.GracePeriodSeconds++
			reordered := both(id, "r")
			reordered.SnapshotVolumes = []string{"a", "b"}
			for _, req := range []*deleteRequest{other, reordered} {
				_, err = w.api.DeleteSandbox(w.ctx, req)
				w.requireRefused(badField("request_id"), err)
			}
		})
	})
	t.Run("before the sandbox has started", func(t *testing.T) {
		inWorld(t, Options{PendingDelay: time.Hour}, func(w *world) {
			id := w.create(withScratch("a")).GetSandboxId()
			resp, err := w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a"}})
			require.NoError(t, err)
			synctest.Wait()
			assert.Equal(t, snapshotFailed, w.getSnapshot(resp.GetFileSystemSnapshotIds()[0]).GetState())
			assert.Equal(t, completed, w.state(id))
		})
	})
	t.Run("a closing server does not wait for an archive", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(withScratch("a"))
			w.srv.HookSnapshots(SnapshotHook{Target: id, Hold: true})
			_, err := w.api.DeleteSandbox(w.ctx, &deleteRequest{SandboxId: id, SnapshotVolumes: []string{"a"}})
			require.NoError(t, err)
			began := time.Now()
			require.NoError(t, w.srv.Close())
			assert.Less(t, time.Since(began), time.Minute)
		})
	})
}

func TestSnapshotBucketIsEnforced(t *testing.T) {
	for _, enforced := range []bool{false, true} {
		inWorld(t, Options{EnforceBucket: enforced}, func(w *world) {
			sn := w.taken(w.run(withScratch("v")))
			w.srv.store.Lock()
			w.srv.store.snapshots.byID[sn.GetFileSystemSnapshotId()].bucket = "another"
			w.srv.store.Unlock()
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(restored("v", sn.GetFileSystemSnapshotId()))))
			if !enforced {
				require.NoError(t, err)
				return
			}
			w.requireRefused(precondition("CWSANDBOX_FSS_BUCKET_MISMATCH"), err)
			assert.Equal(t, "another", w.info(err).GetMetadata()["snapshot_bucket"])
		})
	}
}

func TestSnapshotsDoNotKeepTheirSandboxes(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		id := w.run(withScratch("v"))
		taken := w.taken(id)
		assert.Equal(t, snapshotReady, taken.GetState())
		w.srv.store.Lock()
		kept := w.srv.store.snapshots.byID[taken.GetFileSystemSnapshotId()].source
		w.srv.store.Unlock()
		assert.Nil(t, kept)
		assert.Equal(t, id, taken.GetSourceSandboxId())
	})
}
