package cwsandbox

import (
	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	runnersOp       = "runners"
	runnersPageSize = 100
)

// RunnerListOption is an option of [Client.Runners].
type RunnerListOption interface{ applyRunners(*runnersConfig) }

// runnersConfig is the merged configuration of a list of runners.
type runnersConfig struct {
	faults       faults
	group        string
	gpuType      string
	architecture string
	visibility   Visibility
	healthy      bool
	free         bool            // tell what is free
	atLeast      RunnerResources // what must be free, or zero
	needsFree    bool            // atLeast was given
}

func newRunnersConfig(opts []RunnerListOption) (runnersConfig, error) {
	var c runnersConfig
	applyAll(&c.faults, opts, func(o RunnerListOption) { o.applyRunners(&c) })
	return c, c.faults.err(call{op: runnersOp})
}

func (c runnersConfig) request() *sandboxv1.ListAvailableRunnersRequest {
	req := &sandboxv1.ListAvailableRunnersRequest{
		RunnerGroupId:     c.group,
		GpuType:           c.gpuType,
		Architecture:      c.architecture,
		HealthyOnly:       c.healthy,
		ServiceVisibility: sandboxv1.Visibility(c.visibility),
		PageSize:          runnersPageSize,
		View:              sandboxv1.RunnerView_RUNNER_VIEW_BASIC,
	}
	if c.free || c.needsFree {
		req.View = sandboxv1.RunnerView_RUNNER_VIEW_FULL
	}
	return req
}

// selects reports whether a runner passes the filters that the service does not have. One of which it is not known what
// is free does not.
func (c runnersConfig) selects(r Runner) bool {
	if !c.needsFree {
		return true
	}
	return r.Free != nil &&
		r.Free.CPUMillicores >= c.atLeast.CPUMillicores &&
		r.Free.MemoryBytes >= c.atLeast.MemoryBytes &&
		r.Free.GPUs >= c.atLeast.GPUs
}

type runnerListOption func(*runnersConfig)

func (o runnerListOption) applyRunners(c *runnersConfig) { o(c) }

// WithRunnerGroup lists the runners of one group.
func WithRunnerGroup(id string) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		checkWord(&c.faults, "runner_group_id", id)
		c.group = id
	})
}

// WithGPUType lists runners that have GPUs of this type, such as "H100".
func WithGPUType(name string) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		checkWord(&c.faults, "gpu_type", name)
		c.gpuType = name
	})
}

// WithArchitecture lists runners with processors of this architecture, such as "amd64".
func WithArchitecture(name string) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		checkWord(&c.faults, "architecture", name)
		c.architecture = name
	})
}

// WithServiceVisibility lists runners that can give a port this visibility. [VisibilityUnspecified] is no filter.
func WithServiceVisibility(v Visibility) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		if v < 0 {
			c.faults.add("service_visibility", "must not be negative, is %d", v)
		}
		c.visibility = v
	})
}

// WithHealthyOnly lists runners that are fit to take sandboxes now.
func WithHealthyOnly() RunnerListOption {
	return runnerListOption(func(c *runnersConfig) { c.healthy = true })
}

// WithFreeResources asks for the resources that are free, in [Runner.Free].
func WithFreeResources() RunnerListOption {
	return runnerListOption(func(c *runnersConfig) { c.free = true })
}

// WithFreeCPU lists runners with at least so much CPU free, in the notation of [ResourceList], and implies
// [WithFreeResources]. The service has no such filter: it is applied here, and drops runners of which it is not known.
func WithFreeCPU(cpu string) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		amount := checkAmount(&c.faults, "free cpu", cpu)
		c.atLeast.CPUMillicores, c.needsFree = amount.CeilMilli(), true
	})
}

// WithFreeMemory is [WithFreeCPU] for memory.
func WithFreeMemory(memory string) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		amount := checkAmount(&c.faults, "free memory", memory)
		c.atLeast.MemoryBytes, c.needsFree = amount.Ceil(), true
	})
}

// checkAmount is the rule for an amount that must be there.
func checkAmount(f *faults, field, text string) quantity.Value {
	if text == "" {
		f.add(field, "must not be empty")
	}
	amount, _ := checkQuantity(f, field, text)
	return amount
}

// WithFreeGPUs is [WithFreeCPU] for a number of GPUs.
func WithFreeGPUs(n int) RunnerListOption {
	return runnerListOption(func(c *runnersConfig) {
		if n < 0 {
			c.faults.add("free gpus", "must not be negative, is %d", n)
		}
		c.atLeast.GPUs, c.needsFree = int64(n), true
	})
}
