package localserver

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// discoveryService tells about the one runner that is this machine. Every organization sees it as its own.
type discoveryService struct {
	sandboxv1.UnsafeDiscoveryServiceServer
	*Server
}

// ListAvailableRunners returns the runner, unless a filter speaks against it. There never is a second page.
func (d *discoveryService) ListAvailableRunners(ctx context.Context, req *sandboxv1.ListAvailableRunnersRequest) (*sandboxv1.ListAvailableRunnersResponse, error) {
	if req.GetPageSize() < 0 {
		return nil, bad("page_size", "must not be negative")
	}
	if req.GetPageToken() != "" {
		return nil, bad("page_token", "must be the token of a page of the same list")
	}
	resp := &sandboxv1.ListAvailableRunnersResponse{}
	if r := d.runner(callerOf(ctx), req.GetView() == sandboxv1.RunnerView_RUNNER_VIEW_FULL); selectsRunner(req, r) {
		resp.Runners = append(resp.Runners, r)
	}
	return resp, nil
}

// GetAvailableRunner returns the runner as it is now.
func (d *discoveryService) GetAvailableRunner(ctx context.Context, req *sandboxv1.GetAvailableRunnerRequest) (*sandboxv1.AvailableRunner, error) {
	var c checker
	c.require(req.GetRunnerId() != "", "runner_id", "must not be empty")
	c.require(req.GetOrganizationId() != "", "organization_id", "must not be empty")
	if err := c.err(); err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	if req.GetRunnerId() != runnerID || req.GetOrganizationId() != who.organization {
		return nil, unknownRunner(req.GetRunnerId())
	}
	return d.runner(who, req.GetView() != sandboxv1.RunnerView_RUNNER_VIEW_BASIC), nil
}

func unknownRunner(id string) error {
	return refusal{
		code:     codes.NotFound,
		reason:   reasonRunnerNotFound,
		text:     fmt.Sprintf("runner %q not found", id),
		metadata: map[string]string{"runner_id": id},
	}.err()
}

// selectsRunner reports whether a runner passes every filter of a list.
func selectsRunner(req *sandboxv1.ListAvailableRunnersRequest, r *sandboxv1.AvailableRunner) bool {
	c := r.GetCapabilities()
	return unsetOrIn(req.GetRunnerGroupId(), r.GetRunnerGroupId()) &&
		unsetOrIn(req.GetGpuType(), c.GetSupportedGpuTypes()...) &&
		unsetOrIn(req.GetArchitecture(), c.GetSupportedArchitectures()...) &&
		unsetOrIn(req.GetServiceVisibility(), c.GetSupportedServiceVisibilities()...) &&
		(r.GetHealthy() || !req.GetHealthyOnly())
}

// unsetOrIn reports whether a filter is not set, or is one of the values.
func unsetOrIn[T comparable](filter T, values ...T) bool {
	var unset T
	return filter == unset || slices.Contains(values, filter)
}

func (s *Server) runner(who identity, full bool) *sandboxv1.AvailableRunner {
	r := &sandboxv1.AvailableRunner{
		RunnerId:       runnerID,
		RunnerGroupId:  runnerGroupID,
		OrganizationId: who.organization,
		Tags:           []string{"isolation:" + s.opt.Runtime.Isolation()},
		Healthy:        true,
		ConnectedAt:    timestamppb.New(s.started),
		Capabilities: &sandboxv1.RunnerCapabilitySummary{
			MaxCpuMillicores:        int64(runtime.NumCPU()) * 1000,
			MaxMemoryBytes:          hostMemory(),
			SupportedArchitectures:  []string{runtime.GOARCH},
			AvailableStorageClasses: []string{"local"},
			SupportedServiceVisibilities: []sandboxv1.Visibility{
				sandboxv1.Visibility_VISIBILITY_PUBLIC,
				sandboxv1.Visibility_VISIBILITY_PRIVATE,
				sandboxv1.Visibility_VISIBILITY_CUSTOM,
			},
		},
	}
	if full {
		r.Resources = s.free(r.GetCapabilities())
	}
	return r
}

// free is what the active sandboxes leave of the maxima. They may ask for more than there is, which nobody enforces
// here; then nothing is left.
func (s *Server) free(most *sandboxv1.RunnerCapabilitySummary) *sandboxv1.RunnerResourceSummary {
	var cpu, memory quantity.Value
	var up int32
	s.all(func(r *record) {
		if terminal(r.state) {
			return
		}
		cpu = cpu.Add(amountOf(r.effective.GetRequests().GetCpu()))
		memory = memory.Add(amountOf(r.effective.GetRequests().GetMemory()))
		if r.state == running || r.state == paused {
			up++
		}
	})
	return &sandboxv1.RunnerResourceSummary{
		AvailableCpuMillicores: max(0, most.GetMaxCpuMillicores()-cpu.CeilMilli()),
		AvailableMemoryBytes:   max(0, most.GetMaxMemoryBytes()-memory.Ceil()),
		RunningSandboxes:       up,
	}
}
