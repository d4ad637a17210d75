package cwsandbox

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var aClaim = VolumeClaim{RunnerID: "r-1", Namespace: "ns", Name: "data"}

// volumeIn is a volume in a state, as the service tells it.
func volumeIn(state VolumeState, reason string) *sandboxv1.Volume {
	return &sandboxv1.Volume{
		VolumeId: "vol-1",
		Status:   &sandboxv1.VolumeStatus{State: sandboxv1.VolumeState(state), StateReason: reason},
	}
}

func TestCreateVolume(t *testing.T) {
	bubble(t, "request and record", func(t *testing.T, f *fake, c *Client) {
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		spec := &sandboxv1.VolumeSpec{
			Source: &sandboxv1.VolumeSpec_Pvc{Pvc: &sandboxv1.PvcVolumeSource{
				RunnerId: "r-1", Namespace: "ns", ClaimName: "data", SubPath: "a/b",
			}},
			ReadOnly: true, Description: "d",
		}
		f.answers(&sandboxv1.Volume{VolumeId: "vol-1", Spec: spec, Status: &sandboxv1.VolumeStatus{
			State: 1, StateReason: "why", Locality: 1, AccessModes: []string{"ReadWriteMany"}, Capacity: "1Ti", AttachedSandboxCount: 3,
			CreateTime: timestamppb.New(at), UpdateTime: timestamppb.New(at.Add(1)), LastValidatedTime: timestamppb.New(at.Add(2)),
		}})
		want := RegisteredVolumeSpec{
			Claim:    VolumeClaim{RunnerID: "r-1", Namespace: "ns", Name: "data", SubPath: "a/b"},
			ReadOnly: true, Description: "d",
		}
		v, err := c.CreateVolume(t.Context(), want)
		require.NoError(t, err)
		assert.Equal(t, RegisteredVolume{
			ID: "vol-1", RegisteredVolumeSpec: want, State: VolumeStateValidating, StateReason: "why", Locality: VolumeLocalityClusterLocal,
			AccessModes: []string{"ReadWriteMany"}, Capacity: "1Ti", Attached: 3,
			CreateTime: at, UpdateTime: at.Add(1), ValidateTime: at.Add(2),
		}, v)
		f.requireSent(t, "CreateVolume", &sandboxv1.CreateVolumeRequest{Volume: &sandboxv1.Volume{Spec: spec}})
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		create := func(claim VolumeClaim, description string) error {
			_, err := c.CreateVolume(t.Context(), RegisteredVolumeSpec{Claim: claim, Description: description})
			return err
		}
		requireViolations(t, create(VolumeClaim{}, ""), "spec.pvc.runner_id", "spec.pvc.namespace", "spec.pvc.claim_name")
		requireViolations(t, create(aClaim, "\xff"), "spec.description")
		for _, sub := range []string{"/a", "a/../b", "..", "../a", ".", "a/", "a//b"} {
			claim := aClaim
			claim.SubPath = sub
			requireViolations(t, create(claim, ""), "spec.pvc.sub_path")
		}
		claim := aClaim
		claim.SubPath = "..a/.b"
		f.answers(&sandboxv1.Volume{})
		require.NoError(t, create(claim, ""))
		assert.Equal(t, 1, f.count("CreateVolume"))
	})
}

func TestVolumeCalls(t *testing.T) {
	bubble(t, "requests", func(t *testing.T, f *fake, c *Client) {
		f.answers(volumeIn(VolumeStateReady, ""))
		v, err := c.RegisteredVolume(t.Context(), "vol-1")
		require.NoError(t, err)
		assert.Equal(t, VolumeStateReady, v.State)
		f.requireSent(t, "GetVolume", &sandboxv1.GetVolumeRequest{VolumeId: "vol-1"})

		_, err = c.ValidateVolume(t.Context(), "vol-1")
		require.NoError(t, err)
		f.requireSent(t, "ValidateVolume", &sandboxv1.ValidateVolumeRequest{VolumeId: "vol-1"})

		_, err = c.UpdateVolume(t.Context(), "vol-1", "new")
		require.NoError(t, err)
		f.requireSent(t, "UpdateVolume", &sandboxv1.UpdateVolumeRequest{
			VolumeId: "vol-1", Volume: &sandboxv1.Volume{Spec: &sandboxv1.VolumeSpec{Description: "new"}},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"spec.description"}},
		})

		require.NoError(t, c.DeleteVolume(t.Context(), "vol-1", WithForce(), MissingOK(), nil))
		f.requireSent(t, "DeleteVolume", &sandboxv1.DeleteVolumeRequest{VolumeId: "vol-1", AllowMissing: true, Force: true})
	})
	bubble(t, "filters of the list", func(t *testing.T, f *fake, c *Client) {
		f.answers(&sandboxv1.ListVolumesResponse{})
		_, err := Collect(c.RegisteredVolumes(t.Context(), WithVolumeStates(VolumeStateReady, 9), WithRunners("a", "b")))
		require.NoError(t, err)
		f.requireSent(t, "ListVolumes", &sandboxv1.ListVolumesRequest{States: []sandboxv1.VolumeState{2, 9}, RunnerIds: []string{"a", "b"}})
		_, err = Collect(c.RegisteredVolumes(t.Context(), WithVolumeStates(0, -1), WithRunners("a", "a")))
		requireViolations(t, err, "states[0]", "states[1]", "runner_ids[1]")
		assert.Equal(t, 1, f.count("ListVolumes"))
	})
	bubble(t, "ids are needed", func(t *testing.T, f *fake, c *Client) {
		for _, id := range []string{"", " ", "a\x00"} {
			for _, err := range []error{
				errorOf(c.RegisteredVolume(t.Context(), id)), errorOf(c.ValidateVolume(t.Context(), id)), errorOf(c.WaitVolume(t.Context(), id)),
				errorOf(c.UpdateVolume(t.Context(), id, "")), c.DeleteVolume(t.Context(), id),
			} {
				requireViolations(t, err, "volume_id")
			}
		}
	})
	bubble(t, "errors name the volume", func(t *testing.T, f *fake, c *Client) {
		f.fails(100, failure(codes.NotFound, ""), nil)
		_, err := c.RegisteredVolume(t.Context(), "vol-1")
		require.ErrorIs(t, err, ErrNotFound, "a bare answer, too")
		assert.ErrorContains(t, err, `cwsandbox: get volume: "vol-1": `)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "volume", e.Resource)

		f.fails(100, failure(codes.FailedPrecondition, "CWSANDBOX_VOLUME_IN_USE"), nil)
		err = c.DeleteVolume(t.Context(), "vol-1", MissingOK())
		require.ErrorIs(t, err, ErrConflict)
		assert.True(t, HasReason(err, ReasonVolumeInUse))
	})
}

