package cwsandbox

import (
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// listConfig is the merged configuration of a list.
type listConfig struct {
	faults     faults
	tags       []string
	state      State
	terminated bool
	runners    []string
	volumes    []string
	pageSize   int
	olderThan  time.Duration
}

func newListConfig(opts []ListOption) (listConfig, error) {
	var c listConfig
	for _, o := range opts {
		if o != nil {
			o.applyList(&c)
		}
	}
	checkTags(&c.faults, "tags", c.tags)
	checkRunners(&c.faults, "runner_ids", c.runners)
	return c, c.faults.err(call{op: "list"})
}

func (c listConfig) request() *sandboxv1.ListSandboxesRequest {
	return &sandboxv1.ListSandboxesRequest{
		PageSize:       int32(c.pageSize),
		Tags:           c.tags,
		State:          sandboxv1.State(c.state),
		ShowTerminated: c.terminated || c.state.Terminal(),
		RunnerIds:      c.runners,
		VolumeIds:      c.volumes,
	}
}

// oldEnough reports whether a sandbox passes the filter by age. One whose creation time is not known does not.
func (c listConfig) oldEnough(record *sandboxv1.Sandbox, now time.Time) bool {
	created := record.GetStatus().GetCreateTime()
	return c.olderThan == 0 || created != nil && now.Sub(created.AsTime()) >= c.olderThan
}

type listOption func(*listConfig)

func (o listOption) applyList(c *listConfig) { o(c) }

// WithState lists sandboxes in one state only. A terminal state includes those that have ended.
func WithState(s State) ListOption { return listOption(func(c *listConfig) { c.state = s }) }

// WithTerminated adds sandboxes that have ended, as long as the service keeps their records.
func WithTerminated() ListOption { return listOption(func(c *listConfig) { c.terminated = true }) }

// WithVolumeIDs lists sandboxes that have any of these registered volumes attached.
func WithVolumeIDs(ids ...string) ListOption {
	return listOption(func(c *listConfig) {
		for _, id := range ids {
			if id == "" {
				c.faults.add("volume_ids", "must not be empty")
			}
			c.volumes = append(c.volumes, id)
		}
	})
}

// WithPageSize asks the service for pages of n sandboxes; by default that is its choice. It does not limit the list.
func WithPageSize(n int) ListOption {
	return listOption(func(c *listConfig) {
		if n < 1 || n > maxSeconds {
			c.faults.add("page_size", "must be at least 1, is %d", n)
		}
		c.pageSize = n
	})
}

// WithOlderThan lists sandboxes that were created at least d ago. The service has no such filter: it is applied here.
func WithOlderThan(d time.Duration) ListOption {
	return listOption(func(c *listConfig) {
		if d < 0 {
			c.faults.add("older than", "must not be negative, is %v", d)
		}
		c.olderThan = d
	})
}

// attachConfig is the configuration of an attach.
type attachConfig struct {
	faults         faults
	grace          *time.Duration
	requestTimeout time.Duration
}

func newAttachConfig(id string, opts []AttachOption) (attachConfig, error) {
	var c attachConfig
	checkID(&c.faults, id)
	for _, o := range opts {
		if o != nil {
			o.applyAttach(&c)
		}
	}
	return c, c.faults.err(call{op: "attach", sandbox: id})
}

// stopConfig is the configuration of a stop.
type stopConfig struct {
	faults faults
	grace  *time.Duration // nil: the sandbox's
}

func newStopConfig(id string, opts []StopOption) (stopConfig, error) {
	var c stopConfig
	for _, o := range opts {
		if o != nil {
			o.applyStop(&c)
		}
	}
	return c, c.faults.err(call{op: "stop", sandbox: id})
}

// deleteConfig is the configuration of a delete by id.
type deleteConfig struct {
	faults    faults
	grace     time.Duration
	missingOK bool
}

func newDeleteConfig(id string, opts []DeleteOption) (deleteConfig, error) {
	var c deleteConfig
	checkID(&c.faults, id)
	for _, o := range opts {
		if o != nil {
			o.applyDelete(&c)
		}
	}
	return c, c.faults.err(call{op: "delete", sandbox: id})
}

type deleteOption func(*deleteConfig)

func (o deleteOption) applyDelete(c *deleteConfig) { o(c) }

// MissingOK makes the deletion of a sandbox that the service does not know a success.
func MissingOK() DeleteOption { return deleteOption(func(c *deleteConfig) { c.missingOK = true }) }

func checkID(f *faults, id string) {
	if id == "" {
		f.add("sandbox_id", "must not be empty")
	}
}
