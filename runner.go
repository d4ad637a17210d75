package cwsandbox

import (
	"context"
	"iter"
	"slices"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// discoveryTimeout bounds what is asked about runners where the context has no deadline.
const discoveryTimeout = 30 * time.Second

// Runner is one of the caller's own places for sandboxes, as the service described it. It tells what the runner can do,
// not what its policy allows: a create that names it may still be refused.
type Runner struct {
	ID             string // for [WithRunners]; unique within the organization only
	GroupID        string
	OrganizationID string
	Tags           []string
	Healthy        bool                // fit to take sandboxes now
	Shared         bool                // serves other organizations too
	ConnectTime    time.Time           // UTC; zero: not known
	Capabilities   *RunnerCapabilities // nil: not known
	Free           *RunnerResources    // nil: not asked for, see [WithFreeResources], or not known
}

// RunnerCapabilities is what a runner can do at most.
type RunnerCapabilities struct {
	CPUMillicores  int64 // thousandths of a core
	MemoryBytes    int64
	GPUs           int64
	GPUTypes       []string // as [GPU] spells them
	Architectures  []string
	StorageClasses []string
	Visibilities   []Visibility // that a port can have
	Privileged     bool         // containers can be privileged
}

// RunnerResources is what was free on a runner when the service was asked.
type RunnerResources struct {
	CPUMillicores    int64 // thousandths of a core
	MemoryBytes      int64
	GPUs             int64
	RunningSandboxes int
}

// Runners yields the runners that the caller's organization can see, page by page. All filters must match. The order is
// the service's.
//
// An error comes once, last, beside a zero Runner; each page is asked for again by the rules for reads before that. A
// deadline of ctx bounds the whole walk. Without one the service has 30 s for all pages together, in which what the loop
// does with them does not count, and the client's request timeout for each page.
func (c *Client) Runners(ctx context.Context, opts ...RunnerListOption) iter.Seq2[Runner, error] {
	return func(yield func(Runner, error) bool) {
		config, err := newRunnersConfig(opts)
		if err != nil {
			yield(Runner{}, err)
			return
		}
		if err := c.walkRunners(ctx, config, func(r Runner) bool { return yield(r, nil) }); err != nil {
			yield(Runner{}, err)
		}
	}
}

// walkRunners calls yield with each runner of a list until it says stop.
func (c *Client) walkRunners(ctx context.Context, config runnersConfig, yield func(Runner) bool) error {
	req, left := config.request(), discoveryTimeout
	return eachPage(call{op: runnersOp}, func(token string) (string, error) {
		req.PageToken = token
		asked := time.Now()
		page, err := c.discovery.ListAvailableRunners(ctx, req, c.discoveryBound(ctx, left)...)
		left -= time.Since(asked)
		if err != nil {
			return "", err
		}
		for _, record := range page.GetRunners() {
			if r := runnerOf(record); config.selects(r) && !yield(r) {
				return "", nil
			}
		}
		return page.GetNextPageToken(), nil
	})
}

// Runner returns one runner with what is free on it now. One that does not exist and one that the caller may not see are
// the same [ErrNotFound]. Without a deadline of ctx it takes 30 s at most, or the client's request timeout.
func (c *Client) Runner(ctx context.Context, id, organizationID string) (Runner, error) {
	op := call{op: "get runner", resource: "runner"}
	var f faults
	checkWord(&f, "runner_id", id)
	checkWord(&f, "organization_id", organizationID)
	if err := f.err(op); err != nil {
		return Runner{}, err
	}
	record, err := c.discovery.GetAvailableRunner(ctx, &sandboxv1.GetAvailableRunnerRequest{
		RunnerId:       id,
		OrganizationId: organizationID,
		View:           sandboxv1.RunnerView_RUNNER_VIEW_FULL,
	}, c.discoveryBound(ctx, discoveryTimeout)...)
	if err != nil {
		return Runner{}, op.wrapAbout(id, err)
	}
	return runnerOf(record), nil
}

// discoveryBound bounds a call whose context has no deadline.
func (c *Client) discoveryBound(ctx context.Context, left time.Duration) []grpc.CallOption {
	if _, ok := ctx.Deadline(); ok {
		return nil
	}
	// Zero would be no bound at all.
	return []grpc.CallOption{transport.Timeout(max(min(left, c.config.requestTimeout), time.Nanosecond))}
}

// runnerOf reads a record of the service.
func runnerOf(m *sandboxv1.AvailableRunner) Runner {
	r := Runner{
		ID:             m.GetRunnerId(),
		GroupID:        m.GetRunnerGroupId(),
		OrganizationID: m.GetOrganizationId(),
		Tags:           slices.Clone(m.GetTags()),
		Healthy:        m.GetHealthy(),
		Shared:         m.GetIsShared(),
		ConnectTime:    timeOf(m.GetConnectedAt()),
	}
	if c := m.GetCapabilities(); c != nil {
		r.Capabilities = &RunnerCapabilities{
			CPUMillicores:  c.GetMaxCpuMillicores(),
			MemoryBytes:    c.GetMaxMemoryBytes(),
			GPUs:           c.GetMaxGpuCount(),
			GPUTypes:       slices.Clone(c.GetSupportedGpuTypes()),
			Architectures:  slices.Clone(c.GetSupportedArchitectures()),
			StorageClasses: slices.Clone(c.GetAvailableStorageClasses()),
			Privileged:     c.GetSupportsPrivileged(),
		}
		for _, v := range c.GetSupportedServiceVisibilities() {
			r.Capabilities.Visibilities = append(r.Capabilities.Visibilities, Visibility(v))
		}
	}
	if free := m.GetResources(); free != nil {
		r.Free = &RunnerResources{
			CPUMillicores:    free.GetAvailableCpuMillicores(),
			MemoryBytes:      free.GetAvailableMemoryBytes(),
			GPUs:             free.GetAvailableGpuCount(),
			RunningSandboxes: int(free.GetRunningSandboxes()),
		}
	}
	return r
}
