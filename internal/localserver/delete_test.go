package localserver

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
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

func TestDelete(t *testing.T) {
	t.Run("C-031", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			assert.Equal(t, terminating, w.delete(id, 0).GetStatus().GetState())
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			assert.EqualValues(t, 137, w.get(id).GetStatus().GetExitCode())
			assert.Equal(t, "deleted", w.get(id).GetStatus().GetStateReason())
		})
	})
	t.Run("C-032", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("sleep", "infinity"))
			w.delete(id, 10*time.Second)
			synctest.Wait()
			assert.EqualValues(t, 143, w.get(id).GetStatus().GetExitCode())
		})
	})
	t.Run("C-033", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.delete(id, 10*time.Second)
			synctest.Wait()
			require.NotNil(t, w.get(id).GetStatus().ExitCode)
			assert.EqualValues(t, 0, w.get(id).GetStatus().GetExitCode())
		})
	})
	t.Run("C-034", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("ignore-term"))
			w.delete(id, 10*time.Second)
			time.Sleep(10*time.Second - 1)
			synctest.Wait()
			assert.Equal(t, terminating, w.state(id))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			assert.EqualValues(t, 137, w.get(id).GetStatus().GetExitCode())
		})
	})
	t.Run("C-035", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("ignore-term"))
			w.delete(id, 100000*time.Second)
			time.Sleep(300*time.Second - 1)
			synctest.Wait()
			assert.Equal(t, terminating, w.state(id))
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			_, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id, GracePeriodSeconds: -1})
			w.requireRefused(badField("grace_period_seconds"), err)
		})
	})
	t.Run("C-036", func(t *testing.T) {
		inWorld(t, Options{StartupSettle: time.Minute}, func(w *world) {
			id := w.create(command("ignore-term")).GetSandboxId()
			synctest.Wait()
			assert.Equal(t, terminating, w.delete(id, 5*time.Second).GetStatus().GetState())
			for w.state(id) == terminating {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			st := w.get(id).GetStatus()
			assert.Equal(t, completed, st.GetState())
			assert.Nil(t, st.ExitCode)
			assert.Equal(t, "deleted before start", st.GetStateReason())
		})
		inWorld(t, Options{PendingDelay: time.Minute}, func(w *world) {
			id := w.create().GetSandboxId()
			w.delete(id, time.Hour)
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, completed, st.GetState())
			assert.Nil(t, st.ExitCode)
			assert.Nil(t, st.GetStartTime())
		})
	})
	t.Run("C-037", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(command("true")).GetSandboxId()
			synctest.Wait()
			before := w.get(id)
			time.Sleep(time.Minute)
			assert.True(t, proto.Equal(before, w.delete(id, time.Second)))
			synctest.Wait()
			assert.True(t, proto.Equal(before, w.get(id)))
		})
	})
	t.Run("C-038", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: "sb-none"})
			w.requireRefused(isGone, err)
			assert.Equal(t, "sb-none", w.info(err).GetMetadata()["sandbox_id"])
			resp, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: "sb-none", AllowMissing: true})
			require.NoError(t, err)
			assert.Zero(t, proto.Size(resp))
		})
	})
	t.Run("C-039", func(t *testing.T) {
		var terms atomic.Int32
		count := scripted.Command{CatchSignals: true, Run: func(ctx context.Context, p *scripted.Proc) int {
			for {
				select {
				case <-p.Signals:
					terms.Add(1)
				case <-ctx.Done():
					return 0
				}
			}
		}}
		inWorld(t, Options{Runtime: withCommand("count", count)}, func(w *world) {
			id := w.run(command("count"))
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() { assert.Equal(t, terminating, w.delete(id, 5*time.Second).GetStatus().GetState()) })
			}
			both.Wait()
			time.Sleep(5 * time.Second)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			assert.EqualValues(t, 1, terms.Load())
		})
	})
	t.Run("a second delete only shortens the grace", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(command("ignore-term"))
			w.delete(id, 20*time.Second)
			w.delete(id, 60*time.Second)
			time.Sleep(5 * time.Second)
			w.delete(id, time.Second)
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
		})
	})
	t.Run("C-040", func(t *testing.T) {
		inWorld(t, Options{DeleteEndsIn: terminated, OmitExitCodeOnDelete: true}, func(w *world) {
			id := w.run()
			w.delete(id, 0)
			synctest.Wait()
			assert.Equal(t, terminated, w.state(id))
			assert.Nil(t, w.get(id).GetStatus().ExitCode)
		})
	})
	t.Run("C-041", func(t *testing.T) {
		inWorld(t, Options{ExitCodeLag: time.Second, RestartPolicy: RestartNever}, func(w *world) {
			id := w.create(command("fail")).GetSandboxId()
			time.Sleep(time.Second - 1)
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(t, completed, st.GetState())
			assert.Nil(t, st.ExitCode)
			assert.Zero(t, st.GetContainerStatuses()[0].GetExitCode())
			time.Sleep(time.Nanosecond)
			assert.EqualValues(t, 3, w.get(id).GetStatus().GetExitCode())
		})
	})
	t.Run("C-042", func(t *testing.T) {
		inWorld(t, Options{Retention: time.Minute}, func(w *world) {
			id := w.create(command("true")).GetSandboxId()
			time.Sleep(time.Minute - 1)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
			time.Sleep(time.Nanosecond)
			_, err := w.api.GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			w.requireRefused(isGone, err)
			assert.Empty(t, w.srv.Sandboxes())
		})
	})
	t.Run("C-067", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			_, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id, RequestId: strings.Repeat("x", 500)})
			require.NoError(t, err)
			id = w.run()
			for size, want := range map[int]refused{128: badField("snapshot_volumes"), 129: badField("request_id")} {
				_, err = w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{
					SandboxId: id, RequestId: strings.Repeat("x", size), SnapshotVolumes: []string{"none"},
				})
				w.requireRefused(want, err)
			}
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("C-086", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			_, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id, AllowMissing: true, SnapshotVolumes: []string{"v"}})
			w.requireRefused(badField("allow_missing"), err)
			assert.Equal(t, running, w.state(id))
		})
	})
}

