package localserver

import (
	"context"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	maxGrace            = 300 * time.Second
	maxSnapshotKeyBytes = 128
)

// DeleteSandbox tells a sandbox to end and returns at once.
func (s *sandboxService) DeleteSandbox(ctx context.Context, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
	if err := checkDelete(req); err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	r := s.store.find(req.GetSandboxId(), callerOf(ctx))
	switch {
	case r == nil && req.GetAllowMissing():
		return &sandboxv1.DeleteSandboxResponse{}, nil
	case r == nil:
		return nil, gone(req.GetSandboxId())
	case len(req.GetSnapshotVolumes()) > 0:
		return s.deleteArchiving(req, r, callerOf(ctx))
	}
	r.delete(graceOf(req))
	return &sandboxv1.DeleteSandboxResponse{Sandbox: r.message(s.now())}, nil
}

func graceOf(req *sandboxv1.DeleteSandboxRequest) time.Duration {
	return min(time.Duration(req.GetGracePeriodSeconds())*time.Second, maxGrace)
}

func checkDelete(req *sandboxv1.DeleteSandboxRequest) error {
	var c checker
	c.require(req.GetSandboxId() != "", "sandbox_id", "must not be empty")
	c.require(req.GetGracePeriodSeconds() >= 0, "grace_period_seconds", "must not be negative")
	if names := req.GetSnapshotVolumes(); len(names) > 0 {
		c.require(!req.GetAllowMissing(), "allow_missing", "must not be set together with snapshot_volumes")
		c.require(len(req.GetRequestId()) <= maxSnapshotKeyBytes, "request_id", "must not be longer than %d bytes", maxSnapshotKeyBytes)
		c.require(unique(names), "snapshot_volumes", "must not name a volume twice")
	}
	return c.err()
}

// PurgeSandboxes tells all active sandboxes that are selected to end.
func (s *sandboxService) PurgeSandboxes(ctx context.Context, req *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error) {
	if req.GetPurgeAll() == (len(req.GetTags()) > 0) {
		return nil, bad("tags", "either tags or purge_all must select sandboxes")
	}
	if req.GetRequestId() != "" {
		return nil, notServed("request_id")
	}
	who := callerOf(ctx)
	resp := &sandboxv1.PurgeSandboxesResponse{}
	s.all(func(r *record) {
		if terminal(r.state) || !r.visibleTo(who, s.now()) || !r.hasTags(req.GetTags()) {
			return
		}
		if req.GetDryRun() {
			resp.PurgeCount++
			return
		}
		s.purge(r, resp)
	})
	return resp, nil
}

// purge ends one sandbox and enters it in the answer. The store's mutex is held.
func (s *Server) purge(r *record, resp *sandboxv1.PurgeSandboxesResponse) {
	f := s.purgeFailure(r)
	if f == nil {
		resp.PurgeCount++
		r.delete(0)
		return
	}
	resp.FailedSandboxIds = append(resp.FailedSandboxIds, r.id)
	if f.retryable {
		resp.RetryableFailedSandboxIds = append(resp.RetryableFailedSandboxIds, r.id)
	}
}
