package localserver

import (
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// What a container that asks for nothing gets.
const (
	defaultCPU    = "1"
	defaultMemory = "1Gi"
)

// A demand is what one container asks for: amounts that were found valid, as they were written.
type demand struct {
	field            string // of the requests
	requests, limits *sandboxv1.Resources
	gpu              bool
}

// resources checks the resources of every container.
func (c *checker) resources(spec *sandboxv1.SandboxSpec, primary int) []demand {
	var list []demand
	for i, ct := range spec.GetContainers() {
		d := c.demand(fmt.Sprintf("spec.containers[%d].", i), ct)
		c.require(!d.gpu || i == primary || primary < 0, d.field+".gpu", "only the primary container can have GPUs")
		list = append(list, d)
	}
	return list
}

func (c *checker) demand(at string, ct *sandboxv1.Container) demand {
	both, split := ct.GetResources(), ct.GetResourceRequirements()
	c.require(both == nil || split == nil, at+"resources", "must not be set together with resource_requirements")
	d := demand{field: at + "resources", requests: both, limits: both}
	if split != nil {
		d = demand{field: at + "resource_requirements.requests", requests: split.GetRequests(), limits: split.GetLimits()}
		c.amounts(at+"resource_requirements.limits", d.limits)
	}
	c.amounts(d.field, d.requests)
	c.ordered(d.field+".cpu", d.requests.GetCpu(), d.limits.GetCpu())
	c.ordered(d.field+".memory", d.requests.GetMemory(), d.limits.GetMemory())
	d.gpu = d.requests.GetGpu().GetCount() > 0 || d.limits.GetGpu().GetCount() > 0
	return d.complete()
}

// complete fills in a side that is missing.
func (d demand) complete() demand {
	absent := func(r *sandboxv1.Resources) bool { return r.GetCpu() == "" && r.GetMemory() == "" && r.GetGpu() == nil }
	switch {
	case absent(d.requests) && absent(d.limits):
		d.requests = &sandboxv1.Resources{Cpu: defaultCPU, Memory: defaultMemory}
		d.limits = d.requests
	case absent(d.requests):
		d.requests = d.limits
	case absent(d.limits):
		d.limits = d.requests
	}
	return d
}

func (c *checker) amounts(at string, r *sandboxv1.Resources) {
	c.amount(at+".cpu", r.GetCpu())
	c.amount(at+".memory", r.GetMemory())
	c.require(r.GetGpu().GetCount() >= 0, at+".gpu.count", "must not be negative")
}

func (c *checker) amount(field, text string) {
	if text != "" {
		_, err := quantity.ParseWire(text)
		c.require(err == nil, field, "must be a quantity such as 500m, 2 or 1.5Gi")
	}
}

func (c *checker) ordered(field, request, limit string) {
	low, err1 := quantity.ParseWire(request)
	high, err2 := quantity.ParseWire(limit)
	if err1 == nil && err2 == nil { // both given, and valid
		c.require(low.Cmp(high) <= 0, field, "must not be above the limit")
	}
}

// checkCeiling refuses a sandbox whose containers together ask for too much. The error names the container that goes
// beyond the ceiling.
func (s *Server) checkCeiling(demands []demand) error {
	var cpu, memory quantity.Value
	for _, d := range demands {
		cpu = cpu.Add(amountOf(d.requests.GetCpu()))
		memory = memory.Add(amountOf(d.requests.GetMemory()))
		switch {
		case cpu.Cmp(s.opt.ceilingCPU) > 0:
			return ceilingExceeded(d.field+".cpu", s.opt.ceilingCPU)
		case memory.Cmp(s.opt.ceilingMemory) > 0:
			return ceilingExceeded(d.field+".memory", s.opt.ceilingMemory)
		}
	}
	return nil
}

func ceilingExceeded(field string, ceiling quantity.Value) error {
	text := fmt.Sprintf("the requests of all containers together must not be above %s", ceiling)
	return refusal{
		code:       codes.InvalidArgument,
		reason:     reasonResourceCeiling,
		text:       field + ": " + text,
		violations: []violation{{field, text}},
	}.err()
}

// effective is what the containers have together. Those of a single one are repeated word for word, because clients
// compare them.
func effective(demands []demand) *sandboxv1.ResourceRequirements {
	if len(demands) == 1 {
		return &sandboxv1.ResourceRequirements{Requests: demands[0].requests, Limits: demands[0].limits}
	}
	return &sandboxv1.ResourceRequirements{
		Requests: sum(demands, func(d demand) *sandboxv1.Resources { return d.requests }),
		Limits:   sum(demands, func(d demand) *sandboxv1.Resources { return d.limits }),
	}
}

func sum(demands []demand, side func(demand) *sandboxv1.Resources) *sandboxv1.Resources {
	var cpu, memory quantity.Value
	for _, d := range demands {
		cpu = cpu.Add(amountOf(side(d).GetCpu()))
		memory = memory.Add(amountOf(side(d).GetMemory()))
	}
	return &sandboxv1.Resources{Cpu: cpu.String(), Memory: memory.String()}
}

// amountOf reads an amount that was found valid; one that was left out is nothing.
func amountOf(text string) quantity.Value {
	v, _ := quantity.ParseWire(text)
	return v
}
