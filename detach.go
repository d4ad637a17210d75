package cwsandbox

import "context"

// Detach leaves the sandbox running when this program ends: it leaves its session, and neither [Session.Close] nor the
// end of the program stops it any more. A stop in flight goes on; [Sandbox.Stop] still stops it. What is left behind ends
// with its max lifetime at the latest.
//
// A lease ends with it: see [WithLease]. That takes a write into the sandbox, for which Detach waits while the sandbox is
// starting; without a deadline on ctx for 300 seconds. When it fails, Detach returns the error and nothing has changed:
// the sandbox stays tracked and leased. A main process that fails and is started again may find the lease on again,
// because the platform gives it new files; nothing would keep it up then.
//
// When ctx has ended before, Detach returns its error and changes nothing.
func (sb *Sandbox) Detach(ctx context.Context) error {
	c := call{op: "detach", sandbox: sb.s.id}
	if ctx.Err() != nil {
		return c.wrap(ctxError(ctx))
	}
	if err := sb.s.disarm(ctx, c); err != nil {
		return err
	}
	sb.s.untrack()
	return nil
}
