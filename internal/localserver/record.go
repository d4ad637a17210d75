package localserver

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A record is one sandbox: what was asked for, what became of it, and the goroutine that drives it from the one to
// the other.
//
// Lock discipline. One mutex, the store's, guards everything of all records and of their containers that changes. It
// is held for a few assignments at a time, never while a runtime, a client or a timer is waited for. What is set
// before a record is published and never changes afterwards is marked as fixed, and is read without it. What only
// the driving goroutine changes is marked as its own.
type record struct {
	// Fixed.
	server      *Server
	id          string
	owner       identity
	displayName string
	template    string // id of what it was made of; empty: no template
	revision    int64
	fromFile    bool
	hosts       []string // names of 127.0.0.1
	spec        *sandboxv1.SandboxSpec
	size        int // of the spec, in bytes
	create      time.Time
	lifetime    time.Duration
	effective   *sandboxv1.ResourceRequirements
	containers  []*containerRecord
	primary     *containerRecord
	key         requestKey // of the create; zero: it had none
	shareToken  string     // of its endpoints; empty: none needs it
	publishErr  error      // why its services have no addresses

	publications []*publication  // of its services, in their order
	ctx          context.Context // ends when an end was decided: nothing is started any more
	cancel       context.CancelFunc
	life         context.Context // ends before the place goes
	leave        context.CancelCauseFunc
	volumes      []attachedVolume // set before the record is published
	archives     sync.WaitGroup   // copies of volumes that need the place; none begins once an end was decided

	// The driving goroutine's own; the place is set before the supervisors start.
	place       container.Sandbox
	supervisors sync.WaitGroup

	// Guarded by the store's mutex.
	state       sandboxv1.State
	ending      *ending   // nil: goes on
	killAt      time.Time // with ending: when SIGKILL follows SIGTERM
	start, end  time.Time
	reason      string
	exitCode    *int32
	hiddenUntil time.Time     // ForgetFor
	forgotten   bool          // Forget
	changed     chan struct{} // closed and replaced with every change
	stopExpiry  func() bool
	archiving   *deleteArchive // what is archived before anything is told to end; nil: nothing, or done
	deleteKey   requestKey     // of the delete that archived; zero: it had none
}

// A containerRecord is one container of a record. Its run changes with every restart.
type containerRecord struct {
	// Fixed.
	record  *record
	spec    *sandboxv1.Container
	granted map[string]string // variables beside those of the spec; secret
	log     *logStore
	files   pathLocks
	ready   chan struct{} // closed once the next container may start

	// Guarded by the store's mutex.
	state    sandboxv1.State
	run      container.Container // nil: not started, between two runs, or ended
	runSince time.Time
	isReady  bool
	exitCode *int32 // of the last run, once it has ended
	restarts int32
}

// terminal reports whether a state is final.
func terminal(s sandboxv1.State) bool {
	switch s {
	case sandboxv1.State_STATE_COMPLETED, sandboxv1.State_STATE_FAILED, sandboxv1.State_STATE_TERMINATED:
		return true
	}
	return false
}

// notify wakes everybody who waits for a change. The store's mutex is held.
func (r *record) notify() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// container finds a container by name; the empty name is the primary's. It returns nil for unknown names.
func (r *record) container(name string) *containerRecord {
	if name == "" {
		return r.primary
	}
	for _, c := range r.containers {
		if c.spec.GetName() == name {
			return c
		}
	}
	return nil
}

func (r *record) hasTag(tag string) bool { return slices.Contains(r.spec.GetTags(), tag) }

// hasTags reports whether the sandbox carries every one of the tags.
func (r *record) hasTags(tags []string) bool {
	for _, tag := range tags {
		if !r.hasTag(tag) {
			return false
		}
	}
	return true
}

// visibleTo reports whether a caller may see the sandbox. The store's mutex is held.
func (r *record) visibleTo(who identity, now time.Time) bool {
	if r.forgotten || now.Before(r.hiddenUntil) || r.owner.organization != who.organization {
		return false
	}
	return who.admin || r.owner.user == who.user
}

// message renders the record as clients see it. It shares the spec with the record, which nobody changes. The
// store's mutex is held.
func (r *record) message(now time.Time) *sandboxv1.Sandbox {
	spec := r.spec
	if r.state == preparing {
		spec = nil // as long as images are filled, the service does not tell
	}
	return &sandboxv1.Sandbox{
		SandboxId:   r.id,
		Spec:        spec,
		DisplayName: r.displayName,

		SourceTemplateId:       r.template,
		SourceTemplateRevision: r.revision,
		Status:                 r.status(now),
	}
}

// creation is message with what only answers of creates carry.
func (r *record) creation(now time.Time) *sandboxv1.Sandbox {
	m := r.message(now)
	m.EndpointShareToken = r.shareToken
	return m
}

func (r *record) status(now time.Time) *sandboxv1.SandboxStatus {
	st := &sandboxv1.SandboxStatus{
		State:                         r.state,
		StateReason:                   r.reason,
		CreateTime:                    timestamppb.New(r.create),
		StartTime:                     timestamp(r.start),
		EndTime:                       timestamp(r.end),
		EffectiveResources:            r.effective.GetRequests(),
		EffectiveMaxLifetimeSeconds:   int32(r.lifetime / time.Second),
		RunnerId:                      runnerID,
		RunnerGroupId:                 runnerGroupID,
		EffectiveResourceRequirements: r.effective,
		EffectiveRuntimeClass:         orDefault(r.spec.GetRuntimeClass(), "<node-default>"),
		AttachedVolumeIds:             volumeIDs(r.spec),
		Services:                      r.serviceStatuses(),
	}
	showExit := !now.Before(r.end.Add(r.server.opt.ExitCodeLag))
	if showExit {
		st.ExitCode = r.exitCode
	}
	r.describeNetwork(st)
	for _, c := range r.containers {
		st.ContainerStatuses = append(st.ContainerStatuses, c.status(showExit))
	}
	return st
}

func (c *containerRecord) status(showExit bool) *sandboxv1.ContainerStatus {
	st := &sandboxv1.ContainerStatus{Name: c.spec.GetName(), State: c.state, RestartCount: c.restarts}
	if showExit && c.exitCode != nil && (c.state == completed || c.state == failed) {
		st.ExitCode = *c.exitCode
	}
	return st
}

// timestamp leaves an unset time out.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