func TestPurge(t *testing.T) {
	t.Run("C-069", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.api.PurgeSandboxes(w.ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true, RequestId: "r"})
			w.requireRefused(refused{codes.Unimplemented, "CWSANDBOX_NOT_IMPLEMENTED", []string{"request_id"}}, err)
		})
	})
	t.Run("C-177", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			match := []string{w.run(tagged("a", "b")), w.run(tagged("b", "a", "c"))}
			other := w.run(tagged("a"))
			ended := w.create(tagged("a", "b"), command("true")).GetSandboxId()
			synctest.Wait()
			for _, dry := range []bool{true, false} {
				for _, id := range match {
					assert.Equal(t, running, w.state(id))
				}
				resp, err := w.api.PurgeSandboxes(w.ctx, &sandboxv1.PurgeSandboxesRequest{Tags: []string{"a", "b"}, DryRun: dry})
				require.NoError(t, err)
				assert.EqualValues(t, 2, resp.GetPurgeCount())
			}
			synctest.Wait()
			for _, id := range append(match, ended) {
				assert.Equal(t, completed, w.state(id))
			}
			assert.Equal(t, running, w.state(other))
			for _, req := range []*sandboxv1.PurgeSandboxesRequest{{}, {PurgeAll: true, Tags: []string{"a"}}} {
				_, err := w.api.PurgeSandboxes(w.ctx, req)
				w.requireRefused(badField("tags"), err)
			}
		})
	})
	t.Run("both lists of failures", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stuck, settling, other := w.run(), w.run(tagged("settling")), w.run()
			w.srv.FailPurge(stuck, false)
			release := w.srv.FailPurge("settling", true)
			resp, err := w.api.PurgeSandboxes(w.ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true, DryRun: true})
			require.NoError(t, err)
			assert.True(t, proto.Equal(&sandboxv1.PurgeSandboxesResponse{PurgeCount: 3}, resp))
			resp, err = w.api.PurgeSandboxes(w.ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true})
			require.NoError(t, err)
			assert.EqualValues(t, 1, resp.GetPurgeCount())
			assert.ElementsMatch(t, []string{stuck, settling}, resp.GetFailedSandboxIds())
			assert.Equal(t, []string{settling}, resp.GetRetryableFailedSandboxIds())
			synctest.Wait()
			assert.Equal(t, completed, w.state(other))
			assert.Equal(t, running, w.state(settling))
			release()
			resp, err = w.api.PurgeSandboxes(w.ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true})
			require.NoError(t, err)
			assert.True(t, proto.Equal(&sandboxv1.PurgeSandboxesResponse{PurgeCount: 1, FailedSandboxIds: []string{stuck}}, resp), resp)
			synctest.Wait()
			assert.Equal(t, running, w.state(stuck))
		})
	})
	t.Run("C-178", func(t *testing.T) {
		keys := []Key{{Token: "ann", User: "ann"}, {Token: "bob", User: "bob"}, {Token: "boss", User: "boss", Admin: true}}
		inWorld(t, Options{Keys: keys}, func(w *world) {
			w.ctx = as(context.Background(), "ann")
			id := w.run()
			purge := func(token string, dry bool) int32 {
				resp, err := w.api.PurgeSandboxes(as(context.Background(), token), &sandboxv1.PurgeSandboxesRequest{PurgeAll: true, DryRun: dry})
				require.NoError(t, err)
				synctest.Wait()
				return resp.GetPurgeCount()
			}
			assert.Zero(t, purge("bob", true))
			assert.Zero(t, purge("bob", false))
			assert.EqualValues(t, 1, purge("boss", true))
			assert.Equal(t, running, w.state(id))
			assert.EqualValues(t, 1, purge("boss", false))
			assert.Equal(t, completed, w.state(id))
		})
	})
}
