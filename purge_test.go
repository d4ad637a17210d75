package cwsandbox

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// purges makes every purge answer the same.
func (f *fake) purges(reply *sandboxv1.PurgeSandboxesResponse) {
	f.purge = func(context.Context, int, *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error) {
		return reply, nil
	}
}

// requirePurge expects that exactly one purge was sent, and which.
func (f *fake) requirePurge(t *testing.T, want *sandboxv1.PurgeSandboxesRequest) {
	t.Helper()
	calls := f.of("PurgeSandboxes")
	require.Len(t, calls, 1)
	assert.True(t, proto.Equal(want, calls[0].request), "%v", calls[0].request)
}

func TestPurge(t *testing.T) {
	bubble(t, "by tags", func(t *testing.T, f *fake, c *Client) {
		f.purges(&sandboxv1.PurgeSandboxesResponse{PurgeCount: 3})
		result, err := c.Purge(t.Context(), WithTags("a", "b"), nil, WithTags("b", "c"))
		require.NoError(t, err)
		assert.Equal(t, PurgeResult{Count: 3}, result)
		f.requirePurge(t, &sandboxv1.PurgeSandboxesRequest{Tags: []string{"a", "b", "c"}})
	})
	bubble(t, "by the tag of this run", func(t *testing.T, f *fake, c *Client) {
		f.purges(&sandboxv1.PurgeSandboxesResponse{})
		_, err := c.Purge(t.Context(), WithRunTag())
		require.NoError(t, err)
		f.requirePurge(t, &sandboxv1.PurgeSandboxesRequest{Tags: []string{RunTag()}})
	})
	bubble(t, "all", func(t *testing.T, f *fake, c *Client) {
		f.purges(&sandboxv1.PurgeSandboxesResponse{PurgeCount: 7})
		result, err := c.PurgeAll(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 7, result.Count)
		f.requirePurge(t, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true})
	})
	bubble(t, "an empty selection is refused", func(t *testing.T, f *fake, c *Client) {
		for _, opts := range [][]PurgeOption{nil, {nil}, {WithTags()}} {
			_, err := c.Purge(t.Context(), opts...)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.EqualError(t, err, "cwsandbox: purge: tags: must be at least one: only PurgeAll selects everything")
		}
		assert.Empty(t, f.calls)
	})
	bubble(t, "a bad tag is refused", func(t *testing.T, f *fake, c *Client) {
		_, err := c.Purge(t.Context(), WithTags("good", "bad-"))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "cwsandbox: purge: tags[1]: ")
		_, err = c.PurgeCount(t.Context(), WithTags(""))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "cwsandbox: purge count: tags[0]: ")
		assert.Empty(t, f.calls)
	})
	bubble(t, "what failed is in the error and in the result", func(t *testing.T, f *fake, c *Client) {
		f.purges(&sandboxv1.PurgeSandboxesResponse{
			PurgeCount: 1, FailedSandboxIds: []string{"sb-1", "sb-2"}, RetryableFailedSandboxIds: []string{"sb-2"},
		})
		result, err := c.Purge(t.Context(), WithTags("a"))
		require.EqualError(t, err, "cwsandbox: purge: not ended: 2, ended: 1; left are sb-1, sb-2")
		assert.Equal(t, PurgeResult{Count: 1, Failed: []string{"sb-1", "sb-2"}, Retryable: []string{"sb-2"}}, result)
	})
	bubble(t, "thousands that failed", func(t *testing.T, f *fake, c *Client) {
		ids := make([]string, 5000)
		for i := range ids {
			ids[i] = fmt.Sprint("sb-", i)
		}
		f.purges(&sandboxv1.PurgeSandboxesResponse{FailedSandboxIds: ids})
		result, err := c.PurgeAll(t.Context())
		require.ErrorContains(t, err, "sb-19 and 4980 more")
		assert.Less(t, len(err.Error()), 300)
		assert.Equal(t, ids, result.Failed)
	})
	bubble(t, "is not repeated", func(t *testing.T, f *fake, c *Client) {
		f.purge = func(context.Context, int, *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error) {
			return nil, failure(codes.Unavailable, "")
		}
		result, err := c.PurgeAll(t.Context())
		require.ErrorIs(t, err, ErrUnavailable)
		assert.ErrorContains(t, err, "cwsandbox: purge all: ")
		assert.Zero(t, result)
		assert.Equal(t, 1, f.count("PurgeSandboxes"))
	})
}

func TestPurgeCount(t *testing.T) {
	for _, row := range []struct {
		name string
		opts []PurgeOption
		want *sandboxv1.PurgeSandboxesRequest
	}{
		{"by tag", []PurgeOption{WithTags("a")}, &sandboxv1.PurgeSandboxesRequest{Tags: []string{"a"}, DryRun: true}},
		{"all", nil, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true, DryRun: true}},
	} {
		bubble(t, row.name, func(t *testing.T, f *fake, c *Client) {
			f.purges(&sandboxv1.PurgeSandboxesResponse{PurgeCount: 4})
			n, err := c.PurgeCount(t.Context(), row.opts...)
			require.NoError(t, err)
			assert.Equal(t, 4, n)
			f.requirePurge(t, row.want)
		})
	}
	bubble(t, "is repeated", func(t *testing.T, f *fake, c *Client) {
		f.purge = func(_ context.Context, n int, _ *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "")
			}
			return &sandboxv1.PurgeSandboxesResponse{PurgeCount: 2}, nil
		}
		n, err := c.PurgeCount(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, n)
	})
}
