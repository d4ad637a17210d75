package cwsandbox

import (
	"context"
	"iter"
)

// Orphans yields the active sandboxes of the caller whose [Owner] is proven to have ended: a process on this host, of this
// boot and pid namespace, whose pid is free or belongs to a process that began at another time. Age proves nothing, and
// an owner elsewhere, another container on this host included, is not judged. Deaths can be proven on Linux only.
//
// A sandbox that its owner has left running on purpose, with [Sandbox.Detach] or by a mere exit, is an orphan, too, and so
// is one that another process has adopted; one that a session of this client has adopted is not. Narrow the search down by
// [WithTags], [WithOlderThan] and [WithOwner], and look at what is found before you stop it: Orphans itself stops and
// tracks nothing. Handles, errors and order are those of [Client.List]; filters that ask for sandboxes that have ended are
// an error.
func (c *Client) Orphans(ctx context.Context, opts ...ListOption) iter.Seq2[*Sandbox, error] {
	return func(yield func(*Sandbox, error) bool) {
		config, err := newOrphansConfig(c.host, opts)
		if err != nil {
			yield(nil, err)
			return
		}
		err = c.walk(ctx, config, func(sb *Sandbox) bool { return sb.s.session() != nil || yield(sb, nil) })
		if err != nil {
			yield(nil, err)
		}
	}
}

// newOrphansConfig is the list that [Client.Orphans] walks.
func newOrphansConfig(h *host, opts []ListOption) (listConfig, error) {
	c := listConfig{op: "orphans", orphansOf: h}
	c.apply(opts)
	if c.terminated || c.state.Terminal() {
		c.faults.add("state", "must not ask for sandboxes that have ended")
	}
	return c, c.faults.err(call{op: c.op})
}
