package cwsandbox

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestStopAll(t *testing.T) {
	broken := errors.New("the list broke")
	bubble(t, "what came before an error is stopped", func(t *testing.T, f *fake, c *Client) {
		f.many()
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if req.GetSandboxId() == "sb-2" {
				return nil, failure(codes.PermissionDenied, "")
			}
			return answer(ctx, n, req)
		}
		results, err := StopAll(t.Context(), func(yield func(*Sandbox, error) bool) {
			for range 3 {
				if !yield(creating(t, c), nil) {
					return
				}
			}
			yield(nil, broken)
		})
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.ElementsMatch(t, []string{"sb-1", "sb-2", "sb-3"}, f.deleted())
		require.Len(t, results, 3)
		assert.True(t, results[0].Accepted)
		assert.Zero(t, results[1])
		assert.True(t, results[2].Accepted)
	})
	bubble(t, "nothing found is nothing to stop", func(t *testing.T, f *fake, c *Client) {
		results, err := StopAll(t.Context(), func(func(*Sandbox, error) bool) {})
		require.NoError(t, err)
		assert.Empty(t, results)
	})
}
