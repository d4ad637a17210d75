package cwsandbox

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// snapshotLimit bounds a snapshot and the wait for it where the context has no deadline.
	snapshotLimit   = snapshotBudget + 5*time.Second
	snapshotIDField = "file_system_snapshot_id"
)

// Snapshot is what was last seen of a copy of a scratch volume. It is immutable once it is ready, belongs to the
// organization, and outlives its sandbox. A [Volume] with its id begins with what it holds.
type Snapshot struct {
	ID          string
	State       SnapshotState
	StateReason string // why it failed, in the service's words
	SizeBytes   int64  // zero until it is ready
	SandboxID   string // that it was taken of
	Volume      string // likewise, by name
	Trigger     SnapshotTrigger
	RequestID   string
	Bucket      string
	CreateTime  time.Time // all times are UTC
	UpdateTime  time.Time
	ReadyTime   time.Time // zero until it is ready
}

// SnapshotState is how far a snapshot is. The numbers are the service's own; one that this version does not know keeps its
// number.
type SnapshotState int32

// The states of a snapshot.
const (
	SnapshotStateUnspecified SnapshotState = SnapshotState(sandboxv1.SnapshotState_SNAPSHOT_STATE_UNSPECIFIED) // not known
	SnapshotStateCreating    SnapshotState = SnapshotState(sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING)    // being taken
	SnapshotStateReady       SnapshotState = SnapshotState(sandboxv1.SnapshotState_SNAPSHOT_STATE_READY)       // volumes can be filled from it
	SnapshotStateFailed      SnapshotState = SnapshotState(sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED)      // it never will be ready
	SnapshotStateDeleting    SnapshotState = SnapshotState(sandboxv1.SnapshotState_SNAPSHOT_STATE_DELETING)    // being removed
)

// String returns the state's name in lower case, or SnapshotState(42) for a number that this version does not know.
func (s SnapshotState) String() string {
	switch s {
	case SnapshotStateUnspecified:
		return "unspecified"
	case SnapshotStateCreating:
		return "creating"
	case SnapshotStateReady:
		return "ready"
	case SnapshotStateFailed:
		return "failed"
	case SnapshotStateDeleting:
		return "deleting"
	}
	return fmt.Sprintf("SnapshotState(%d)", int32(s))
}

// SnapshotTrigger is what a snapshot was taken for. The numbers are the service's own; one that this version does not know
// keeps its number.
type SnapshotTrigger int32

// The triggers of a snapshot.
const (
	SnapshotTriggerUnspecified SnapshotTrigger = SnapshotTrigger(sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_UNSPECIFIED) // not known
	SnapshotTriggerManual      SnapshotTrigger = SnapshotTrigger(sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_MANUAL)      // Sandbox.Snapshot
	SnapshotTriggerOnStop      SnapshotTrigger = SnapshotTrigger(sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_ON_DELETE)   // WithStopSnapshot
)

// String returns the trigger's name, or SnapshotTrigger(42) for a number that this version does not know.
func (t SnapshotTrigger) String() string {
	switch t {
	case SnapshotTriggerUnspecified:
		return "unspecified"
	case SnapshotTriggerManual:
		return "manual"
	case SnapshotTriggerOnStop:
		return "on-stop"
	}
	return fmt.Sprintf("SnapshotTrigger(%d)", int32(t))
}

