package localserver

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	runnersRequest = sandboxv1.ListAvailableRunnersRequest
	runnerRequest  = sandboxv1.GetAvailableRunnerRequest
)

const (
	basicView = sandboxv1.RunnerView_RUNNER_VIEW_BASIC
	fullView  = sandboxv1.RunnerView_RUNNER_VIEW_FULL
)

func (w *world) discovery() sandboxv1.DiscoveryServiceClient {
	return sandboxv1.NewDiscoveryServiceClient(w.cc)
}

func (w *world) runners(req *runnersRequest) []*sandboxv1.AvailableRunner {
	w.Helper()
	resp, err := w.discovery().ListAvailableRunners(w.ctx, req)
	require.NoError(w, err)
	require.Empty(w, resp.GetNextPageToken())
	return resp.GetRunners()
}

func (w *world) runner(view sandboxv1.RunnerView) *sandboxv1.AvailableRunner {
	w.Helper()
	r, err := w.discovery().GetAvailableRunner(w.ctx, &runnerRequest{RunnerId: "local-runner", OrganizationId: "local-org", View: view})
	require.NoError(w, err)
	return r
}

func (w *world) freeResources() *sandboxv1.RunnerResourceSummary {
	w.Helper()
	synctest.Wait()
	return w.runner(fullView).GetResources()
}

