package localserver

import (
	"context"
	"crypto/rand"
	"fmt"
	"path"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	volumeValidating = sandboxv1.VolumeState_VOLUME_STATE_VALIDATING
	volumeReady      = sandboxv1.VolumeState_VOLUME_STATE_READY
	volumeError      = sandboxv1.VolumeState_VOLUME_STATE_ERROR
	volumeDeleting   = sandboxv1.VolumeState_VOLUME_STATE_DELETING
)

// volumeService keeps the registrations of claims. What is checked is decided at once: only the answers to creates and
// deletes show the states between.
type volumeService struct {
	sandboxv1.UnsafeVolumeServiceServer
	*Server
}

// volumeEntry finds a volume of an organization, or returns nil. The store's mutex is held.
func (s *Server) volumeEntry(organization, id string) *entry[*sandboxv1.Volume] {
	return s.volumes.find(organization, func(v *sandboxv1.Volume) bool { return v.GetVolumeId() == id })
}

func noVolume(id string) error {
	return refusal{
		code:     codes.NotFound,
		reason:   reasonVolumeNotFound,
		text:     fmt.Sprintf("volume %q was not found", id),
		metadata: map[string]string{"volume_id": id},
	}.err()
}

// attached counts the sandboxes of an organization that have a volume and have not ended. The store's mutex is held.
func (s *Server) attached(organization, id string) (n int32) {
	for _, r := range s.store.ordered {
		if !terminal(r.state) && r.owner.organization == organization && slices.Contains(volumeIDs(r.spec), id) {
			n++
		}
	}
	return n
}

// shown is a volume as clients see it. The store's mutex is held.
func (s *Server) shown(organization string, v *sandboxv1.Volume) *sandboxv1.Volume {
	n := s.attached(organization, v.GetVolumeId())
	if n == 0 {
		return v
	}
	v = proto.CloneOf(v)
	v.Status.AttachedSandboxCount = n
	return v
}