// Snapshot copies a scratch volume of a running sandbox, and waits until the copy is ready; in a sandbox that is still
// starting it waits for that first. Files that are being written meanwhile may be copied halfway: writers should pause.
// Where there are several scratch volumes, [WithSnapshotVolume] must say which. To copy what a sandbox leaves, stop it with
// [WithStopSnapshot].
//
// One deadline bounds all of it: that of ctx, or 605 seconds. [WithSnapshotWait] can leave the wait out; then the request
// itself is bounded by the request timeout. A lost answer is asked for again with the same request id, so that one call
// takes one snapshot.
//
// A snapshot that failed, or is being deleted, is [ErrSnapshotFailed], with the service's reason in the text; a wait that
// is given up is [ErrTimeout], and the snapshot may still become ready. What was last seen of it stands beside the error. A
// sandbox that has ended, or is ending, is [ErrNotRunning].
func (sb *Sandbox) Snapshot(ctx context.Context, opts ...SnapshotOption) (Snapshot, error) {
	s, op := sb.s, call{op: "snapshot", sandbox: sb.s.id}
	config, err := newSnapshotConfig(op, opts)
	if err != nil {
		return Snapshot{}, err
	}
	defer s.client.registry.signals.afterSignal()
	if !config.detached {
		var cancel context.CancelFunc
		ctx, cancel = limited(ctx, snapshotLimit)
		defer cancel()
	}
	if err := s.ready(ctx, op.op); err != nil {
		return Snapshot{}, err
	}
	volume, err := s.snapshotVolume(op, config.volume)
	if err != nil {
		return Snapshot{}, err
	}
	record, err := s.client.sandboxes.CreateFileSystemSnapshot(ctx, &sandboxv1.CreateFileSystemSnapshotRequest{
		SandboxId:         s.id,
		ScratchVolumeName: volume,
		RequestId:         config.requestID,
	})
	switch taken := snapshotOf(record); {
	case err != nil:
		return Snapshot{}, op.wrap(err)
	case taken.ID == "":
		return Snapshot{}, op.refuse("the service accepted the snapshot but did not say its id")
	case config.detached:
		return taken, nil
	default:
		return s.client.awaitSnapshot(ctx, s.id, taken)
	}
}

// snapshotVolume decides which volume a snapshot is taken of. What is not known of the sandbox is left to the service.
func (s *shared) snapshotVolume(op call, name string) (string, error) {
	s.mu.Lock()
	volumes := s.info.Volumes
	s.mu.Unlock()
	scratch := scratchNames(volumes)
	refuse := func(text string) (string, error) {
		e := op.make("", ErrInvalidArgument)
		e.Violations = []Violation{{Field: "scratch_volume_name", Description: text}}
		return "", e
	}
	switch {
	case name == "" && len(scratch) == 1:
		return scratch[0], nil
	case name == "" && len(scratch) > 1:
		return refuse("must be one of " + strings.Join(scratch, ", "))
	case name == "" && len(volumes) > 0:
		return refuse("the sandbox has no scratch volume")
	case name != "" && len(volumes) > 0 && !slices.Contains(scratch, name):
		return refuse(fmt.Sprintf("must be a scratch volume of the sandbox, %q is none", name))
	}
	return name, nil
}

// checkSnapshotID is the rule for the snapshot of a call.
func checkSnapshotID(op call, id string) error {
	var f faults
	checkWord(&f, snapshotIDField, id)
	return f.err(op)
}

// Snapshot returns a snapshot as it is now. One that does not exist and one of another organization are the same
// [ErrNotFound].
func (c *Client) Snapshot(ctx context.Context, id string) (Snapshot, error) {
	op := call{op: "get snapshot", resource: "snapshot"}
	if err := checkSnapshotID(op, id); err != nil {
		return Snapshot{}, err
	}
	record, err := c.sandboxes.GetFileSystemSnapshot(ctx, &sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: id})
	return snapshotOf(record), op.wrapAbout(id, err)
}

// WaitSnapshot waits until a snapshot is ready, 605 seconds at most where ctx has no deadline. Its errors are those of the
// wait of [Sandbox.Snapshot], and what was last seen of the snapshot stands beside them.
func (c *Client) WaitSnapshot(ctx context.Context, id string) (Snapshot, error) {
	if err := checkSnapshotID(call{op: "wait snapshot", resource: "snapshot"}, id); err != nil {
		return Snapshot{}, err
	}
	defer c.registry.signals.afterSignal()
	ctx, cancel := limited(ctx, snapshotLimit)
	defer cancel()
	return c.awaitSnapshot(ctx, "", Snapshot{ID: id})
}

// Snapshots yields the snapshots of the organization, page by page. All filters must match. The order is the service's.
//
// An error comes once, last, beside a zero value; each page is asked for again by the rules for reads before that. Each
// page is bounded by the request timeout, the whole walk by ctx.
func (c *Client) Snapshots(ctx context.Context, opts ...SnapshotListOption) iter.Seq2[Snapshot, error] {
	return func(yield func(Snapshot, error) bool) {
		op := call{op: "snapshots", resource: "snapshot"}
		config, err := newSnapshotsConfig(op, opts)
		if err != nil {
			yield(Snapshot{}, err)
			return
		}
		paged(op, func(token string) ([]Snapshot, string, error) {
			page, err := c.sandboxes.ListFileSystemSnapshots(ctx, &sandboxv1.ListFileSystemSnapshotsRequest{
				SourceSandboxId: config.sandbox, PageToken: token, PageSize: int32(config.pageSize),
			})
			list := slices.DeleteFunc(readAll(page.GetFileSystemSnapshots(), snapshotOf), func(s Snapshot) bool {
				return len(config.states) > 0 && !slices.Contains(config.states, s.State)
			})
			return list, page.GetNextPageToken(), err
		})(yield)
	}
}