func TestRunners(t *testing.T) {
	t.Run("C-161", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			began := time.Now()
			time.Sleep(time.Minute)
			for _, view := range []sandboxv1.RunnerView{0, basicView, fullView} {
				list := w.runners(&runnersRequest{View: view})
				require.Len(t, list, 1)
				assert.NotNil(t, list[0].GetCapabilities(), view)
				assert.Equal(t, view == fullView, list[0].GetResources() != nil, view)

				got := w.runner(view)
				assert.NotNil(t, got.GetCapabilities(), view)
				assert.Equal(t, view != basicView, got.GetResources() != nil, view)
			}
			r := w.runner(fullView)
			assert.True(t, proto.Equal(r, w.runners(&runnersRequest{View: fullView})[0]))
			assert.Equal(t, "local-runner", r.GetRunnerId())
			assert.Equal(t, "local", r.GetRunnerGroupId())
			assert.Equal(t, "local-org", r.GetOrganizationId())
			assert.Equal(t, []string{"isolation:scripted"}, r.GetTags())
			assert.True(t, r.GetHealthy())
			assert.False(t, r.GetIsShared())
			assert.WithinDuration(t, began, r.GetConnectedAt().AsTime(), 0)
			c := r.GetCapabilities()
			assert.EqualValues(t, 1000*runtime.NumCPU(), c.GetMaxCpuMillicores())
			assert.Greater(t, c.GetMaxMemoryBytes(), int64(64<<20))
			assert.Less(t, c.GetMaxMemoryBytes(), int64(1<<50))
			assert.Zero(t, c.GetMaxGpuCount())
			assert.Empty(t, c.GetSupportedGpuTypes())
			assert.Equal(t, []string{runtime.GOARCH}, c.GetSupportedArchitectures())
			assert.Equal(t, []string{"local"}, c.GetAvailableStorageClasses())
			assert.Equal(t, []sandboxv1.Visibility{1, 2, 3}, c.GetSupportedServiceVisibilities())
			assert.False(t, c.GetSupportsPrivileged())
		})
	})
	t.Run("C-162", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, req := range []*runnersRequest{
				{RunnerGroupId: "local"}, {Architecture: runtime.GOARCH}, {HealthyOnly: true}, {PageSize: 1},
				{ServiceVisibility: 1}, {ServiceVisibility: 2}, {ServiceVisibility: 3},
				{RunnerGroupId: "local", Architecture: runtime.GOARCH, HealthyOnly: true, ServiceVisibility: 1},
			} {
				assert.Len(t, w.runners(req), 1, "%v", req)
			}
			for _, req := range []*runnersRequest{
				{RunnerGroupId: "other"}, {Architecture: "vax"}, {GpuType: "H100"}, {ServiceVisibility: 9},
				{RunnerGroupId: "local", Architecture: "vax"},
			} {
				assert.Empty(t, w.runners(req), "%v", req)
			}
			isNoRunner := refused{code: codes.NotFound, reason: "CWSANDBOX_RUNNER_NOT_FOUND"}
			for _, req := range []*runnerRequest{
				{RunnerId: "other", OrganizationId: "local-org"}, {RunnerId: "local-runner", OrganizationId: "other"},
			} {
				_, err := w.discovery().GetAvailableRunner(w.ctx, req)
				w.requireRefused(isNoRunner, err)
				assert.Equal(t, req.RunnerId, w.info(err).GetMetadata()["runner_id"])
			}
		})
	})
	t.Run("C-163", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			asks := func(cpu, memory string) func(*sandboxv1.SandboxSpec) {
				return mainContainer(func(c *ctnr) { c.Resources = &sandboxv1.Resources{Cpu: cpu, Memory: memory} })
			}
			before := w.freeResources()
			assert.Equal(t, w.runner(basicView).GetCapabilities().GetMaxCpuMillicores(), before.GetAvailableCpuMillicores())
			listed := w.runners(&runnersRequest{})[0].GetRunnerId()
			id := w.run(onRunner(listed), asks("150m", "16Mi"))
			assert.Equal(t, listed, w.get(id).GetStatus().GetRunnerId())

			during := w.freeResources()
			assert.EqualValues(t, 150, before.GetAvailableCpuMillicores()-during.GetAvailableCpuMillicores())
			assert.EqualValues(t, 16<<20, before.GetAvailableMemoryBytes()-during.GetAvailableMemoryBytes())
			assert.EqualValues(t, 1, during.GetRunningSandboxes())

			w.srv.Hold("starting", creating)
			w.create(tagged("starting"), asks("50m", ""))
			during = w.freeResources()
			assert.EqualValues(t, 200, before.GetAvailableCpuMillicores()-during.GetAvailableCpuMillicores(), "active, though not up")
			assert.EqualValues(t, 1, during.GetRunningSandboxes())

			most := w.run(asks("128", "1Ti"))
			during = w.freeResources()
			assert.Equal(t, max(0, before.GetAvailableCpuMillicores()-128_200), during.GetAvailableCpuMillicores(), "never negative")
			assert.Equal(t, max(0, before.GetAvailableMemoryBytes()-1<<40-16<<20), during.GetAvailableMemoryBytes(), "never negative")
			for _, ended := range []string{most, id} {
				w.delete(ended, 0)
			}
			after := w.freeResources()
			assert.EqualValues(t, 50, before.GetAvailableCpuMillicores()-after.GetAvailableCpuMillicores())
			assert.Zero(t, after.GetRunningSandboxes())
		})
	})
	t.Run("requests are checked", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.discovery().ListAvailableRunners(w.ctx, &runnersRequest{PageSize: -1})
			w.requireRefused(badField("page_size"), err)
			_, err = w.discovery().ListAvailableRunners(w.ctx, &runnersRequest{PageToken: "x"})
			w.requireRefused(badField("page_token"), err)
			_, err = w.discovery().GetAvailableRunner(w.ctx, &runnerRequest{})
			w.requireRefused(badField("runner_id", "organization_id"), err)
		})
	})
	t.Run("every organization has its own", func(t *testing.T) {
		keys := []Key{{Token: "a", Organization: "org-a"}, {Token: "b", Organization: "org-b"}}
		inWorld(t, Options{Keys: keys}, func(w *world) {
			for _, k := range keys {
				w.ctx = as(context.Background(), k.Token)
				list := w.runners(&runnersRequest{})
				require.Len(t, list, 1)
				assert.Equal(t, k.Organization, list[0].GetOrganizationId())
			}
			_, err := w.discovery().GetAvailableRunner(w.ctx, &runnerRequest{RunnerId: "local-runner", OrganizationId: "org-a"})
			w.requireRefused(refused{code: codes.NotFound, reason: "CWSANDBOX_RUNNER_NOT_FOUND"}, err)
		})
	})
}
