package cwsandboxtest

import "github.com/cwsandbox/cwsandbox-go/internal/localserver"

// HoldSnapshots keeps the snapshots of the target in [cwsandbox.SnapshotStateCreating], until the function that it returns
// is called.
func (s *Server) HoldSnapshots(target string) (release func()) {
	return s.core.HookSnapshots(localserver.SnapshotHook{Target: target, Hold: true})
}

// FailSnapshots makes the snapshots of the target fail, for the reason, until the function that it returns is called.
func (s *Server) FailSnapshots(target, reason string) (release func()) {
	return s.core.HookSnapshots(localserver.SnapshotHook{Target: target, FailReason: reason})
}