// errorOf is the error of a call.
func errorOf[T any](_ T, err error) error { return err }

func TestWaitVolume(t *testing.T) {
	// states makes the service tell one state after the other; the last one stays.
	states := func(f *fake, states ...VolumeState) {
		f.admin = func(_ context.Context, n int, _ string, _ proto.Message) (proto.Message, error) {
			return volumeIn(states[min(n, len(states))-1], "the claim is not bound"), nil
		}
	}
	bubble(t, "until it is ready", func(t *testing.T, f *fake, c *Client) {
		states(f, VolumeStateValidating, VolumeStateUnspecified, 9, VolumeStateReady)
		v, err := c.WaitVolume(t.Context(), "vol-1")
		require.NoError(t, err)
		assert.Equal(t, VolumeStateReady, v.State)
		assert.Equal(t, 4, f.count("GetVolume"))
		assert.InDelta(t, 200*time.Millisecond, f.gaps("GetVolume")[0], float64(20*time.Millisecond))
	})
	for _, state := range []VolumeState{VolumeStateError, VolumeStateDeleting} {
		bubble(t, "fails at once: "+state.String(), func(t *testing.T, f *fake, c *Client) {
			states(f, state)
			v, err := c.WaitVolume(t.Context(), "vol-1")
			require.ErrorIs(t, err, ErrPrecondition)
			assert.ErrorContains(t, err, `"vol-1" is in state `+state.String()+": the claim is not bound")
			assert.Equal(t, state, v.State)
			assert.Equal(t, 1, f.count("GetVolume"))
		})
	}
	bubble(t, "60 s where the context has no deadline", func(t *testing.T, f *fake, c *Client) {
		states(f, VolumeStateValidating)
		began := time.Now()
		v, err := c.WaitVolume(t.Context(), "vol-1")
		require.ErrorIs(t, err, ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded, "it was not the caller's")
		assert.ErrorContains(t, err, "last seen validating")
		assert.Equal(t, VolumeStateValidating, v.State)
		assert.Equal(t, time.Minute, time.Since(began))
	})
	bubble(t, "the caller's own deadline", func(t *testing.T, f *fake, c *Client) {
		states(f, VolumeStateValidating)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		began := time.Now()
		_, err := c.WaitVolume(ctx, "vol-1")
		require.ErrorIs(t, err, ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Minute, time.Since(began))
	})
	bubble(t, "failures are retried, and shown in the end", func(t *testing.T, f *fake, c *Client) {
		f.fails(2, failure(codes.Unavailable, ""), volumeIn(VolumeStateReady, ""))
		_, err := c.WaitVolume(t.Context(), "vol-1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		f.admin = func(ctx context.Context, n int, _ string, _ proto.Message) (proto.Message, error) {
			if n < 5 {
				return nil, failure(codes.Unavailable, "CWSANDBOX_VOLUME_RUNNER_UNAVAILABLE")
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		_, err = c.WaitVolume(ctx, "vol-1")
		require.ErrorIs(t, err, ErrTimeout)
		assert.True(t, HasReason(err, ReasonVolumeRunnerUnavailable), err)
	})
	bubble(t, "an attempt that hangs", func(t *testing.T, f *fake, c *Client) {
		f.admin = func(ctx context.Context, n int, _ string, _ proto.Message) (proto.Message, error) {
			if n == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return volumeIn(VolumeStateReady, ""), nil
		}
		began := time.Now()
		_, err := c.WaitVolume(t.Context(), "vol-1")
		require.NoError(t, err)
		assert.Less(t, time.Since(began), 18*time.Second)
		assert.GreaterOrEqual(t, time.Since(began), 15*time.Second)
	})
	bubble(t, "a volume that is gone", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.NotFound, "CWSANDBOX_VOLUME_NOT_FOUND"), nil)
		_, err := c.WaitVolume(t.Context(), "vol-1")
		require.ErrorIs(t, err, ErrNotFound)
	})
	bubble(t, "a cancelled context", func(t *testing.T, f *fake, c *Client) {
		states(f, VolumeStateValidating)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := c.WaitVolume(ctx, "vol-1")
		require.ErrorIs(t, err, context.Canceled)
		assert.NotErrorIs(t, err, ErrTimeout)
	})
}

func TestVolumeEnums(t *testing.T) {
	assert.Equal(t, "unspecified validating ready error deleting VolumeState(9)", words(VolumeState(0), 1, 2, 3, 4, 9))
	assert.Equal(t, "unspecified cluster-local global VolumeLocality(9)", words(VolumeLocality(0), 1, 2, 9))
}
