package localserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// snapshotRetry is when a client should ask again while too many snapshots are being taken.
const snapshotRetry = time.Second

// Why a snapshot is given up.
var (
	errSandboxEnded    = errors.New("the sandbox has ended")
	errSnapshotDeleted = errors.New("the snapshot was deleted")
	errSnapshotTimeout = errors.New("the snapshot took too long")
)

// A snapshot is the record of one archived volume.
type snapshot struct {
	// Fixed.
	id, bucket string
	owner      identity
	sourceID   string // of the sandbox
	volume     string
	trigger    sandboxv1.SnapshotTrigger
	requestID  string
	made       creation
	create     time.Time
	ctx        context.Context // ends when there is no use in going on
	cancel     context.CancelCauseFunc

	// Guarded by the store's mutex.
	source            *record // nil once settled: the record, with its logs, is not kept for the snapshot's sake
	state             sandboxv1.SnapshotState
	reason            string
	size              int64
	complete, updated time.Time
	archive           container.Archive // nil: not ready, or removed
	users             int               // volumes that are still to be filled from it
	deleted           bool
}

// A snapshotStore holds the snapshots of a server. The store's mutex guards it.
type snapshotStore struct {
	byID    map[string]*snapshot
	ordered []*snapshot // by position, oldest first
	creates replays[*snapshot]
	deletes replays[archivingDelete]
	flying  int // being taken
}

// archivingDelete is what a delete has archived.
type archivingDelete struct {
	record *record
	ids    []string
}

func newSnapshotStore() snapshotStore {
	return snapshotStore{byID: make(map[string]*snapshot)}
}

func (sn *snapshot) position() position { return position{sn.create, sn.id} }

func (sn *snapshot) bytes() int { return 0 } // never large

func (st *snapshotStore) add(sn *snapshot) {
	st.byID[sn.id] = sn
	st.creates.add(sn.made, sn)
	i, _ := indexOf(st.ordered, sn.position())
	st.ordered = slices.Insert(st.ordered, i, sn)
	st.flying++
}

func (st *snapshotStore) remove(sn *snapshot) {
	delete(st.byID, sn.id)
	st.creates.remove(sn.made.key)
	if i, ok := indexOf(st.ordered, sn.position()); ok {
		st.ordered = slices.Delete(st.ordered, i, i+1)
	}
}

// find returns the snapshot that the caller asks for, or nil when its organization has no such one.
func (st *snapshotStore) find(id string, who identity) *snapshot {
	sn := st.byID[id]
	if sn == nil || sn.owner.organization != who.organization {
		return nil
	}
	return sn
}

// message renders the snapshot as clients see it. The store's mutex is held.
func (sn *snapshot) message() *sandboxv1.FileSystemSnapshot {
	return &sandboxv1.FileSystemSnapshot{
		FileSystemSnapshotId: sn.id,
		State:                sn.state,
		StateReason:          sn.reason,
		SizeBytes:            sn.size,
		SourceSandboxId:      sn.sourceID,
		SourceVolumeName:     sn.volume,
		Trigger:              sn.trigger,
		CreateTime:           timestamppb.New(sn.create),
		CompleteTime:         timestamp(sn.complete),
		UpdatedAt:            timestamppb.New(sn.updated),
		ObjectBucket:         sn.bucket,
		RequestId:            sn.requestID,
	}
}

// CreateFileSystemSnapshot begins to archive a scratch volume of a running sandbox.
func (s *sandboxService) CreateFileSystemSnapshot(ctx context.Context, req *sandboxv1.CreateFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	var c checker
	c.require(req.GetSandboxId() != "", "sandbox_id", "must not be empty")
	c.require(len(req.GetRequestId()) <= maxSnapshotKeyBytes, "request_id", "must not be longer than %d bytes", maxSnapshotKeyBytes)
	if err := c.err(); err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	made, err := newCreation(who, "CreateFileSystemSnapshot", req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	known, ok, err := s.store.snapshots.creates.find(made)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return known.message(), nil
	}
	r := s.store.find(req.GetSandboxId(), who)
	switch {
	case r == nil:
		return nil, gone(req.GetSandboxId())
	case r.state != running:
		return nil, notRunning(r.id, r.state, "")
	case r.ending != nil:
		return nil, notRunning(r.id, terminating, "")
	}
	volume, err := chooseVolume(r, req.GetScratchVolumeName())
	if err != nil {
		return nil, err
	}
	if err := s.admitSnapshots(who, 1); err != nil {
		return nil, err
	}
	sn := s.newSnapshot(r, volume, sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_MANUAL, req.GetRequestId())
	sn.owner, sn.made = who, made
	s.store.snapshots.add(sn)
	r.archives.Add(1)
	s.drivers.Go(func() { s.take(sn, r.archives.Done) })
	return sn.message(), nil
}

