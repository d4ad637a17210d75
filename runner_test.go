package cwsandbox

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	runnersRequest = sandboxv1.ListAvailableRunnersRequest
	runnersReply   = sandboxv1.ListAvailableRunnersResponse
	runnerRecord   = sandboxv1.AvailableRunner
)

func (f *fake) ListAvailableRunners(ctx context.Context, req *runnersRequest) (*runnersReply, error) {
	return f.runners(ctx, f.note(ctx, "ListAvailableRunners", req), req)
}

func (f *fake) GetAvailableRunner(ctx context.Context, req *sandboxv1.GetAvailableRunnerRequest) (*runnerRecord, error) {
	return f.runner(ctx, f.note(ctx, "GetAvailableRunner", req), req)
}

// runnerPages makes the list of runners answer n pages of one runner each.
func (f *fake) runnerPages(n int) {
	f.runners = func(_ context.Context, _ int, req *runnersRequest) (*runnersReply, error) {
		page, _ := strconv.Atoi(req.GetPageToken())
		reply := &runnersReply{Runners: []*runnerRecord{{RunnerId: fmt.Sprintf("r-%d", page)}}}
		if page+1 < n {
			reply.NextPageToken = strconv.Itoa(page + 1)
		}
		return reply, nil
	}
}

func runnerIDs(runners []Runner) []string {
	var ids []string
	for _, r := range runners {
		ids = append(ids, r.ID)
	}
	return ids
}

func TestRunnersRequest(t *testing.T) {
	const basic, full = sandboxv1.RunnerView_RUNNER_VIEW_BASIC, sandboxv1.RunnerView_RUNNER_VIEW_FULL
	for name, tt := range map[string]struct {
		opts []RunnerListOption
		want *runnersRequest
	}{
		"nothing": {nil, &runnersRequest{View: basic}},
		"filters": {
			[]RunnerListOption{
				WithRunnerGroup("g"), WithGPUType("H100"), WithArchitecture("arm64"), WithHealthyOnly(),
				WithServiceVisibility(VisibilityPrivate), nil,
			},
			&runnersRequest{RunnerGroupId: "g", GpuType: "H100", Architecture: "arm64", HealthyOnly: true, ServiceVisibility: 2, View: basic},
		},
		"the later one wins":         {[]RunnerListOption{WithGPUType("A100"), WithGPUType("H100")}, &runnersRequest{GpuType: "H100", View: basic}},
		"a visibility not yet known": {[]RunnerListOption{WithServiceVisibility(9)}, &runnersRequest{ServiceVisibility: 9, View: basic}},
		"free resources":             {[]RunnerListOption{WithFreeResources()}, &runnersRequest{View: full}},
		"free cpu":                   {[]RunnerListOption{WithFreeCPU("2")}, &runnersRequest{View: full}},
		"free memory":                {[]RunnerListOption{WithFreeMemory("1Gi")}, &runnersRequest{View: full}},
		"free gpus":                  {[]RunnerListOption{WithFreeGPUs(0)}, &runnersRequest{View: full}},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.runnerPages(1)
			_, err := Collect(c.Runners(t.Context(), tt.opts...))
			require.NoError(t, err)
			tt.want.PageSize = 100
			got := f.of("ListAvailableRunners")[0].request
			assert.True(t, proto.Equal(tt.want, got), "%v", got)
		})
	}
}

