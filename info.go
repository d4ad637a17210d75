package cwsandbox

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Info is what was last seen of a sandbox.
type Info struct {
	ID            string
	DisplayName   string
	Image         string // of the primary container; empty where the service keeps no spec
	RunnerID      string
	RunnerGroupID string
	Placement     Placement // as it was asked for
	StateReason   string    // why the sandbox ended, in the service's words
	State         State
	ExitCode      *int // of the main process; nil: unknown, which is not zero
	CreateTime    time.Time
	StartTime     time.Time // zero before the main process started; all times are UTC
	EndTime       time.Time
	SeenTime      time.Time     // when this was received
	MaxLifetime   time.Duration // as the service applies it
	Tags          []string
	Annotations   map[string]string // without those of this package
	Restarts      int               // of the primary container
	Containers    []ContainerInfo   // in the order of the spec
	Resources     Resources         // as the service applies them, summed over the containers
	RuntimeClass  string            // as the runner applies it; "<node-default>": none, on purpose; empty: not known
	Owner         Owner             // who created it, as the mark says
	Lease         time.Duration     // of WithLease; zero: none
	Services      []ServiceStatus   // ports that others may reach

	Egress    []EgressRule  // what may be reached, as the service applies it
	Ingress   []IngressRule // who may reach ports of VisibilityCustom, likewise
	DNSEgress DNSEgress     // likewise

	TemplateID       string // what it was created from; empty: no template
	TemplateRevision int64  // as it was then: later changes to the template do not matter

	Volumes   []Volume // in the order of the spec
	VolumeIDs []string // the registered volumes among them, as the service has attached them

	stopped bool // an own stop was accepted
	lease   lease.Lease
}

// Err returns the verdict on a sandbox that has ended: nil when its main process ended well, was stopped by nobody and
// left no other code, an [*ExitError] for another exit code, and an error that matches [ErrFailed] or [ErrTerminated]
// otherwise. Of a sandbox that has not ended it is nil.
//
// A sandbox that was stopped through this client reports [ErrTerminated] from [Sandbox.WaitDone], whatever state the
// service gives it in the end.
func (i Info) Err() error {
	switch {
	case i.State == StateFailed && i.stopped:
		return i.refusal("wait done", ErrFailed, ErrTerminated)
	case i.State == StateFailed:
		return i.refusal("wait done", ErrFailed)
	case i.State == StateTerminated, i.stopped && i.ended():
		return i.refusal("wait done", ErrTerminated)
	case i.ExitCode != nil && *i.ExitCode != 0 && i.State == StateCompleted:
		return &ExitError{SandboxID: i.ID, Code: *i.ExitCode}
	}
	return nil
}

// refusal is an error about the state that the sandbox is in.
func (i Info) refusal(op string, sentinels ...error) error {
	text := "sandbox is " + i.State.String()
	if i.StateReason != "" {
		text += ": " + i.StateReason
	}
	return call{op: op, sandbox: i.ID}.refuse(text, sentinels...)
}

// ended reports whether nothing more will happen. A service that has lost the state but knows the end time counts.
func (i Info) ended() bool {
	return i.State.Terminal() || !i.State.known() && !i.EndTime.IsZero()
}

// rank is that of the state; an end whose state is not known is an end.
func (i Info) rank() int {
	if i.ended() {
		return StateCompleted.rank()
	}
	return i.State.rank()
}

// clone returns a copy that shares nothing with i.
func (i Info) clone() Info {
	i.Tags = slices.Clone(i.Tags)
	i.Annotations = maps.Clone(i.Annotations)
	i.Services = slices.Clone(i.Services)
	i.Egress, i.Ingress = cloneEgress(i.Egress), cloneIngress(i.Ingress)
	i.ExitCode = copied(i.ExitCode)
	i.Resources = i.Resources.clone()
	i.Volumes, i.VolumeIDs = slices.Clone(i.Volumes), slices.Clone(i.VolumeIDs)
	i.Containers = slices.Clone(i.Containers)
	for n := range i.Containers {
		i.Containers[n].ExitCode = copied(i.Containers[n].ExitCode)
		i.Containers[n].Spec = i.Containers[n].Spec.clone()
	}
	return i
}

// infoOf reads a record of the service.
func infoOf(sb *sandboxv1.Sandbox, seen time.Time) Info {
	spec, status := sb.GetSpec(), sb.GetStatus()
	annotations, owner := splitOwner(spec.GetAnnotations())
	annotations, leased := splitLease(annotations)
	i := Info{
		ID:            sb.GetSandboxId(),
		DisplayName:   sb.GetDisplayName(),
		RunnerID:      status.GetRunnerId(),
		RunnerGroupID: status.GetRunnerGroupId(),
		Placement:     Placement(spec.GetMode()),
		StateReason:   status.GetStateReason(),
		State:         State(status.GetState()),
		CreateTime:    timeOf(status.GetCreateTime()),
		StartTime:     timeOf(status.GetStartTime()),
		EndTime:       timeOf(status.GetEndTime()),
		SeenTime:      seen.UTC(),
		MaxLifetime:   time.Duration(status.GetEffectiveMaxLifetimeSeconds()) * time.Second,
		Tags:          slices.Clone(spec.GetTags()),
		Annotations:   annotations,
		Containers:    containersOf(sb),
		Volumes:       volumesOf(spec.GetVolumes(), primaryOf(spec.GetContainers())),
		VolumeIDs:     slices.Clone(status.GetAttachedVolumeIds()),
		Resources:     resourcesOf(status.GetEffectiveResourceRequirements(), status.GetEffectiveResources()),
		RuntimeClass:  status.GetEffectiveRuntimeClass(),
		Owner:         owner,
		Lease:         leased.Length,
		Egress:        egressOf(status.GetEffectiveEgress()),
		Ingress:       ingressOf(status.GetEffectiveIngress()),
		DNSEgress:     DNSEgress(status.GetEffectiveDnsEgress()),
		lease:         leased,
		Services:      servicesOf(sb),

		TemplateID:       sb.GetSourceTemplateId(),
		TemplateRevision: sb.GetSourceTemplateRevision(),
	}
	if status != nil && status.ExitCode != nil {
		code := int(status.GetExitCode())
		i.ExitCode = &code
	}
	if primary := primaryOf(spec.GetContainers()); primary != nil {
		i.Image = primary.GetImage()
		for _, c := range status.GetContainerStatuses() {
			if c.GetName() == primary.GetName() {
				i.Restarts = int(c.GetRestartCount())
			}
		}
	}
	return i
}

// primaryOf finds the container whose end is the sandbox's end.
func primaryOf(containers []*sandboxv1.Container) *sandboxv1.Container {
	for _, c := range containers {
		if c.GetPrimary() {
			return c
		}
	}
	if len(containers) == 0 {
		return nil
	}
	return containers[0]
}

func timeOf(t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.AsTime()
}
