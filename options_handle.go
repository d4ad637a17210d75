package cwsandbox

import "time"

// attachConfig is the configuration of an attach.
type attachConfig struct {
	faults         faults
	grace          *time.Duration // nil: the default
	requestTimeout time.Duration  // zero: the client's
	dataPlane      *DataPlane     // nil: as it is
	shareToken     ShareToken
}

func newAttachConfig(id string, opts []AttachOption) (attachConfig, error) {
	var c attachConfig
	checkWord(&c.faults, "sandbox_id", id)
	applyAll(&c.faults, opts, func(o AttachOption) { o.applyAttach(&c) })
	return c, c.faults.err(call{op: "attach", sandbox: id})
}

// stopConfig is the configuration of a stop.
type stopConfig struct {
	faults    faults
	grace     *time.Duration // nil: the sandbox's
	archive   bool           // scratch volumes, before the end
	volumes   []string       // which; none: all
	detached  bool           // do not wait until the archives are ready
	requestID string         // of a stop that archives; empty: a new one
}

func newStopConfig(id string, opts []StopOption) (stopConfig, error) {
	var c stopConfig
	applyAll(&c.faults, opts, func(o StopOption) { o.applyStop(&c) })
	if c.detached && !c.archive {
		c.faults.add("snapshot wait", "needs WithStopSnapshot")
	}
	if c.requestID != "" && !c.archive {
		c.faults.add("request_id", "needs WithStopSnapshot")
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
	checkWord(&c.faults, "sandbox_id", id)
	applyAll(&c.faults, opts, func(o DeleteOption) { o.applyDelete(&c) })
	return c, c.faults.err(call{op: "delete", sandbox: id})
}
