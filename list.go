package cwsandbox

import (
	"context"
	"iter"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Attach returns a handle of a sandbox that exists already, after asking the service for it once. A sandbox that has
// ended is found as long as the service keeps its record; one that it does not know is [ErrNotFound]. The sandbox stays
// its owner's: nothing stops it when this program ends.
func (c *Client) Attach(ctx context.Context, id string, opts ...AttachOption) (*Sandbox, error) {
	s, err := c.attach(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	return s.handle(), nil
}

func (c *Client) attach(ctx context.Context, id string, opts []AttachOption) (*shared, error) {
	config, err := newAttachConfig(id, opts)
	if err != nil {
		return nil, err
	}
	n := c.request()
	record, err := c.sandboxes.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: id}, transport.Timeout(config.requestTimeout))
	if err != nil {
		return nil, call{op: "attach", sandbox: id}.wrap(err)
	}
	s := c.stateOf(id)
	s.apply(n, record)
	s.choosePath(config.dataPlane)
	s.mu.Lock()
	if config.grace != nil {
		s.grace = *config.grace
	}
	if !config.shareToken.IsZero() {
		s.token = config.shareToken
	}
	s.mu.Unlock()
	return s, nil
}

// List yields the caller's active sandboxes, page by page; [WithTerminated] adds those that have ended. All filters must
// match. The order is the service's. The handles are tracked nowhere: listing stops nothing.
//
// An error comes once, last, beside a nil handle; each page is asked for again by the rules for reads before that. To
// leave the loop early releases everything. Each page is bounded by the request timeout, the whole walk by ctx.
func (c *Client) List(ctx context.Context, opts ...ListOption) iter.Seq2[*Sandbox, error] {
	return func(yield func(*Sandbox, error) bool) {
		config, err := newListConfig(opts)
		if err != nil {
			yield(nil, err)
			return
		}
		if err := c.walk(ctx, config, func(sb *Sandbox) bool { return yield(sb, nil) }); err != nil {
			yield(nil, err)
		}
	}
}

// walk calls yield with each sandbox of a list until it says stop.
func (c *Client) walk(ctx context.Context, config listConfig, yield func(*Sandbox) bool) error {
	req := config.request()
	return eachPage(call{op: config.op}, func(token string) (string, error) {
		req.PageToken = token
		n := c.request()
		page, err := c.sandboxes.ListSandboxes(ctx, req)
		if err != nil {
			return "", err
		}
		for _, record := range page.GetSandboxes() {
			if !config.selects(record, time.Now()) {
				continue
			}
			s := c.stateOf(record.GetSandboxId())
			s.apply(n, record)
			if !yield(s.handle()) {
				return "", nil
			}
		}
		return page.GetNextPageToken(), nil
	})
}

// Delete ends a sandbox by its id, at once unless [WithGrace] says otherwise, and returns when the service has accepted
// that; it does not wait for the end. A sandbox that the service does not know is [ErrNotFound], or nil with [MissingOK].
// Handles of that sandbox on this client learn of it.
func (c *Client) Delete(ctx context.Context, id string, opts ...DeleteOption) error {
	config, err := newDeleteConfig(id, opts)
	if err != nil {
		return err
	}
	n := c.request()
	reply, err := c.sandboxes.DeleteSandbox(ctx, &sandboxv1.DeleteSandboxRequest{
		SandboxId:          id,
		GracePeriodSeconds: wholeSeconds(config.grace),
		AllowMissing:       config.missingOK,
	})
	err = call{op: "delete", sandbox: id}.wrap(err)
	missing := answeredNotFound(err) || err == nil && reply.GetSandbox() == nil
	if err != nil && !missing {
		return err
	}
	if s := c.known(id); s != nil {
		if missing {
			s.lost()
		} else {
			s.accepted(n, reply.GetSandbox())
		}
	}
	if missing && config.missingOK {
		return nil
	}
	return err
}
