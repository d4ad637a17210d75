package cwsandbox

import (
	"fmt"

	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Resources is what a sandbox asks for. Requests are guaranteed, and what is paid for; limits are what it may use beyond.
// Where only one of the two is given the other one is the same. The zero value asks for nothing, which clears what a
// weaker layer asked for.
type Resources struct {
	Requests ResourceList
	Limits   ResourceList
	GPU      *GPU // beside cpu and memory, which it does not imply
}

// ResourceList is an amount of CPU and memory, in the notation of Kubernetes: "500m" or "2" cores, "512Mi" or "4Gi". An
// empty string leaves the amount to the service.
type ResourceList struct{ CPU, Memory string }

// GPU asks for Count GPUs, chosen by their type, such as "H100", or by the memory that each must have. Not by both.
type GPU struct {
	Count    int // at least 1
	Type     string
	MemoryGB int
}

// both returns requests and limits with the missing side completed.
func (r Resources) both() (requests, limits ResourceList) {
	requests, limits = r.Requests, r.Limits
	switch (ResourceList{}) {
	case requests:
		requests = limits
	case limits:
		limits = requests
	}
	return requests, limits
}

// shown is how it prints: a GPU by its fields and not by its address.
func (r Resources) shown() string {
	text := fmt.Sprintf("requests %+v, limits %+v", r.Requests, r.Limits)
	if r.GPU != nil {
		text += fmt.Sprintf(", gpu %+v", *r.GPU)
	}
	return text
}

func (r Resources) clone() Resources {
	if r.GPU != nil {
		gpu := *r.GPU
		r.GPU = &gpu
	}
	return r
}

// check looks at the amounts as they were given, so that one fault is not found on both sides.
func (r Resources) check(f *faults, field string) {
	for _, amount := range []struct{ name, request, limit string }{
		{"cpu", r.Requests.CPU, r.Limits.CPU},
		{"memory", r.Requests.Memory, r.Limits.Memory},
	} {
		requests, limits := field+".requests."+amount.name, field+".limits."+amount.name
		request, hasRequest := checkQuantity(f, requests, amount.request)
		limit, hasLimit := checkQuantity(f, limits, amount.limit)
		if hasRequest && hasLimit && request.Cmp(limit) > 0 {
			f.add(requests, "must not exceed the limit, %q is more than %q", amount.request, amount.limit)
		}
	}
	if r.GPU != nil {
		r.GPU.check(f, field+".requests.gpu")
	}
}

// checkQuantity reports whether there is a valid amount.
func checkQuantity(f *faults, field, text string) (quantity.Value, bool) {
	if text == "" {
		return quantity.Value{}, false
	}
	v, err := quantity.Parse(text)
	if err != nil {
		f.add(field, "%v", err)
		return quantity.Value{}, false
	}
	return v, true
}

func (g GPU) check(f *faults, field string) {
	if g.Count < 1 {
		f.add(field+".count", "must be at least 1, is %d", g.Count)
	}
	switch {
	case g.Type != "" && g.MemoryGB != 0:
		f.add(field, "must be chosen by type or by memory, not by both")
	case g.MemoryGB < 0:
		f.add(field+".memory_gb", "must not be negative, is %d", g.MemoryGB)
	}
	checkText(f, field+".type", g.Type)
}

// requirements is nil when nothing is asked for.
func (r Resources) requirements() *sandboxv1.ResourceRequirements {
	requests, limits := r.both()
	if requests == (ResourceList{}) && limits == (ResourceList{}) && r.GPU == nil {
		return nil
	}
	return &sandboxv1.ResourceRequirements{Requests: requests.message(r.GPU), Limits: limits.message(r.GPU)}
}

func (l ResourceList) message(gpu *GPU) *sandboxv1.Resources {
	return &sandboxv1.Resources{Cpu: l.CPU, Memory: l.Memory, Gpu: gpu.message()}
}

func (g *GPU) message() *sandboxv1.Gpu {
	if g == nil {
		return nil
	}
	m := &sandboxv1.Gpu{Count: int64(g.Count)}
	switch {
	case g.Type != "":
		m.Selector = &sandboxv1.Gpu_Type{Type: g.Type}
	case g.MemoryGB != 0:
		m.Selector = &sandboxv1.Gpu_MemoryGb{MemoryGb: int64(g.MemoryGB)}
	}
	return m
}

// resourcesOf reads what the service says, in the form of older clients where it has no other.
func resourcesOf(m *sandboxv1.ResourceRequirements, older *sandboxv1.Resources) Resources {
	requests, limits := m.GetRequests(), m.GetLimits()
	if m == nil {
		requests, limits = older, older
	}
	r := Resources{Requests: listOf(requests), Limits: listOf(limits), GPU: gpuOf(limits.GetGpu())}
	if r.GPU == nil {
		r.GPU = gpuOf(requests.GetGpu())
	}
	return r
}

func listOf(m *sandboxv1.Resources) ResourceList {
	return ResourceList{CPU: m.GetCpu(), Memory: m.GetMemory()}
}

func gpuOf(m *sandboxv1.Gpu) *GPU {
	if m == nil {
		return nil
	}
	return &GPU{Count: int(m.GetCount()), Type: m.GetType(), MemoryGB: int(m.GetMemoryGb())}
}
