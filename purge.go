package cwsandbox

import (
	"context"
	"fmt"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// PurgeResult is what a purge has done.
type PurgeResult struct {
	Count     int      // sandboxes that were told to end
	Failed    []string // ids of those that matched and were not
	Retryable []string // those of Failed that another purge may end
}

// Purge tells all active sandboxes that carry all of the tags to end, at once and without grace, and returns when the
// service has accepted that: the caller's own, whoever created them, and those of the whole organization where the caller
// is an administrator. Try the same options with [Client.PurgeCount] first. Without a tag it is an error, see
// [Client.PurgeAll].
//
// Where sandboxes matched that the service could not end, the error names them and the result holds their ids. A purge is
// never repeated by itself, and after any other error some sandboxes may have ended already; to repeat it does no harm.
// Handles of this client learn of the end when they next ask the service, and what is tracked stays so until then.
func (c *Client) Purge(ctx context.Context, opts ...PurgeOption) (PurgeResult, error) {
	const op = "purge"
	config, err := newPurgeConfig(op, opts)
	if err == nil && len(config.tags) == 0 {
		config.faults.add("tags", "must be at least one: only PurgeAll selects everything")
		err = config.faults.err(call{op: op})
	}
	if err != nil {
		return PurgeResult{}, err
	}
	return c.purge(ctx, op, &sandboxv1.PurgeSandboxesRequest{Tags: config.tags})
}

// PurgeAll is [Client.Purge] of everything that the caller may end: all sandboxes of the account, of an administrator all
// of the organization, those of other programs and people included.
func (c *Client) PurgeAll(ctx context.Context) (PurgeResult, error) {
	return c.purge(ctx, "purge all", &sandboxv1.PurgeSandboxesRequest{PurgeAll: true})
}

// PurgeCount returns how many sandboxes [Client.Purge] would end, or, without a tag, [Client.PurgeAll]. It ends none.
func (c *Client) PurgeCount(ctx context.Context, opts ...PurgeOption) (int, error) {
	const op = "purge count"
	config, err := newPurgeConfig(op, opts)
	if err != nil {
		return 0, err
	}
	req := &sandboxv1.PurgeSandboxesRequest{Tags: config.tags, PurgeAll: len(config.tags) == 0, DryRun: true}
	result, err := c.purge(ctx, op, req)
	return result.Count, err
}

func (c *Client) purge(ctx context.Context, op string, req *sandboxv1.PurgeSandboxesRequest) (PurgeResult, error) {
	reply, err := c.sandboxes.PurgeSandboxes(ctx, req)
	if err != nil {
		return PurgeResult{}, call{op: op}.wrap(err)
	}
	result := PurgeResult{
		Count:     int(reply.GetPurgeCount()),
		Failed:    reply.GetFailedSandboxIds(),
		Retryable: reply.GetRetryableFailedSandboxIds(),
	}
	if n := len(result.Failed); n > 0 {
		return result, call{op: op}.refuse(fmt.Sprintf("not ended: %d, ended: %d; left are %s", n, result.Count, someOf(result.Failed)))
	}
	return result, nil
}

// someOf lists ids for an error, which stays readable when there are thousands.
func someOf(ids []string) string {
	const most = 20
	if len(ids) <= most {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:most], ", "), len(ids)-most)
}
