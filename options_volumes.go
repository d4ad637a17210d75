package cwsandbox

import (
	"slices"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	volumesOp      = "volumes"
	deleteVolumeOp = "delete volume"
)

// VolumeListOption is an option of [Client.RegisteredVolumes].
type VolumeListOption interface{ applyVolumes(*volumesConfig) }

// VolumeDeleteOption is an option of [Client.DeleteVolume].
type VolumeDeleteOption interface{ applyVolumeDelete(*volumeDeleteConfig) }

// volumesConfig is the merged configuration of a list of registered volumes.
type volumesConfig struct {
	faults  faults
	states  []VolumeState
	runners []string
}

func newVolumesConfig(opts []VolumeListOption) (volumesConfig, error) {
	var c volumesConfig
	applyAll(&c.faults, opts, func(o VolumeListOption) { o.applyVolumes(&c) })
	return c, c.faults.err(call{op: volumesOp})
}

func (c volumesConfig) request(token string) *sandboxv1.ListVolumesRequest {
	req := &sandboxv1.ListVolumesRequest{PageToken: token, RunnerIds: c.runners}
	for _, s := range c.states {
		req.States = append(req.States, sandboxv1.VolumeState(s))
	}
	return req
}

// volumesOption is an option of lists of registered volumes only.
type volumesOption struct {
	call  string // that makes it, as it prints
	apply func(*volumesConfig)
}

func (o volumesOption) applyVolumes(c *volumesConfig) { o.apply(c) }
func (o volumesOption) String() string                { return o.call }

// WithVolumeStates lists registered volumes in any of these states. Without one it is no filter.
func WithVolumeStates(states ...VolumeState) VolumeListOption {
	states = slices.Clone(states)
	return volumesOption{printed("WithVolumeStates", states), func(c *volumesConfig) {
		for i, s := range states {
			if s <= VolumeStateUnspecified {
				c.faults.add(indexed("states", i), "must be a state, is %v", s)
			}
		}
		c.states = states
	}}
}

func (o runnerOption) applyVolumes(c *volumesConfig) {
	checkRunners(&c.faults, "runner_ids", o)
	c.runners = slices.Clone(o)
}

// volumeDeleteConfig is the configuration of a delete of a registered volume.
type volumeDeleteConfig struct {
	faults    faults
	missingOK bool
	force     bool
}

func newVolumeDeleteConfig(id string, opts []VolumeDeleteOption) (volumeDeleteConfig, error) {
	var c volumeDeleteConfig
	checkWord(&c.faults, "volume_id", id)
	applyAll(&c.faults, opts, func(o VolumeDeleteOption) { o.applyVolumeDelete(&c) })
	return c, c.faults.err(call{op: deleteVolumeOp})
}

type volumeDeleteOption func(*volumeDeleteConfig)

func (o volumeDeleteOption) applyVolumeDelete(c *volumeDeleteConfig) { o(c) }

// WithForce sets the force flag of the delete of a registered volume. The service does not document it; the name and the
// local server say that the volume is removed although sandboxes have it mounted.
func WithForce() VolumeDeleteOption {
	return volumeDeleteOption(func(c *volumeDeleteConfig) { c.force = true })
}
