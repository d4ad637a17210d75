package cwsandbox

import (
	"math"
	"slices"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// listConfig is the merged configuration of a list.
type listConfig struct {
	op         string // for errors
	faults     faults
	tags       []string
	state      State
	terminated bool
	runners    []string
	volumes    []string
	pageSize   int
	olderThan  time.Duration
	owner      Owner
	orphansOf  *host // nil: no filter
}

func newListConfig(opts []ListOption) (listConfig, error) {
	c := listConfig{op: "list"}
	c.apply(opts)
	return c, c.faults.err(call{op: c.op})
}

func (c *listConfig) apply(opts []ListOption) {
	applyAll(&c.faults, opts, func(o ListOption) { o.applyList(c) })
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

// selects reports whether a sandbox passes the filters that the service does not have.
func (c listConfig) selects(record *sandboxv1.Sandbox, now time.Time) bool {
	if !c.oldEnough(record, now) {
		return false
	}
	if c.owner == (Owner{}) && c.orphansOf == nil {
		return true
	}
	owner := decodeOwner(record.GetSpec().GetAnnotations()[ownerKey])
	return owner.matches(c.owner) && (c.orphansOf == nil || c.orphansOf.dead(owner))
}

// oldEnough reports whether a sandbox passes the filter by age. One whose creation time is not known does not.
func (c listConfig) oldEnough(record *sandboxv1.Sandbox, now time.Time) bool {
	created := record.GetStatus().GetCreateTime()
	return c.olderThan == 0 || created != nil && now.Sub(created.AsTime()) >= c.olderThan
}

type listOption func(*listConfig)

func (o listOption) applyList(c *listConfig) { o(c) }

// WithState lists sandboxes in one state only. A terminal state includes those that have ended; [StateUnspecified] is no
// filter.
func WithState(s State) ListOption {
	return listOption(func(c *listConfig) {
		if s < 0 {
			c.faults.add("state", "must not be negative, is %d", s)
		}
		c.state = s
	})
}

// WithTerminated adds sandboxes that have ended, as long as the service keeps their records.
func WithTerminated() ListOption { return listOption(func(c *listConfig) { c.terminated = true }) }

// WithVolumeIDs lists sandboxes that have any of these registered volumes attached. Without an id it is no filter.
func WithVolumeIDs(ids ...string) ListOption {
	ids = slices.Clone(ids)
	return listOption(func(c *listConfig) {
		checkIDs(&c.faults, "volume_ids", ids)
		c.volumes = ids
	})
}

// PageOption is an option of lists of sandboxes and of snapshots.
type PageOption interface {
	ListOption
	SnapshotListOption
}

type pageOption int

// WithPageSize asks the service for pages of n entries; zero, the default, leaves that to the service. It does not limit
// the list.
func WithPageSize(n int) PageOption { return pageOption(n) }

func (o pageOption) check(f *faults) int {
	if o < 0 || o > math.MaxInt32 {
		f.add("page_size", "must not be negative or above %d, is %d", math.MaxInt32, o)
	}
	return int(o)
}

func (o pageOption) applyList(c *listConfig)           { c.pageSize = o.check(&c.faults) }
func (o pageOption) applySnapshots(c *snapshotsConfig) { c.pageSize = o.check(&c.faults) }
func (o pageOption) String() string                    { return printed("WithPageSize", int(o)) }

// WithOlderThan lists sandboxes that were created at least d ago. The service has no such filter: it is applied here.
func WithOlderThan(d time.Duration) ListOption {
	return listOption(func(c *listConfig) {
		if d < 0 {
			c.faults.add("older than", "must not be negative, is %v", d)
		}
		c.olderThan = d
	})
}
