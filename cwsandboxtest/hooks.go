package cwsandboxtest

import (
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The hooks below bring about what a client cannot. Their target is the id of a sandbox, or a tag, which stands for
// every sandbox that carries it.

// Hold keeps the target in a state once it is there: in [cwsandbox.StateCreating] it does not begin to run, in
// [cwsandbox.StateTerminating] it does not end. A tag holds for sandboxes that are created later, too. Only a delete
// leads out of a state that is held. The function that Hold returns ends all holds of the target.
func (s *Server) Hold(target string, in cwsandbox.State) (release func()) {
	s.core.Hold(target, sandboxv1.State(in))
	return func() { s.core.Release(target) }
}

// FailStart makes the target fail when it starts, for the reason. A tag stands for sandboxes that are created later, too.
func (s *Server) FailStart(target, reason string) { s.core.FailStart(target, reason) }

// FailPurge makes purges report the target as failed, and as worth another try or not, in place of ending it. The function
// that FailPurge returns undoes that.
func (s *Server) FailPurge(target string, retryable bool) (release func()) {
	return s.core.FailPurge(target, retryable)
}

// SetState shows the target in a state. A terminal one is final, and what still runs is killed; another one lasts until
// the sandbox next changes.
func (s *Server) SetState(target string, state cwsandbox.State) {
	s.core.SetState(target, sandboxv1.State(state))
}

// SetExitCode shows an exit code for the target, also when it has ended.
func (s *Server) SetExitCode(target string, code int) { s.core.SetExitCode(target, code) }

// Expire ends the lifetime of the target now.
func (s *Server) Expire(target string) { s.core.Expire(target) }

// Forget kills the target and makes it unknown to clients from now on.
func (s *Server) Forget(target string) { s.core.Forget(target) }

// ForgetFor makes the target unknown to clients for a time. It goes on running.
func (s *Server) ForgetFor(target string, d time.Duration) { s.core.ForgetFor(target, d) }

// Active returns the ids of the sandboxes that have not ended, oldest first.
func (s *Server) Active() []string { return s.core.Active() }
