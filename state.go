package cwsandbox

import (
	"fmt"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// State is where a sandbox stands in its life. The numbers are the service's own; a state that this version does not
// know keeps its number and is neither ready nor terminal.
type State int32

// The states of a sandbox.
const (
	StateUnspecified State = State(sandboxv1.State_STATE_UNSPECIFIED) // not known
	StateCreating    State = State(sandboxv1.State_STATE_CREATING)    // being scheduled and started
	StateRunning     State = State(sandboxv1.State_STATE_RUNNING)     // up: commands can run
	StateCompleted   State = State(sandboxv1.State_STATE_COMPLETED)   // terminal: the main process ended, by itself or by a stop
	StateFailed      State = State(sandboxv1.State_STATE_FAILED)      // terminal: it could not run, or ran out of time
	StateTerminating State = State(sandboxv1.State_STATE_TERMINATING) // a stop was accepted
	StateTerminated  State = State(sandboxv1.State_STATE_TERMINATED)  // terminal: stopped
	StatePending     State = State(sandboxv1.State_STATE_PENDING)     // accepted, not yet scheduled
	StatePaused      State = State(sandboxv1.State_STATE_PAUSED)      // paused by the platform; counts as running
	StatePreparing   State = State(sandboxv1.State_STATE_PREPARING)   // its images are being fetched
)

// String returns the state's name in lower case, or State(42) for a number that this version does not know.
func (s State) String() string {
	switch s {
	case StateUnspecified:
		return "unspecified"
	case StateCreating:
		return "creating"
	case StateRunning:
		return "running"
	case StateCompleted:
		return "completed"
	case StateFailed:
		return "failed"
	case StateTerminating:
		return "terminating"
	case StateTerminated:
		return "terminated"
	case StatePending:
		return "pending"
	case StatePaused:
		return "paused"
	case StatePreparing:
		return "preparing"
	}
	return fmt.Sprintf("State(%d)", int32(s))
}

// Terminal reports whether the sandbox has ended: completed, failed or terminated.
func (s State) Terminal() bool {
	return s == StateCompleted || s == StateFailed || s == StateTerminated
}

// ready reports whether commands can run.
func (s State) ready() bool { return s == StateRunning || s == StatePaused }

// known reports whether the service knew the state, and this version knows its number.
func (s State) known() bool {
	_, ok := sandboxv1.State_name[int32(s)]
	return ok && s != StateUnspecified
}

// rank orders the states in time: what a sandbox has passed it does not return to. A state that is not known may be any
// before running.
func (s State) rank() int {
	switch s {
	case StateRunning, StatePaused:
		return 2
	case StateTerminating:
		return 3
	case StateCompleted, StateFailed, StateTerminated:
		return 4
	}
	return 1
}