// chooseVolume finds the scratch volume that a snapshot is to be taken of.
func chooseVolume(r *record, name string) (string, error) {
	const field = "scratch_volume_name"
	if name != "" {
		return name, checkScratch(r, field, name)
	}
	var names []string
	for _, v := range r.spec.GetVolumes() {
		if v.GetVolumeId() == "" {
			names = append(names, v.GetName())
		}
	}
	switch len(names) {
	case 0:
		return "", bad(field, "the sandbox has no scratch volume")
	case 1:
		return names[0], nil
	}
	return "", bad(field, "must be one of %s", strings.Join(names, ", "))
}

// checkScratch refuses names that no scratch volume of the sandbox has.
func checkScratch(r *record, field, name string) error {
	switch scratch, registered := declared(r.spec, name); {
	case registered:
		return refusal{
			code:     codes.FailedPrecondition,
			reason:   reasonNotSnapshottable,
			text:     "volume " + name + " is a registered volume, of which no snapshot can be taken",
			metadata: map[string]string{"volume_name": name},
		}.err()
	case !scratch:
		return bad(field, "must name a scratch volume of the sandbox, %q is none", name)
	}
	return nil
}

// admitSnapshots decides whether an organization may have so many snapshots more. The store's mutex is held.
func (s *Server) admitSnapshots(who identity, more int) error {
	if s.opt.DisableSnapshots {
		return snapshotsOff()
	}
	if limit := s.opt.MaxSnapshots; limit > 0 {
		for _, sn := range s.store.snapshots.ordered {
			if sn.owner.organization == who.organization {
				more++
			}
		}
		if more > limit {
			return refusal{
				code:     codes.FailedPrecondition,
				reason:   reasonFSSQuotaExceeded,
				text:     fmt.Sprintf("an organization can have %d snapshots", limit),
				metadata: map[string]string{"max_snapshots": fmt.Sprint(limit)},
			}.err()
		}
	}
	if limit := s.opt.MaxSnapshotsInFlight; limit > 0 && s.store.snapshots.flying >= limit {
		return refusal{
			code:       codes.Unavailable,
			reason:     reasonFSSInflightLimit,
			text:       fmt.Sprintf("no more than %d snapshots can be taken at a time", limit),
			metadata:   map[string]string{"max_in_flight": fmt.Sprint(limit)},
			retryAfter: snapshotRetry,
		}.err()
	}
	return nil
}

func snapshotsOff() error {
	return refusal{
		code:   codes.FailedPrecondition,
		reason: reasonFSSNotSupported,
		text:   "file-system snapshots are not enabled for this organization",
	}.err()
}

// newSnapshot makes a record that nobody sees yet.
func (s *Server) newSnapshot(r *record, volume string, trigger sandboxv1.SnapshotTrigger, requestID string) *snapshot {
	now := s.now().Round(0)
	sn := &snapshot{
		id:        "fss-" + strings.ToLower(rand.Text()[:20]),
		bucket:    s.snapshotBucket(r.owner.organization),
		owner:     r.owner,
		source:    r,
		sourceID:  r.id,
		volume:    volume,
		trigger:   trigger,
		requestID: requestID,
		create:    now,
		updated:   now,
		state:     sandboxv1.SnapshotState_SNAPSHOT_STATE_CREATING,
	}
	sn.ctx, sn.cancel = s.bind(context.Background())
	return sn
}

