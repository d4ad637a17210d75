package cwsandbox

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	volumeLimit = 60 * time.Second // of a wait for a volume whose context has no deadline
	volumePoll  = 15 * time.Second // of each attempt of it to look
)

// VolumeClaim is a Kubernetes claim for storage in the cluster of one of the caller's own runners. Sandboxes that mount it
// run on that runner only.
type VolumeClaim struct {
	RunnerID  string // required, as Namespace and Name are
	Namespace string
	Name      string
	SubPath   string // directory of the claim, relative and canonical; empty: all of it
}

// RegisteredVolumeSpec says what is registered.
type RegisteredVolumeSpec struct {
	Claim       VolumeClaim
	ReadOnly    bool   // for all sandboxes, whatever their mounts say
	Description string // for people
}

// RegisteredVolume is storage that exists already and that sandboxes can mount, as the service described it. Unlike a
// scratch volume it outlives them, and all that mount it see the same files.
type RegisteredVolume struct {
	ID string
	RegisteredVolumeSpec

	State       VolumeState
	StateReason string // what is wrong, in the service's words
	Locality    VolumeLocality
	AccessModes []string // of the claim, as Kubernetes names them
	Capacity    string   // with its unit
	Attached    int      // sandboxes that have it mounted

	CreateTime   time.Time // all times are UTC, and zero when not known
	UpdateTime   time.Time
	ValidateTime time.Time // when the service last looked at the storage
}

// VolumeState is where a registered volume stands. The numbers are the service's own; a state that this version does not
// know keeps its number.
type VolumeState int32

// The states of a registered volume.
const (
	VolumeStateUnspecified VolumeState = VolumeState(sandboxv1.VolumeState_VOLUME_STATE_UNSPECIFIED) // not known
	VolumeStateValidating  VolumeState = VolumeState(sandboxv1.VolumeState_VOLUME_STATE_VALIDATING)  // being checked
	VolumeStateReady       VolumeState = VolumeState(sandboxv1.VolumeState_VOLUME_STATE_READY)       // sandboxes can mount it
	VolumeStateError       VolumeState = VolumeState(sandboxv1.VolumeState_VOLUME_STATE_ERROR)       // a check failed
	VolumeStateDeleting    VolumeState = VolumeState(sandboxv1.VolumeState_VOLUME_STATE_DELETING)    // its registration is being removed
)

// String returns the state's name in lower case, or VolumeState(42) for a number that this version does not know.
func (s VolumeState) String() string {
	switch s {
	case VolumeStateUnspecified:
		return "unspecified"
	case VolumeStateValidating:
		return "validating"
	case VolumeStateReady:
		return "ready"
	case VolumeStateError:
		return "error"
	case VolumeStateDeleting:
		return "deleting"
	}
	return fmt.Sprintf("VolumeState(%d)", int32(s))
}

// VolumeLocality is where a registered volume can be mounted. The numbers are the service's own; one that this version does
// not know keeps its number.
type VolumeLocality int32

// The localities of a registered volume.
const (
	VolumeLocalityUnspecified  VolumeLocality = VolumeLocality(sandboxv1.VolumeLocality_VOLUME_LOCALITY_UNSPECIFIED)   // not known
	VolumeLocalityClusterLocal VolumeLocality = VolumeLocality(sandboxv1.VolumeLocality_VOLUME_LOCALITY_CLUSTER_LOCAL) // on the runner of its claim
	VolumeLocalityGlobal       VolumeLocality = VolumeLocality(sandboxv1.VolumeLocality_VOLUME_LOCALITY_GLOBAL)        // anywhere
)

// String returns the locality's name, or VolumeLocality(42) for a number that this version does not know.
func (l VolumeLocality) String() string {
	switch l {
	case VolumeLocalityUnspecified:
		return "unspecified"
	case VolumeLocalityClusterLocal:
		return "cluster-local"
	case VolumeLocalityGlobal:
		return "global"
	}
	return fmt.Sprintf("VolumeLocality(%d)", int32(l))
}