func TestRunnersRefuseOptions(t *testing.T) {
	for field, opts := range map[string][]RunnerListOption{
		"runner_group_id":    {WithRunnerGroup(""), WithRunnerGroup(" "), WithRunnerGroup("\xff")},
		"gpu_type":           {WithGPUType(""), WithGPUType("a\x00b")},
		"architecture":       {WithArchitecture(""), WithArchitecture("\t")},
		"service_visibility": {WithServiceVisibility(-1)},
		"free cpu":           {WithFreeCPU(""), WithFreeCPU("-1"), WithFreeCPU("many"), WithFreeCPU("1e3")},
		"free memory":        {WithFreeMemory(""), WithFreeMemory("1GB"), WithFreeMemory(" ")},
		"free gpus":          {WithFreeGPUs(-1)},
	} {
		bubble(t, field, func(t *testing.T, f *fake, c *Client) {
			for _, opt := range opts {
				all, err := Collect(c.Runners(t.Context(), WithHealthyOnly(), opt))
				require.ErrorIs(t, err, ErrInvalidArgument)
				assert.ErrorContains(t, err, "cwsandbox: runners: "+field+": ")
				assert.Empty(t, all)
			}
			assert.Zero(t, f.count("ListAvailableRunners"))
		})
	}
	bubble(t, "all at once", func(t *testing.T, f *fake, c *Client) {
		_, err := Collect(c.Runners(t.Context(), WithGPUType(""), WithFreeGPUs(-1)))
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Len(t, e.Violations, 2)
	})
	bubble(t, "of one runner", func(t *testing.T, f *fake, c *Client) {
		for _, ids := range [][2]string{{"", "org"}, {" ", "org"}, {"r", ""}, {"r", "\n"}, {"r\x00", "org"}, {"r", "\xff"}} {
			r, err := c.Runner(t.Context(), ids[0], ids[1])
			require.ErrorIs(t, err, ErrInvalidArgument, ids)
			assert.Zero(t, r)
		}
		assert.Zero(t, f.count("GetAvailableRunner"))
	})
}