// GetFileSystemSnapshot returns a snapshot as it is now.
func (s *sandboxService) GetFileSystemSnapshot(ctx context.Context, req *sandboxv1.GetFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	id := req.GetFileSystemSnapshotId()
	if id == "" {
		return nil, bad("file_system_snapshot_id", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	sn := s.store.snapshots.find(id, callerOf(ctx))
	if sn == nil {
		return nil, unknownSnapshot(id)
	}
	return sn.message(), nil
}

func unknownSnapshot(id string) error {
	return refusal{
		code:     codes.NotFound,
		reason:   reasonFSSNotFound,
		text:     "snapshot " + id + " was not found",
		metadata: map[string]string{"file_system_snapshot_id": id},
	}.err()
}

// ListFileSystemSnapshots returns a page of the organization's snapshots, newest first.
func (s *sandboxService) ListFileSystemSnapshots(ctx context.Context, req *sandboxv1.ListFileSystemSnapshotsRequest) (*sandboxv1.ListFileSystemSnapshotsResponse, error) {
	who := callerOf(ctx)
	sum := sha256.Sum256(fmt.Appendf(nil, "snapshots %q %q", who.organization, req.GetSourceSandboxId()))

	s.store.Lock()
	defer s.store.Unlock()
	page, next, err := pageOf(s.tokens, sum[:], req, s.store.snapshots.ordered, func(sn *snapshot) bool {
		return sn.owner.organization == who.organization && unsetOrIn(req.GetSourceSandboxId(), sn.sourceID)
	})
	if err != nil {
		return nil, err
	}
	resp := &sandboxv1.ListFileSystemSnapshotsResponse{NextPageToken: next}
	for _, sn := range page {
		resp.FileSystemSnapshots = append(resp.FileSystemSnapshots, sn.message())
	}
	return resp, nil
}

// DeleteFileSystemSnapshot removes a snapshot, or gives it up while it is being taken.
func (s *sandboxService) DeleteFileSystemSnapshot(ctx context.Context, req *sandboxv1.DeleteFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	id := req.GetFileSystemSnapshotId()
	if id == "" {
		return nil, bad("file_system_snapshot_id", "must not be empty")
	}
	answer, unused, err := s.removeSnapshot(id, req.GetAllowMissing(), callerOf(ctx))
	s.discard(unused)
	return answer, err
}

func (s *Server) removeSnapshot(id string, allowMissing bool, who identity) (*sandboxv1.FileSystemSnapshot, []container.Archive, error) {
	s.store.Lock()
	defer s.store.Unlock()
	sn := s.store.snapshots.find(id, who)
	switch {
	case sn == nil && allowMissing:
		return &sandboxv1.FileSystemSnapshot{}, nil, nil
	case sn == nil:
		return nil, nil, unknownSnapshot(id)
	}
	s.store.snapshots.remove(sn)
	sn.state, sn.updated, sn.deleted = sandboxv1.SnapshotState_SNAPSHOT_STATE_DELETING, s.now(), true
	sn.cancel(errSnapshotDeleted)
	return sn.message(), sn.takeUnused(), nil
}

// takeUnused takes the archive out of a deleted snapshot that no volume is to be filled from any more. The store's mutex
// is held.
func (sn *snapshot) takeUnused() []container.Archive {
	a := sn.archive
	if !sn.deleted || sn.users > 0 || a == nil {
		return nil
	}
	sn.archive = nil
	return []container.Archive{a}
}

// discard removes archives that nobody needs.
func (s *Server) discard(unused []container.Archive) {
	for _, a := range unused {
		if err := a.Remove(); err != nil {
			s.opt.Logger.Warn("snapshot not removed", "error", err)
		}
	}
}

// restorable finds a snapshot that a volume can be filled from. The store's mutex is held.
func (s *Server) restorable(id string, who identity) (*snapshot, error) {
	sn := s.store.snapshots.find(id, who)
	if sn == nil {
		return nil, unknownSnapshot(id)
	}
	r := refusal{
		code:     codes.FailedPrecondition,
		metadata: map[string]string{"file_system_snapshot_id": id},
	}
	if sn.state != sandboxv1.SnapshotState_SNAPSHOT_STATE_READY {
		r.reason, r.text = reasonFSSNotReady, fmt.Sprintf("snapshot %s is %s", id,
			strings.ToLower(strings.TrimPrefix(sn.state.String(), "SNAPSHOT_STATE_")))
		return nil, r.err()
	}
	if bucket := s.snapshotBucket(who.organization); s.opt.EnforceBucket && bucket != sn.bucket {
		r.reason, r.text = reasonFSSBucketMismatch, fmt.Sprintf("snapshot %s lies in bucket %s and not in %s", id, sn.bucket, bucket)
		r.metadata["snapshot_bucket"], r.metadata["effective_bucket"] = sn.bucket, bucket
		return nil, r.err()
	}
	return sn, nil
}