// CreateVolume registers a claim.
func (s *volumeService) CreateVolume(ctx context.Context, req *sandboxv1.CreateVolumeRequest) (*sandboxv1.Volume, error) {
	spec := req.GetVolume().GetSpec()
	switch {
	case req.GetVolume() == nil:
		return nil, bad("volume", "must be set")
	case spec == nil:
		return nil, bad("spec", "must be set")
	}
	if err := checkVolume(spec); err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	made, err := newCreation(who, "CreateVolume", req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	found := s.inspect(spec)

	s.store.Lock()
	defer s.store.Unlock()
	if first, ok, err := s.volumes.repeated(made); ok || err != nil {
		return first, err
	}
	if limit := s.opt.MaxVolumes; limit > 0 && s.volumes.count(who.organization) >= limit {
		return nil, refusal{
			code:   codes.ResourceExhausted,
			reason: reasonVolumeQuota,
			text:   fmt.Sprintf("no more than %d volumes can be registered", limit),
		}.err()
	}
	now := timestamppb.New(s.now())
	first := &sandboxv1.Volume{
		VolumeId: "vol-" + strings.ToLower(rand.Text()[:20]),
		Spec:     proto.CloneOf(spec),
		Status: &sandboxv1.VolumeStatus{
			State: volumeValidating, Locality: sandboxv1.VolumeLocality_VOLUME_LOCALITY_CLUSTER_LOCAL, CreateTime: now, UpdateTime: now,
		},
	}
	s.volumes.add(who.organization, made, found.applied(first, now), first)
	return first, nil
}

// checkVolume checks everything whose correctness is decided by the request alone.
func checkVolume(spec *sandboxv1.VolumeSpec) error {
	pvc := spec.GetPvc()
	if pvc == nil {
		return bad("spec.pvc", "must be set")
	}
	var c checker
	c.require(pvc.GetRunnerId() != "", "spec.pvc.runner_id", "must not be empty")
	c.require(pvc.GetNamespace() != "", "spec.pvc.namespace", "must not be empty")
	c.require(pvc.GetClaimName() != "", "spec.pvc.claim_name", "must not be empty")
	c.require(validSubPath(pvc.GetSubPath()), "spec.pvc.sub_path", "must be a relative path without dot segments")
	return c.err()
}

func validSubPath(sub string) bool {
	return sub == "" || !path.IsAbs(sub) && path.Clean(sub) == sub && !hasNUL(sub) &&
		sub != "." && sub != ".." && !strings.HasPrefix(sub, "../")
}

// GetVolume returns one volume.
func (s *volumeService) GetVolume(ctx context.Context, req *sandboxv1.GetVolumeRequest) (*sandboxv1.Volume, error) {
	id, organization := req.GetVolumeId(), callerOf(ctx).organization
	if id == "" {
		return nil, bad("volume_id", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.volumeEntry(organization, id)
	if e == nil {
		return nil, noVolume(id)
	}
	return s.shown(organization, e.now), nil
}

// ListVolumes returns a page of the organization's volumes, newest first.
func (s *volumeService) ListVolumes(ctx context.Context, req *sandboxv1.ListVolumesRequest) (*sandboxv1.ListVolumesResponse, error) {
	who := callerOf(ctx)
	s.store.Lock()
	defer s.store.Unlock()
	page, next, err := s.volumes.page(s.tokens, who, req, func(v *sandboxv1.Volume) bool {
		return noneOrIn(req.GetStates(), v.GetStatus().GetState()) && noneOrIn(req.GetRunnerIds(), v.GetSpec().GetPvc().GetRunnerId())
	})
	if err != nil {
		return nil, err
	}
	for i, v := range page {
		page[i] = s.shown(who.organization, v)
	}
	return &sandboxv1.ListVolumesResponse{Volumes: page, NextPageToken: next}, nil
}

// noneOrIn reports whether a filter holds nothing, or the value.
func noneOrIn[T comparable](filter []T, value T) bool {
	return len(filter) == 0 || slices.Contains(filter, value)
}

// UpdateVolume changes the description: nothing else may be different.
func (s *volumeService) UpdateVolume(ctx context.Context, req *sandboxv1.UpdateVolumeRequest) (*sandboxv1.Volume, error) {
	id, organization := req.GetVolumeId(), callerOf(ctx).organization
	var c checker
	c.require(id != "", "volume_id", "must not be empty")
	c.require(req.GetVolume() != nil, "volume", "must be set")
	if err := c.err(); err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.volumeEntry(organization, id)
	if e == nil {
		return nil, noVolume(id)
	}
	v, err := masked(e.now, req.GetVolume(), req.GetUpdateMask(), "volume_id", "spec")
	if err != nil {
		return nil, err
	}
	v.VolumeId = orDefault(v.VolumeId, id) // the request has it already
	c.require(v.GetVolumeId() == id, "volume_id", "cannot be changed")
	c.require(proto.Equal(v.GetSpec().GetPvc(), e.now.GetSpec().GetPvc()), "spec.pvc", "cannot be changed")
	c.require(v.GetSpec().GetReadOnly() == e.now.GetSpec().GetReadOnly(), "spec.read_only", "cannot be changed")
	if err := c.err(); err != nil {
		return nil, err
	}
	v.Status.UpdateTime = timestamppb.New(s.now())
	e.now = v
	return s.shown(organization, v), nil
}

// DeleteVolume forgets a registration, and leaves the claim and what is in it alone. With force it does so, too, while
// sandboxes have the volume; they keep it.
func (s *volumeService) DeleteVolume(ctx context.Context, req *sandboxv1.DeleteVolumeRequest) (*sandboxv1.Volume, error) {
	id, organization := req.GetVolumeId(), callerOf(ctx).organization
	if id == "" {
		return nil, bad("volume_id", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.volumeEntry(organization, id)
	switch {
	case e == nil && req.GetAllowMissing():
		return &sandboxv1.Volume{}, nil
	case e == nil:
		return nil, noVolume(id)
	}
	if n := s.attached(organization, id); n > 0 && !req.GetForce() {
		return nil, refusal{
			code:     codes.FailedPrecondition,
			reason:   reasonVolumeInUse,
			text:     fmt.Sprintf("%d sandboxes that have not ended have volume %s", n, id),
			metadata: map[string]string{"volume_id": id},
		}.err()
	}
	s.volumes.remove(e)
	v := proto.CloneOf(s.shown(organization, e.now))
	v.Status.State, v.Status.StateReason, v.Status.UpdateTime = volumeDeleting, "", timestamppb.New(s.now())
	return v, nil
}

// ValidateVolume looks at the claim again.
func (s *volumeService) ValidateVolume(ctx context.Context, req *sandboxv1.ValidateVolumeRequest) (*sandboxv1.Volume, error) {
	id, organization := req.GetVolumeId(), callerOf(ctx).organization
	if id == "" {
		return nil, bad("volume_id", "must not be empty")
	}
	spec := s.volumeSpec(organization, id)
	if spec == nil {
		return nil, noVolume(id)
	}
	found := s.inspect(spec) // never changes for a volume

	s.store.Lock()
	defer s.store.Unlock()
	e := s.volumeEntry(organization, id)
	if e == nil { // deleted meanwhile
		return nil, noVolume(id)
	}
	e.now = found.applied(e.now, timestamppb.New(s.now()))
	return s.shown(organization, e.now), nil
}

// volumeSpec is what was registered under an id, or nil. The store's mutex must not be held.
func (s *Server) volumeSpec(organization, id string) *sandboxv1.VolumeSpec {
	s.store.Lock()
	defer s.store.Unlock()
	if e := s.volumeEntry(organization, id); e != nil {
		return e.now.GetSpec()
	}
	return nil
}