// CreateVolume registers storage that exists already, and changes nothing in it. The volume is being checked when this
// returns: [Client.WaitVolume] waits until sandboxes can mount it. An answer that was lost is asked for again with the same
// request id, so that one call registers one volume.
func (c *Client) CreateVolume(ctx context.Context, spec RegisteredVolumeSpec) (RegisteredVolume, error) {
	op := call{op: "create volume", resource: "volume"}
	var f faults
	spec.check(&f)
	if err := f.err(op); err != nil {
		return RegisteredVolume{}, err
	}
	m, err := c.volumes.CreateVolume(ctx, &sandboxv1.CreateVolumeRequest{
		Volume: &sandboxv1.Volume{Spec: &sandboxv1.VolumeSpec{
			Source: &sandboxv1.VolumeSpec_Pvc{Pvc: &sandboxv1.PvcVolumeSource{
				RunnerId: spec.Claim.RunnerID, Namespace: spec.Claim.Namespace, ClaimName: spec.Claim.Name, SubPath: spec.Claim.SubPath,
			}},
			ReadOnly:    spec.ReadOnly,
			Description: spec.Description,
		}},
		RequestId: newRequestID(),
	})
	return registeredVolumeOf(m), op.wrap(err)
}

func (s RegisteredVolumeSpec) check(f *faults) {
	checkWord(f, "spec.pvc.runner_id", s.Claim.RunnerID)
	checkWord(f, "spec.pvc.namespace", s.Claim.Namespace)
	checkWord(f, "spec.pvc.claim_name", s.Claim.Name)
	checkSubPath(f, "spec.pvc.sub_path", s.Claim.SubPath)
	checkText(f, "spec.description", s.Description)
}

// checkVolumeID is the rule for the volume of a call.
func checkVolumeID(op call, id string) error {
	var f faults
	checkWord(&f, "volume_id", id)
	return f.err(op)
}

// RegisteredVolume returns one registered volume as it is now.
func (c *Client) RegisteredVolume(ctx context.Context, id string) (RegisteredVolume, error) {
	op := call{op: "get volume", resource: "volume"}
	if err := checkVolumeID(op, id); err != nil {
		return RegisteredVolume{}, err
	}
	m, err := c.volumes.GetVolume(ctx, &sandboxv1.GetVolumeRequest{VolumeId: id})
	return registeredVolumeOf(m), op.wrapAbout(id, err)
}

// RegisteredVolumes yields the registered volumes of the organization, page by page. All filters must match. The order is
// the service's.
//
// An error comes once, last, beside a zero value; each page is asked for again by the rules for reads before that. Each
// page is bounded by the request timeout, the whole walk by ctx.
func (c *Client) RegisteredVolumes(ctx context.Context, opts ...VolumeListOption) iter.Seq2[RegisteredVolume, error] {
	return func(yield func(RegisteredVolume, error) bool) {
		config, err := newVolumesConfig(opts)
		if err != nil {
			yield(RegisteredVolume{}, err)
			return
		}
		paged(call{op: volumesOp}, func(token string) ([]RegisteredVolume, string, error) {
			page, err := c.volumes.ListVolumes(ctx, config.request(token))
			return readAll(page.GetVolumes(), registeredVolumeOf), page.GetNextPageToken(), err
		})(yield)
	}
}

// UpdateVolume changes the description of a registered volume, and nothing else: by a field mask, because nothing else can
// be changed.
func (c *Client) UpdateVolume(ctx context.Context, id, description string) (RegisteredVolume, error) {
	op := call{op: "update volume", resource: "volume"}
	var f faults
	checkWord(&f, "volume_id", id)
	checkText(&f, "spec.description", description)
	if err := f.err(op); err != nil {
		return RegisteredVolume{}, err
	}
	m, err := c.volumes.UpdateVolume(ctx, &sandboxv1.UpdateVolumeRequest{
		VolumeId:   id,
		Volume:     &sandboxv1.Volume{Spec: &sandboxv1.VolumeSpec{Description: description}},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.description"}},
	})
	return registeredVolumeOf(m), op.wrapAbout(id, err)
}

