package localserver

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// take brings a snapshot to its end. It calls copied once it does not need the sandbox any more.
func (s *Server) take(sn *snapshot, copied func()) {
	defer sn.cancel(nil)
	ctx, cancel := withLimit(sn.ctx, s.opt.Clock, s.opt.SnapshotTimeout, errSnapshotTimeout)
	defer cancel()
	a, err := s.copyVolume(ctx, sn)
	copied()
	if !sleep(ctx, s.opt.Clock, s.opt.SnapshotDelay) || !s.holdSnapshot(ctx, sn) {
		err = context.Cause(ctx)
	}
	s.discard(s.settleSnapshot(sn, a, err))
}

// copyVolume copies what the volume holds, unless the sandbox goes before.
func (s *Server) copyVolume(ctx context.Context, sn *snapshot) (container.Archive, error) {
	r := sn.source
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.life, func() { cancel(context.Cause(r.life)) })()
	if r.place == nil {
		return nil, errors.New("the sandbox has not been started")
	}
	a, err := r.place.Archive(ctx, sn.volume, s.opt.MaxSnapshotBytes)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return a, err
}

// settleSnapshot makes a snapshot READY or FAILED, and returns what of it is not needed.
func (s *Server) settleSnapshot(sn *snapshot, a container.Archive, err error) (unused []container.Archive) {
	s.store.Lock()
	defer s.store.Unlock()
	s.store.snapshots.flying--
	reason := snapshotFailure(err)
	var size int64
	if a != nil {
		size = a.Size()
	}
	for _, h := range s.hooksOf(sn) {
		if h.FailReason != "" {
			reason = h.FailReason
		}
		if h.SizeBytes > 0 {
			size = h.SizeBytes
		}
	}
	sn.source = nil
	if sn.deleted || reason != "" {
		if a != nil {
			unused = append(unused, a)
		}
		if !sn.deleted {
			sn.state, sn.reason, sn.updated = sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED, reason, s.now()
		}
		return unused
	}
	sn.state, sn.archive, sn.size = sandboxv1.SnapshotState_SNAPSHOT_STATE_READY, a, size
	sn.complete = s.now()
	sn.updated = sn.complete
	return nil
}

// snapshotFailure is the reason that a record shows: the service's word for it, and what happened.
func snapshotFailure(err error) string {
	if err == nil {
		return ""
	}
	reason := reasonFSSCreateFailed
	var large *container.SizeError
	switch {
	case errors.As(err, &large):
		reason = reasonFSSSizeExceeded
	case errors.Is(err, errSnapshotTimeout):
		reason = reasonFSSCreateTimedOut
	case errors.Is(err, errSandboxEnded), errors.Is(err, errShuttingDown):
		reason = reasonFSSCanceled
	}
	return reason + ": " + oneLine(err)
}

// A deleteArchive is what a delete wants archived first, and the grace that follows.
type deleteArchive struct {
	snapshots []*snapshot
	grace     time.Duration
}

// deleteArchiving tells a sandbox to end once volumes of it are archived. The store's mutex is held.
func (s *Server) deleteArchiving(req *sandboxv1.DeleteSandboxRequest, r *record, who identity) (*sandboxv1.DeleteSandboxResponse, error) {
	made, err := newCreation(who, "DeleteSandbox", req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	known, ok, err := s.store.snapshots.deletes.find(made)
	switch {
	case err != nil:
		return nil, err
	case ok:
		return &sandboxv1.DeleteSandboxResponse{Sandbox: known.record.message(s.now()), FileSystemSnapshotIds: known.ids}, nil
	}
	if terminal(r.state) || r.state == terminating {
		return nil, notRunning(r.id, r.state, "")
	}
	for _, name := range req.GetSnapshotVolumes() {
		if err := checkScratch(r, "snapshot_volumes", name); err != nil {
			return nil, err
		}
	}
	if r.ending != nil {
		return nil, notRunning(r.id, terminating, "") // it ends of its own accord, with nothing in between
	}
	if err := s.admitSnapshots(who, len(req.GetSnapshotVolumes())); err != nil {
		return nil, err
	}
	archive := &deleteArchive{grace: graceOf(req)}
	var ids []string
	for _, name := range req.GetSnapshotVolumes() {
		sn := s.newSnapshot(r, name, sandboxv1.SnapshotTrigger_SNAPSHOT_TRIGGER_ON_DELETE, req.GetRequestId())
		sn.owner = who
		s.store.snapshots.add(sn)
		archive.snapshots, ids = append(archive.snapshots, sn), append(ids, sn.id)
	}
	s.store.snapshots.deletes.add(made, archivingDelete{r, ids})
	r.deleteKey = made.key
	r.delete(archive.grace)
	r.archiving = archive
	return &sandboxv1.DeleteSandboxResponse{Sandbox: r.message(s.now()), FileSystemSnapshotIds: ids}, nil
}

// archiveBeforeEnd takes the snapshots that a delete asked for, while the processes run. Then the grace begins.
func (r *record) archiveBeforeEnd() {
	s := r.server
	s.store.Lock()
	archive := r.archiving
	s.store.Unlock()
	if archive == nil {
		return
	}
	var taking sync.WaitGroup
	for _, sn := range archive.snapshots {
		taking.Go(func() { s.take(sn, func() {}) })
	}
	taking.Wait()
	s.store.Lock()
	defer s.store.Unlock()
	r.archiving, r.killAt = nil, s.now().Add(archive.grace)
}

// A SnapshotHook is what a test does with the snapshots of its target: a sandbox or a tag.
type SnapshotHook struct {
	Target     string
	Hold       bool   // they stay CREATING
	FailReason string // they become FAILED
	SizeBytes  int64  // that they report
}

// HookSnapshots applies a hook to the snapshots that are not settled yet, until the returned function is called.
func (s *Server) HookSnapshots(h SnapshotHook) (release func()) {
	s.store.Lock()
	defer s.store.Unlock()
	hook := &h
	s.hooks.snapshots = append(s.hooks.snapshots, hook)
	return func() {
		s.store.Lock()
		defer s.store.Unlock()
		for i, other := range s.hooks.snapshots {
			if other == hook {
				s.hooks.snapshots = append(s.hooks.snapshots[:i:i], s.hooks.snapshots[i+1:]...)
				break
			}
		}
		s.hooks.notify()
	}
}

// hooksOf returns the hooks for a snapshot. The store's mutex is held.
func (s *Server) hooksOf(sn *snapshot) (list []*SnapshotHook) {
	for _, h := range s.hooks.snapshots {
		if sn.source.is(h.Target) {
			list = append(list, h)
		}
	}
	return list
}

// holdSnapshot waits while a test keeps the snapshot in CREATING. It returns false when the context ended.
func (s *Server) holdSnapshot(ctx context.Context, sn *snapshot) bool {
	for {
		s.store.Lock()
		held := false
		for _, h := range s.hooksOf(sn) {
			held = held || h.Hold
		}
		released := s.hooks.changed
		s.store.Unlock()
		if !held {
			return ctx.Err() == nil
		}
		select {
		case <-released:
		case <-ctx.Done():
			return false
		}
	}
}
