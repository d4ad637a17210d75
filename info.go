package cwsandbox

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Info is what was last seen of a sandbox.
type Info struct {
	ID            string
	DisplayName   string
	Image         string // of the primary container; empty where the service keeps no spec
	RunnerID      string
	RunnerGroupID string
	StateReason   string // why the sandbox ended, in the service's words
	State         State
	ExitCode      *int // of the main process; nil: unknown, which is not zero
	CreateTime    time.Time
	StartTime     time.Time // zero before the main process started; all times are UTC
	EndTime       time.Time
	SeenTime      time.Time     // when this was received
	MaxLifetime   time.Duration // as the service applies it
	Tags          []string
	Annotations   map[string]string
	Restarts      int // of the primary container

	stopped bool // an own stop was accepted
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
	if i.ExitCode != nil {
		code := *i.ExitCode
		i.ExitCode = &code
	}
	return i
}

// infoOf reads a record of the service.
func infoOf(sb *sandboxv1.Sandbox, seen time.Time) Info {
	spec, status := sb.GetSpec(), sb.GetStatus()
	i := Info{
		ID:            sb.GetSandboxId(),
		DisplayName:   sb.GetDisplayName(),
		RunnerID:      status.GetRunnerId(),
		RunnerGroupID: status.GetRunnerGroupId(),
		StateReason:   status.GetStateReason(),
		State:         State(status.GetState()),
		CreateTime:    timeOf(status.GetCreateTime()),
		StartTime:     timeOf(status.GetStartTime()),
		EndTime:       timeOf(status.GetEndTime()),
		SeenTime:      seen.UTC(),
		MaxLifetime:   time.Duration(status.GetEffectiveMaxLifetimeSeconds()) * time.Second,
		Tags:          slices.Clone(spec.GetTags()),
		Annotations:   maps.Clone(spec.GetAnnotations()),
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
