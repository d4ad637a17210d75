package localserver

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// keyed is a create that may be repeated.
func keyed(requestID string, changes ...func(*sandboxv1.SandboxSpec)) *sandboxv1.CreateSandboxRequest {
	req := createOf(aSpec(changes...))
	req.RequestId = requestID
	return req
}

func TestReplay(t *testing.T) {
	t.Run("C-058", func(t *testing.T) {
		inWorld(t, Options{MaxActiveSandboxes: 1}, func(w *world) {
			first, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err)
			second, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err)
			assert.Equal(t, first.GetSandboxId(), second.GetSandboxId())
			assert.Equal(t, []string{first.GetSandboxId()}, w.list(&listRequest{}))
			_, err = w.api.CreateSandbox(w.ctx, keyed(""))
			w.requireRefused(refused{code: codes.ResourceExhausted}, err)
		})
	})
	t.Run("C-059", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			ids := make([]string, 50)
			var all sync.WaitGroup
			for i := range ids {
				all.Go(func() {
					sb, err := w.api.CreateSandbox(w.ctx, keyed("r"))
					assert.NoError(t, err)
					ids[i] = sb.GetSandboxId()
				})
			}
			all.Wait()
			listed := w.list(&listRequest{})
			require.Len(t, listed, 1)
			for _, id := range ids {
				assert.Equal(t, listed[0], id)
			}
		})
	})
	t.Run("C-060", func(t *testing.T) {
		inWorld(t, Options{Retention: time.Minute}, func(w *world) {
			sb, err := w.api.CreateSandbox(w.ctx, keyed("r", command("sleep", "1")))
			require.NoError(t, err)
			for _, want := range []sandboxv1.State{running, completed} {
				synctest.Wait()
				again, err := w.api.CreateSandbox(w.ctx, keyed("r", command("sleep", "1")))
				require.NoError(t, err)
				assert.Equal(t, sb.GetSandboxId(), again.GetSandboxId())
				assert.Equal(t, want, again.GetStatus().GetState())
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			again, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err, "a key ends with its record")
			assert.NotEqual(t, sb.GetSandboxId(), again.GetSandboxId())
		})
	})
	t.Run("C-061", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err)
			_, err = w.api.CreateSandbox(w.ctx, keyed("r", tagged("other")))
			w.requireRefused(badField("request_id"), err)
			assert.Len(t, w.list(&listRequest{ShowTerminated: true}), 1)
		})
	})
	t.Run("C-062", func(t *testing.T) {
		failing := true
		fault := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if _, ok := req.(*sandboxv1.CreateSandboxRequest); ok && failing {
				return nil, status.Error(codes.Unavailable, "injected")
			}
			return next(ctx, req)
		}
		inWorld(t, Options{UnaryInterceptors: []grpc.UnaryServerInterceptor{fault}}, func(w *world) {
			_, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			w.requireRefused(refused{code: codes.Unavailable}, err)
			failing = false
			_, err = w.api.CreateSandbox(w.ctx, keyed("r", tagged("-")))
			w.requireRefused(badField("spec.tags[0]"), err)
			_, err = w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err)
		})
	})
	t.Run("C-063", func(t *testing.T) {
		keys := []Key{{Token: "ann", User: "ann"}, {Token: "bob", User: "bob"}}
		inWorld(t, Options{Keys: keys}, func(w *world) {
			ids := make(map[string]bool)
			for _, k := range keys {
				sb, err := w.api.CreateSandbox(as(context.Background(), k.Token), keyed("r"))
				require.NoError(t, err)
				ids[sb.GetSandboxId()] = true
			}
			assert.Len(t, ids, 2)
		})
	})
	t.Run("C-064", func(t *testing.T) {
		lost := make(chan string, 2)
		losing := func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			resp, err := next(ctx, req)
			if sb, ok := resp.(*sandboxv1.Sandbox); ok && len(lost) == 0 {
				lost <- sb.GetSandboxId()
				return nil, status.Error(codes.Unavailable, "the answer is lost")
			}
			return resp, err
		}
		inWorld(t, Options{UnaryInterceptors: []grpc.UnaryServerInterceptor{losing}}, func(w *world) {
			_, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			w.requireRefused(refused{code: codes.Unavailable}, err)
			sb, err := w.api.CreateSandbox(w.ctx, keyed("r"))
			require.NoError(t, err)
			assert.Equal(t, <-lost, sb.GetSandboxId())
			assert.Len(t, w.srv.Sandboxes(), 1)
		})
	})
}
