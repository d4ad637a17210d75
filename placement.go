package cwsandbox

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Placement says on whose machines a sandbox runs. The numbers are the service's own; one that this version does not know
// keeps its number.
type Placement int32

// The placements of a sandbox.
const (
	PlacementUnspecified Placement = Placement(sandboxv1.SandboxMode_SANDBOX_MODE_UNSPECIFIED) // the service takes serverless
	PlacementServerless  Placement = Placement(sandboxv1.SandboxMode_SANDBOX_MODE_SERVERLESS)  // the platform's own pool
	PlacementCKS         Placement = Placement(sandboxv1.SandboxMode_SANDBOX_MODE_CKS)         // the caller's own clusters
)

// String returns the placement's name in lower case, or Placement(42) for a number that this version does not know.
func (p Placement) String() string {
	switch p {
	case PlacementUnspecified:
		return "unspecified"
	case PlacementServerless:
		return "serverless"
	case PlacementCKS:
		return "cks"
	}
	return fmt.Sprintf("Placement(%d)", int32(p))
}

// Spillover says what follows when no runner of the first choice can take a sandbox.
type Spillover int

// The ways to spill over.
const (
	SpilloverNone         Spillover = iota // there is one choice only
	SpilloverToServerless                  // the caller's own clusters first, then the platform's pool
	SpilloverToCKS                         // the platform's pool first, then the caller's own clusters
)

// String returns the name in lower case, or Spillover(42) for a number that stands for nothing.
func (s Spillover) String() string {
	switch s {
	case SpilloverNone:
		return "none"
	case SpilloverToServerless:
		return "to serverless"
	case SpilloverToCKS:
		return "to cks"
	}
	return fmt.Sprintf("Spillover(%d)", int(s))
}

// path returns where the tries go, one after the other.
func (s Spillover) path() (first, second Placement) {
	switch s {
	case SpilloverToServerless:
		return PlacementCKS, PlacementServerless
	case SpilloverToCKS:
		return PlacementServerless, PlacementCKS
	}
	return PlacementUnspecified, PlacementUnspecified
}

// WithPlacement chooses on whose machines the sandbox runs. [PlacementUnspecified] takes back what a weaker layer says:
// then it is the platform's own pool, or the caller's clusters where [WithRunners] names some of their runners.
// [PlacementCKS] without runners means any that will do. Where it runs is in [Info].
// Over a template it replaces the template's, unless it is [PlacementUnspecified].
func WithPlacement(p Placement) Option {
	return createOption{printed("WithPlacement", p), func(c *createConfig) {
		if p < PlacementUnspecified || p > PlacementCKS {
			c.faults.add("spec.mode", "must be one of the named placements, is %v", p)
		}
		c.placement = setting[Placement]{p, c.layer}
	}}
}

// WithSpillover creates the sandbox in the second place when no runner of the first one can take it: for the reasons that
// make [ErrPlacement], and for no other. A gate of the organization, such as [ReasonServerlessNotAllowed], is none of them,
// nor is an outcome that is not known. There is one second try, with a request id of its own; runners that are named with
// [WithRunners] do not count there. When both fail, the error is that of the second try and matches that of the first,
// too. In [Info] is where the sandbox went.
//
// The placement must be the first one or [PlacementUnspecified], and runners can be named with [SpilloverToServerless]
// only. With a template or a Compose document there is one place only.
func WithSpillover(s Spillover) Option {
	return createOption{printed("WithSpillover", s), func(c *createConfig) {
		if s < SpilloverNone || s > SpilloverToCKS {
			c.faults.add("spillover", "must be one of the named ways, is %v", s)
		}
		c.spillover = setting[Spillover]{s, c.layer}
	}}
}

// checkPlacement is the rule for what placement, runners and spillover may say together.
func (c *createConfig) checkPlacement() {
	first, second := c.spillover.value.path()
	if second != PlacementUnspecified && c.placement.value == second {
		c.faults.add("spillover", "%v begins on %v, the placement is %v", c.spillover.value, first, second)
	}
	if len(c.runners.value) > 0 && c.mode() == PlacementServerless {
		c.faults.add("spec.runner_ids", "need placement %v, it is %v", PlacementCKS, PlacementServerless)
	}
}

// mode is where the create goes at first.
func (c *createConfig) mode() Placement {
	if first, _ := c.spillover.value.path(); first != PlacementUnspecified {
		return first
	}
	if c.placement.value == PlacementUnspecified && len(c.runners.value) > 0 {
		return PlacementCKS // runners can be named on the caller's own clusters only
	}
	return c.placement.value
}

// spilled is the configuration of the second try; nil: there is none.
func (c *createConfig) spilled() *createConfig {
	_, second := c.spillover.value.path()
	if second == PlacementUnspecified {
		return nil
	}
	other := *c
	other.annotations = maps.Clone(c.annotations)                // each try adds a lease of its own
	other.containers.value = cloneContainers(c.containers.value) // likewise
	other.placement.value, other.spillover.value = second, SpilloverNone
	other.runners.value = nil
	return &other
}

// spillReasons are the reasons for which another place may do.
var spillReasons = []Reason{
	ReasonRunnerUnavailable, ReasonRunnerCapacityExhausted, ReasonRunnerOverloaded, ReasonNoSuitableRunner,
	ReasonPlacementRejected, ReasonPlacementUnsatisfied,
}

// placement reports whether a failure says that no runner could take the sandbox: then none was made.
func placement(rpc *rpcerr.Error) bool {
	return rpc.Trusted() && slices.Contains(spillReasons, Reason(rpc.Reason))
}

// spills reports whether a create that failed so is worth another place. Only the failure itself counts, not what came
// before it, and it must be sure that nothing was made.
func spills(err error) bool {
	e, ok := err.(*Error)
	return ok && e.Domain == rpcerr.Domain && slices.Contains(spillReasons, e.Reason) && !errors.Is(e, ErrUndecided)
}

// afterSpilling is the error of the second try with that of the first, in one line.
func afterSpilling(on Placement, first error, then Placement, second error) error {
	var e *Error
	if !errors.As(second, &e) {
		return errors.Join(second, first)
	}
	e = e.with(first)
	told := strings.TrimPrefix(first.Error(), "cwsandbox: "+e.Op+": ")
	e.text = fmt.Sprintf("on %v: %s; then on %v: %s", on, told, then, e.text)
	return e
}