// DeleteVolume removes a registration; the claim and its data stay. It returns when the service has accepted that, a little
// before the volume is gone. While sandboxes that have not ended have it mounted it is [ErrConflict] with
// [ReasonVolumeInUse], unless [WithForce] is given. A volume that the service does not know is [ErrNotFound], or nil with
// [MissingOK].
func (c *Client) DeleteVolume(ctx context.Context, id string, opts ...VolumeDeleteOption) error {
	config, err := newVolumeDeleteConfig(id, opts)
	if err != nil {
		return err
	}
	_, err = c.volumes.DeleteVolume(ctx, &sandboxv1.DeleteVolumeRequest{VolumeId: id, AllowMissing: config.missingOK, Force: config.force})
	return forgiven(config.missingOK, call{op: deleteVolumeOp, resource: "volume"}.wrapAbout(id, err))
}

// ValidateVolume has the service look at the storage now, as it does by itself from time to time, and returns what it found.
func (c *Client) ValidateVolume(ctx context.Context, id string) (RegisteredVolume, error) {
	op := call{op: "validate volume", resource: "volume"}
	if err := checkVolumeID(op, id); err != nil {
		return RegisteredVolume{}, err
	}
	m, err := c.volumes.ValidateVolume(ctx, &sandboxv1.ValidateVolumeRequest{VolumeId: id})
	return registeredVolumeOf(m), op.wrapAbout(id, err)
}

// WaitVolume waits until sandboxes can mount a registered volume, 60 seconds at most where ctx has no deadline. One that is
// in error, or being deleted, is [ErrPrecondition] at once, with the service's reason in the text. What was last seen of
// the volume stands beside the error.
func (c *Client) WaitVolume(ctx context.Context, id string) (RegisteredVolume, error) {
	op := call{op: "wait volume", resource: "volume"}
	if err := checkVolumeID(op, id); err != nil {
		return RegisteredVolume{}, err
	}
	ctx, cancel := limited(ctx, volumeLimit)
	defer cancel()
	var v RegisteredVolume
	var last error // the newest failure that is being retried
	note := transport.OnRetry(func(err error) { last = err })
	gaveUp := func() error {
		text := fmt.Sprintf("%q: gave up waiting, last seen %v", id, v.State)
		return op.gaveUp(ctx, text, call{op: "get volume", resource: "volume"}.wrap(last))
	}
	for interval := firstInterval; ; interval = min(time.Duration(float64(interval)*intervalFactor), largestInterval) {
		m, err := c.volumes.GetVolume(ctx, &sandboxv1.GetVolumeRequest{VolumeId: id}, transport.AttemptTimeout(volumePoll), note)
		switch {
		case err != nil && ctx.Err() != nil:
			return v, gaveUp()
		case err != nil:
			return v, op.wrapAbout(id, err)
		}
		last = nil
		switch v = registeredVolumeOf(m); v.State {
		case VolumeStateReady:
			return v, nil
		case VolumeStateError, VolumeStateDeleting:
			text := fmt.Sprintf("%q is in state %v: %s", id, v.State, orUnknown(v.StateReason))
			return v, op.refuse(text, ErrPrecondition)
		}
		select {
		case <-time.After(jitter(interval)):
		case <-ctx.Done():
			return v, gaveUp()
		}
	}
}

// registeredVolumeOf reads a record of the service.
func registeredVolumeOf(m *sandboxv1.Volume) RegisteredVolume {
	pvc, st := m.GetSpec().GetPvc(), m.GetStatus()
	return RegisteredVolume{
		ID: m.GetVolumeId(),
		RegisteredVolumeSpec: RegisteredVolumeSpec{
			Claim: VolumeClaim{
				RunnerID: pvc.GetRunnerId(), Namespace: pvc.GetNamespace(), Name: pvc.GetClaimName(), SubPath: pvc.GetSubPath(),
			},
			ReadOnly:    m.GetSpec().GetReadOnly(),
			Description: m.GetSpec().GetDescription(),
		},
		State:        VolumeState(st.GetState()),
		StateReason:  st.GetStateReason(),
		Locality:     VolumeLocality(st.GetLocality()),
		AccessModes:  slices.Clone(st.GetAccessModes()),
		Capacity:     st.GetCapacity(),
		Attached:     int(st.GetAttachedSandboxCount()),
		CreateTime:   timeOf(st.GetCreateTime()),
		UpdateTime:   timeOf(st.GetUpdateTime()),
		ValidateTime: timeOf(st.GetLastValidatedTime()),
	}
}
