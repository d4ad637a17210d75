package cwsandbox

import "slices"

// stopOption is an option of stops only.
type stopOption struct {
	call  string // that makes it, as it prints
	apply func(*stopConfig)
}

func (o stopOption) applyStop(c *stopConfig) { o.apply(c) }
func (o stopOption) String() string          { return o.call }

// WithStopSnapshot archives scratch volumes before the sandbox ends: those named, or all of them, in the order of the
// sandbox's spec. Their ids are in the result, and the stop is done when they are ready too, unless [WithSnapshotWait]
// says otherwise. A sandbox without scratch volumes, or without the one named, is [ErrInvalidArgument].
//
// A stop that cannot take the snapshot any more fails with [ErrSnapshotConflict] and sends nothing: the sandbox has ended
// or is ending, or another stop is in flight that takes none, or others. One that wants the same volumes is joined, and
// one that comes after it gets the same ids. Plain stops join too.
func WithStopSnapshot(volumes ...string) StopOption {
	volumes = slices.Clone(volumes)
	return stopOption{printedList("WithStopSnapshot", volumes), func(c *stopConfig) {
		for i, name := range volumes {
			checkWord(&c.faults, indexed("snapshot_volumes", i), name)
			if slices.Contains(volumes[:i], name) {
				c.faults.add(indexed("snapshot_volumes", i), "must not repeat %q", name)
			}
		}
		c.archive, c.volumes = true, volumes
	}}
}

// SnapshotOption is an option of [Sandbox.Snapshot].
type SnapshotOption interface{ applySnapshot(*snapshotConfig) }

// ReadyOption is an option of whatever takes snapshots.
type ReadyOption interface {
	SnapshotOption
	StopOption
}

// SnapshotListOption is an option of [Client.Snapshots].
type SnapshotListOption interface{ applySnapshots(*snapshotsConfig) }

// SnapshotDeleteOption is an option of [Client.DeleteSnapshot].
type SnapshotDeleteOption interface {
	applySnapshotDelete(*snapshotDeleteConfig)
}

// maxSnapshotRequestID is the service's, in bytes.
const maxSnapshotRequestID = 128

type snapshotWait bool

// WithSnapshotWait says whether a snapshot, or a stop that takes some, waits until they are ready; true is the default.
// A stop waits for them 600 seconds at most. Without the wait a snapshot may still fail later: see [Client.WaitSnapshot].
func WithSnapshotWait(wait bool) ReadyOption { return snapshotWait(wait) }

func (o snapshotWait) applyStop(c *stopConfig)         { c.detached = !bool(o) }
func (o snapshotWait) applySnapshot(c *snapshotConfig) { c.detached = !bool(o) }
func (o snapshotWait) String() string                  { return printed("WithSnapshotWait", bool(o)) }

type snapshotRequestID string

// WithSnapshotRequestID sets the request id that makes the service recognize a repeated request, at most 128 bytes of
// UTF-8, for programs that may have to ask again after a restart. Without it each snapshot, and each stop that takes some,
// has a new one, which its own repetitions share.
func WithSnapshotRequestID(id string) ReadyOption { return snapshotRequestID(id) }

func (o snapshotRequestID) check(f *faults) string {
	checkWord(f, "request_id", string(o))
	if len(o) > maxSnapshotRequestID {
		f.add("request_id", "must have at most %d bytes, has %d", maxSnapshotRequestID, len(o))
	}
	return string(o)
}

func (o snapshotRequestID) applyStop(c *stopConfig)         { c.requestID = o.check(&c.faults) }
func (o snapshotRequestID) applySnapshot(c *snapshotConfig) { c.requestID = o.check(&c.faults) }
func (o snapshotRequestID) String() string                  { return printed("WithSnapshotRequestID", string(o)) }

// snapshotConfig is the configuration of a snapshot.
type snapshotConfig struct {
	faults    faults
	volume    string // empty: the only one
	requestID string // empty: a new one
	detached  bool   // do not wait until it is ready
}

func newSnapshotConfig(op call, opts []SnapshotOption) (snapshotConfig, error) {
	var c snapshotConfig
	applyAll(&c.faults, opts, func(o SnapshotOption) { o.applySnapshot(&c) })
	if c.requestID == "" {
		c.requestID = newRequestID()
	}
	return c, c.faults.err(op)
}

// snapshotOption is an option of snapshots only.
type snapshotOption struct {
	call  string // that makes it, as it prints
	apply func(*snapshotConfig)
}

func (o snapshotOption) applySnapshot(c *snapshotConfig) { o.apply(c) }
func (o snapshotOption) String() string                  { return o.call }

// WithSnapshotVolume says which scratch volume a snapshot is taken of. Where there are several it must be said.
func WithSnapshotVolume(name string) SnapshotOption {
	return snapshotOption{printed("WithSnapshotVolume", name), func(c *snapshotConfig) {
		checkWord(&c.faults, "scratch_volume_name", name)
		c.volume = name
	}}
}

// snapshotsConfig is the configuration of a list of snapshots.
type snapshotsConfig struct {
	faults   faults
	sandbox  string
	states   []SnapshotState
	pageSize int
}

func newSnapshotsConfig(op call, opts []SnapshotListOption) (snapshotsConfig, error) {
	var c snapshotsConfig
	applyAll(&c.faults, opts, func(o SnapshotListOption) { o.applySnapshots(&c) })
	return c, c.faults.err(op)
}

// snapshotsOption is an option of lists of snapshots only.
type snapshotsOption struct {
	call  string // that makes it, as it prints
	apply func(*snapshotsConfig)
}

func (o snapshotsOption) applySnapshots(c *snapshotsConfig) { o.apply(c) }
func (o snapshotsOption) String() string                    { return o.call }

// WithSourceSandbox lists the snapshots that were taken of one sandbox, which may have ended.
func WithSourceSandbox(id string) SnapshotListOption {
	return snapshotsOption{printed("WithSourceSandbox", id), func(c *snapshotsConfig) {
		checkWord(&c.faults, "source_sandbox_id", id)
		c.sandbox = id
	}}
}

// WithSnapshotStates lists snapshots in any of these states. The service has no such filter: it is applied here. Without a
// state it is none.
func WithSnapshotStates(states ...SnapshotState) SnapshotListOption {
	states = slices.Clone(states)
	return snapshotsOption{printed("WithSnapshotStates", states), func(c *snapshotsConfig) {
		for i, s := range states {
			if s <= SnapshotStateUnspecified {
				c.faults.add(indexed("states", i), "must be a state, is %v", s)
			}
		}
		c.states = states
	}}
}

// snapshotDeleteConfig is the configuration of a delete of a snapshot.
type snapshotDeleteConfig struct {
	faults    faults
	missingOK bool
}

func newSnapshotDeleteConfig(op call, id string, opts []SnapshotDeleteOption) (snapshotDeleteConfig, error) {
	var c snapshotDeleteConfig
	checkWord(&c.faults, snapshotIDField, id)
	applyAll(&c.faults, opts, func(o SnapshotDeleteOption) { o.applySnapshotDelete(&c) })
	return c, c.faults.err(op)
}

func (missingOption) applySnapshotDelete(c *snapshotDeleteConfig) { c.missingOK = true }