func TestRunnersPages(t *testing.T) {
	bubble(t, "to the end, or as far as the loop wants", func(t *testing.T, f *fake, c *Client) {
		f.runnerPages(120)
		all, err := Collect(c.Runners(t.Context()))
		require.NoError(t, err)
		require.Len(t, all, 120)
		assert.Equal(t, "r-119", all[119].ID)
		assert.Equal(t, 120, f.count("ListAvailableRunners"))
		for r, err := range c.Runners(t.Context()) {
			require.NoError(t, err)
			if r.ID == "r-2" {
				break
			}
		}
		assert.Equal(t, 123, f.count("ListAvailableRunners"))
	})
	bubble(t, "a page is asked for again", func(t *testing.T, f *fake, c *Client) {
		f.runnerPages(3)
		answer := f.runners
		f.runners = func(ctx context.Context, n int, req *runnersRequest) (*runnersReply, error) {
			if n == 2 {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, req)
		}
		all, err := Collect(c.Runners(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, []string{"r-0", "r-1", "r-2"}, runnerIDs(all))
		calls := f.of("ListAvailableRunners")
		require.Len(t, calls, 4)
		assert.True(t, proto.Equal(calls[1].request, calls[2].request))
	})
	bubble(t, "an error comes last", func(t *testing.T, f *fake, c *Client) {
		f.runnerPages(3)
		answer := f.runners
		f.runners = func(ctx context.Context, n int, req *runnersRequest) (*runnersReply, error) {
			if n == 3 {
				return nil, failure(codes.PermissionDenied, "")
			}
			return answer(ctx, n, req)
		}
		all, err := Collect(c.Runners(t.Context()))
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ErrorContains(t, err, "cwsandbox: runners: ")
		assert.Equal(t, []string{"r-0", "r-1"}, runnerIDs(all))
	})
	bubble(t, "a repeated token", func(t *testing.T, f *fake, c *Client) {
		f.runners = func(context.Context, int, *runnersRequest) (*runnersReply, error) {
			return &runnersReply{NextPageToken: "same"}, nil
		}
		_, err := Collect(c.Runners(t.Context()))
		require.ErrorContains(t, err, `"same"`)
		assert.Equal(t, 2, f.count("ListAvailableRunners"))
	})
}

func TestRunnersFreeFilters(t *testing.T) {
	bubble(t, "are applied here", func(t *testing.T, f *fake, c *Client) {
		free := func(id string, cpu, memory, gpus int64) *runnerRecord {
			return &runnerRecord{RunnerId: id, Resources: &sandboxv1.RunnerResourceSummary{
				AvailableCpuMillicores: cpu, AvailableMemoryBytes: memory, AvailableGpuCount: gpus,
			}}
		}
		f.runners = func(_ context.Context, n int, req *runnersRequest) (*runnersReply, error) {
			if req.GetPageToken() == "" {
				return &runnersReply{NextPageToken: "2", Runners: []*runnerRecord{{RunnerId: "unknown"}, free("none", 0, 0, 0)}}, nil
			}
			return &runnersReply{Runners: []*runnerRecord{free("cpu", 2500, 0, 0), free("memory", 0, 4<<30, 0), free("all", 2501, 5<<30, 8)}}, nil
		}
		for _, tt := range []struct {
			opts []RunnerListOption
			want []string
		}{
			{[]RunnerListOption{WithFreeResources()}, []string{"unknown", "none", "cpu", "memory", "all"}},
			{[]RunnerListOption{WithFreeCPU("0")}, []string{"none", "cpu", "memory", "all"}},
			{[]RunnerListOption{WithFreeGPUs(0)}, []string{"none", "cpu", "memory", "all"}},
			{[]RunnerListOption{WithFreeCPU("2.5")}, []string{"cpu", "all"}},
			{[]RunnerListOption{WithFreeCPU("2500.0001m")}, []string{"all"}},
			{[]RunnerListOption{WithFreeMemory("4Gi")}, []string{"memory", "all"}},
			{[]RunnerListOption{WithFreeMemory("4294967297")}, []string{"all"}},
			{[]RunnerListOption{WithFreeGPUs(8)}, []string{"all"}},
			{[]RunnerListOption{WithFreeGPUs(9)}, nil},
			{[]RunnerListOption{WithFreeCPU("2"), WithFreeMemory("1")}, []string{"all"}},
		} {
			all, err := Collect(c.Runners(t.Context(), tt.opts...))
			require.NoError(t, err)
			assert.Equal(t, tt.want, runnerIDs(all))
		}
	})
}

// hanging is a list of runners that takes so long for each of three pages.
func (f *fake) hanging(each time.Duration) {
	f.runnerPages(3)
	answer := f.runners
	f.runners = func(ctx context.Context, n int, req *runnersRequest) (*runnersReply, error) {
		select {
		case <-time.After(each):
			return answer(ctx, n, req)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func TestRunnersTime(t *testing.T) {
	bubble(t, "30 s for all pages", func(t *testing.T, f *fake, c *Client) {
		f.hanging(12 * time.Second)
		began := time.Now()
		all, err := Collect(c.Runners(t.Context()))
		require.ErrorIs(t, err, ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "it was not the caller's")
		assert.Len(t, all, 2)
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
	bubble(t, "the loop's own time does not count", func(t *testing.T, f *fake, c *Client) {
		f.hanging(9 * time.Second)
		n := 0
		for _, err := range c.Runners(t.Context()) {
			require.NoError(t, err)
			time.Sleep(time.Minute)
			n++
		}
		assert.Equal(t, 3, n)
	})
	bubble(t, "used up is not without a bound", func(t *testing.T, f *fake, c *Client) {
		f.hanging(time.Hour)
		for _, left := range []time.Duration{0, -time.Second} {
			began := time.Now()
			_, err := c.discovery.ListAvailableRunners(t.Context(), &runnersRequest{}, c.discoveryBound(t.Context(), left)...)
			require.Error(t, err)
			assert.Less(t, time.Since(began), time.Second)
		}
	})
	bubble(t, "a deadline of the caller's replaces it", func(t *testing.T, f *fake, c *Client) {
		f.hanging(12 * time.Second)
		long, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		all, err := Collect(c.Runners(long))
		require.NoError(t, err)
		assert.Len(t, all, 3)

		short, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		all, err = Collect(c.Runners(short))
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Len(t, all, 1)
	})
	inBubble(t, "a shorter request timeout bounds each page", func(t *testing.T) {
		f, c := fakeClient(t, WithRequestTimeout(5*time.Second))
		f.hanging(4 * time.Second)
		_, err := Collect(c.Runners(t.Context()))
		require.NoError(t, err)
		f.hanging(6 * time.Second)
		began := time.Now()
		_, err = Collect(c.Runners(t.Context()))
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, 5*time.Second, time.Since(began))
	})
	bubble(t, "of one runner", func(t *testing.T, f *fake, c *Client) {
		f.runner = func(ctx context.Context, _ int, _ *sandboxv1.GetAvailableRunnerRequest) (*runnerRecord, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		began := time.Now()
		_, err := c.Runner(t.Context(), "r-1", "org")
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, 30*time.Second, time.Since(began))
	})
	bubble(t, "a cancelled context", func(t *testing.T, f *fake, c *Client) {
		f.runnerPages(3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		var last error
		for _, err := range c.Runners(ctx) {
			n, last = n+1, err
			cancel()
		}
		require.ErrorIs(t, last, context.Canceled)
		assert.Equal(t, 2, n)
	})
}

func TestRunner(t *testing.T) {
	connected := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	bubble(t, "as the service tells it", func(t *testing.T, f *fake, c *Client) {
		f.runner = func(_ context.Context, n int, _ *sandboxv1.GetAvailableRunnerRequest) (*runnerRecord, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "", retryAfter(time.Second))
			}
			return &runnerRecord{
				RunnerId: "r-1", RunnerGroupId: "g", OrganizationId: "org", Tags: []string{"a", "b"}, Healthy: true, IsShared: true,
				ConnectedAt: timestamppb.New(connected),
				Capabilities: &sandboxv1.RunnerCapabilitySummary{
					MaxCpuMillicores: 1, MaxMemoryBytes: 2, MaxGpuCount: 3, SupportedGpuTypes: []string{"H100"},
					SupportedArchitectures: []string{"amd64"}, AvailableStorageClasses: []string{"fast"}, SupportsPrivileged: true,
					SupportedServiceVisibilities: []sandboxv1.Visibility{1, 3, 9},
				},
				Resources: &sandboxv1.RunnerResourceSummary{
					AvailableCpuMillicores: 4, AvailableMemoryBytes: 5, AvailableGpuCount: 6, RunningSandboxes: 7,
				},
			}, nil
		}
		r, err := c.Runner(t.Context(), "r-1", "org")
		require.NoError(t, err)
		assert.Equal(t, Runner{
			ID: "r-1", GroupID: "g", OrganizationID: "org", Tags: []string{"a", "b"}, Healthy: true, Shared: true, ConnectTime: connected,
			Capabilities: &RunnerCapabilities{
				CPUMillicores: 1, MemoryBytes: 2, GPUs: 3, GPUTypes: []string{"H100"}, Architectures: []string{"amd64"},
				StorageClasses: []string{"fast"}, Visibilities: []Visibility{VisibilityPublic, VisibilityCustom, 9}, Privileged: true,
			},
			Free: &RunnerResources{CPUMillicores: 4, MemoryBytes: 5, GPUs: 6, RunningSandboxes: 7},
		}, r)
		want := &sandboxv1.GetAvailableRunnerRequest{RunnerId: "r-1", OrganizationId: "org", View: sandboxv1.RunnerView_RUNNER_VIEW_FULL}
		for _, call := range f.of("GetAvailableRunner") {
			assert.True(t, proto.Equal(want, call.request))
		}
		assert.Equal(t, 2, f.count("GetAvailableRunner"))
	})
	bubble(t, "what is not known is not zero", func(t *testing.T, f *fake, c *Client) {
		f.runner = func(context.Context, int, *sandboxv1.GetAvailableRunnerRequest) (*runnerRecord, error) {
			return &runnerRecord{RunnerId: "r-1"}, nil
		}
		r, err := c.Runner(t.Context(), "r-1", "org")
		require.NoError(t, err)
		assert.Equal(t, Runner{ID: "r-1"}, r)
		assert.True(t, r.ConnectTime.IsZero())
	})
	for name, fault := range map[string]error{
		"not found by reason": failure(codes.NotFound, "CWSANDBOX_RUNNER_NOT_FOUND"),
		"not found by code":   failure(codes.NotFound, ""),
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.runner = func(context.Context, int, *sandboxv1.GetAvailableRunnerRequest) (*runnerRecord, error) {
				return nil, fault
			}
			r, err := c.Runner(t.Context(), "r-1", "org")
			require.ErrorIs(t, err, ErrNotFound)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "runner", e.Resource)
			assert.Empty(t, e.SandboxID)
			assert.ErrorContains(t, err, `cwsandbox: get runner: "r-1": made by the test`)
			assert.Zero(t, r)
			assert.Equal(t, 1, f.count("GetAvailableRunner"))
		})
	}
}

func TestVisibilityString(t *testing.T) {
	for v, want := range map[Visibility]string{
		VisibilityUnspecified: "unspecified", VisibilityPublic: "public", VisibilityPrivate: "private", VisibilityCustom: "custom", 42: "Visibility(42)",
	} {
		assert.Equal(t, want, v.String())
	}
	for number := range sandboxv1.Visibility_name {
		assert.NotContains(t, Visibility(number).String(), "(", "every visibility of the contract has a name")
	}
}
