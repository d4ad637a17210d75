package cwsandbox

import (
	"fmt"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

// DataPlane is the way that the data of a sandbox takes: commands, logs and files. Everything else goes to the service.
type DataPlane int

const (
	// DataPlaneAuto takes a direct connection to where the sandbox runs if there is one within a second, and else the
	// service's gateway, for the next 30 seconds too. It is the default. The way is chosen before an operation begins, and
	// never changes after that. A client with [WithDialOptions] takes the gateway: such options often say how this
	// program gets out of its network, and who sees what it calls, and direct connections would pass them by.
	//
	// A direct stream ends with the certificate of its connection, of which it has at least half the life, or an hour,
	// before it. The service says how long that is; a command that runs for longer is better off with the gateway.
	DataPlaneAuto DataPlane = iota

	// DataPlaneDirect takes a direct connection; an operation that cannot have one within ten seconds is [ErrUnavailable].
	// Dial options do not apply to it.
	DataPlaneDirect

	// DataPlaneGateway takes the service's gateway.
	DataPlaneGateway
)

// modes are the same for the layer below.
var modes = map[DataPlane]transport.Mode{
	DataPlaneAuto:    transport.Auto,
	DataPlaneDirect:  transport.Direct,
	DataPlaneGateway: transport.Gateway,
}

// String returns "auto", "direct" or "gateway".
func (d DataPlane) String() string {
	switch d {
	case DataPlaneAuto:
		return "auto"
	case DataPlaneDirect:
		return "direct"
	case DataPlaneGateway:
		return "gateway"
	}
	return fmt.Sprintf("DataPlane(%d)", int(d))
}

type dataPlaneOption DataPlane

// WithDataPlane chooses the way to the data of sandboxes: of a client for all, of a create, a session or an attach for those
// that it makes or finds. [Result.Via] tells which way a command has taken.
//
// A direct connection saves the way through the gateway. It is authenticated by a certificate for that one sandbox and
// kind of operation, whose key never leaves memory; no token is sent on it. It is made by the first operation of its
// kind, renewed before its certificate ends, and closed when the sandbox is known to have ended, or with the client.
func WithDataPlane(mode DataPlane) CallOption { return dataPlaneOption(mode) }

func (o dataPlaneOption) check(f *faults) DataPlane {
	if _, known := modes[DataPlane(o)]; !known {
		f.add("data plane", "must be auto, direct or gateway, is %v", DataPlane(o))
	}
	return DataPlane(o)
}

func (o dataPlaneOption) applyClient(c *clientConfig) { c.dataPlane = o.check(&c.faults) }

func (o dataPlaneOption) applyCreate(c *createConfig) {
	mode := o.check(&c.faults)
	c.dataPlane = &mode
}

func (o dataPlaneOption) applyAttach(c *attachConfig) {
	mode := o.check(&c.faults)
	c.dataPlane = &mode
}

func (o dataPlaneOption) String() string { return printed("WithDataPlane", DataPlane(o)) }

// mode is the way for the layer below.
func (c *clientConfig) mode(d DataPlane) transport.Mode {
	if d == DataPlaneAuto && len(c.dialOptions) > 0 && c.directDial == nil {
		return transport.Gateway
	}
	return modes[d]
}

// choosePath applies what an option says; nil: nothing.
func (s *shared) choosePath(d *DataPlane) {
	if d != nil {
		s.path.SetMode(s.client.config.mode(*d))
	}
}

// via tells which way an operation has taken.
func via(direct bool) DataPlane {
	if direct {
		return DataPlaneDirect
	}
	return DataPlaneGateway
}