// DeleteSnapshot removes a snapshot, or gives it up while it is being taken. It returns when the service has accepted
// that. Sandboxes that were filled from it keep what they have. A snapshot that the service does not know is [ErrNotFound],
// or nil with [MissingOK].
func (c *Client) DeleteSnapshot(ctx context.Context, id string, opts ...SnapshotDeleteOption) error {
	op := call{op: "delete snapshot", resource: "snapshot"}
	config, err := newSnapshotDeleteConfig(op, id, opts)
	if err != nil {
		return err
	}
	_, err = c.sandboxes.DeleteFileSystemSnapshot(ctx, &sandboxv1.DeleteFileSystemSnapshotRequest{
		FileSystemSnapshotId: id,
		AllowMissing:         config.missingOK,
	})
	return forgiven(config.missingOK, op.wrapAbout(id, err))
}

// awaitSnapshots waits until all snapshots are ready, side by side. Each that is not is an error that names it.
func (c *Client) awaitSnapshots(ctx context.Context, sandbox string, ids []string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, snapshotBudget, errOwnLimit)
	defer cancel()
	all := make([]*Future[Snapshot], len(ids))
	for i, id := range ids {
		all[i] = Go(func() (Snapshot, error) { return c.awaitSnapshot(ctx, sandbox, Snapshot{ID: id}) })
	}
	_, err := WaitAll(context.WithoutCancel(ctx), all...) // each ends with ctx itself
	return err
}

// awaitSnapshot waits until a snapshot is ready, and returns the last that was seen of it.
func (c *Client) awaitSnapshot(ctx context.Context, sandbox string, seen Snapshot) (Snapshot, error) {
	const stillWaiting = "gave up waiting for the snapshot, which may still become ready"
	op := call{op: "snapshot " + seen.ID, sandbox: sandbox, resource: "snapshot"}
	for interval := firstInterval; ; interval = min(time.Duration(float64(interval)*intervalFactor), largestInterval) {
		got, err := c.sandboxes.GetFileSystemSnapshot(ctx,
			&sandboxv1.GetFileSystemSnapshotRequest{FileSystemSnapshotId: seen.ID}, transport.AfterDrain())
		switch {
		case err != nil && ctx.Err() != nil:
			return seen, op.gaveUp(ctx, stillWaiting, call{op: "get snapshot", resource: "snapshot"}.wrap(err))
		case err != nil:
			return seen, op.wrap(err)
		}
		switch seen = snapshotOf(got); seen.State {
		case SnapshotStateReady:
			return seen, nil
		case SnapshotStateFailed:
			return seen, op.refuse("the snapshot failed: "+orUnknown(seen.StateReason), ErrSnapshotFailed)
		case SnapshotStateDeleting:
			return seen, op.refuse("the snapshot is being deleted", ErrSnapshotFailed)
		}
		select {
		case <-time.After(jitter(interval)):
		case <-ctx.Done():
			return seen, op.gaveUp(ctx, stillWaiting, nil)
		}
	}
}

func orUnknown(reason string) string {
	if reason == "" {
		return "the service gives no reason"
	}
	return reason
}

// snapshotOf reads a record of the service.
func snapshotOf(m *sandboxv1.FileSystemSnapshot) Snapshot {
	return Snapshot{
		ID:          m.GetFileSystemSnapshotId(),
		State:       SnapshotState(m.GetState()),
		StateReason: m.GetStateReason(),
		SizeBytes:   m.GetSizeBytes(),
		SandboxID:   m.GetSourceSandboxId(),
		Volume:      m.GetSourceVolumeName(),
		Trigger:     SnapshotTrigger(m.GetTrigger()),
		RequestID:   m.GetRequestId(),
		Bucket:      m.GetObjectBucket(),
		CreateTime:  timeOf(m.GetCreateTime()),
		UpdateTime:  timeOf(m.GetUpdatedAt()),
		ReadyTime:   timeOf(m.GetCompleteTime()),
	}
}
