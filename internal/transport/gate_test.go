package transport

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
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// crowd begins n deletes and returns a function that waits for them.
func crowd(ctx context.Context, tr *Transport, n int, ended func(error)) (wait func()) {
	var calls sync.WaitGroup
	for range n {
		calls.Go(func() {
			_, err := sandboxv1.NewSandboxServiceClient(tr).DeleteSandbox(ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: "sb"})
			ended(err)
		})
	}
	return calls.Wait
}

func TestDeletesAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, func(c *seen) (proto.Message, error) {
			time.Sleep(time.Second)
			return empty(c)
		}, grpc.MaxConcurrentStreams(100))
		tr := s.transport(t, nil)
		start := time.Now()
		wait := crowd(t.Context(), tr, maxDeletes+200, func(err error) { assert.NoError(t, err) })
		synctest.Wait()
		assert.Len(t, s.seen(), maxDeletes)
		_, err := sandboxv1.NewSandboxServiceClient(tr).DeleteSandbox(t.Context(),
			&sandboxv1.DeleteSandboxRequest{SandboxId: "sb", SnapshotVolumes: []string{"v"}})
		require.NoError(t, err, "one that may take ten minutes has no part in this")
		wait()
		assert.Equal(t, 2*time.Second, time.Since(start))
	})
}

func TestWaitForAPlaceEnds(t *testing.T) {
	for name, tt := range map[string]struct {
		end  func(cancel context.CancelFunc, tr *Transport)
		code codes.Code
		err  error
	}{
		"with the context":   {func(cancel context.CancelFunc, _ *Transport) { cancel() }, codes.Canceled, context.Canceled},
		"with the transport": {func(_ context.CancelFunc, tr *Transport) { tr.Close() }, codes.Canceled, rpcerr.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, hang)
				tr := s.transport(t, nil)
				for range maxDeletes {
					require.Nil(t, tr.deletes.enter(t.Context(), t.Context(), tr.lifecycle, "other"))
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				wait := crowd(ctx, tr, 1, func(err error) {
					var e *rpcerr.Error
					if assert.ErrorAs(t, err, &e) {
						assert.Equal(t, tt.code, e.Status.Code())
						assert.False(t, e.Sent)
					}
					assert.ErrorIs(t, err, tt.err)
				})
				synctest.Wait()
				tt.end(cancel, tr)
				wait()
				assert.Empty(t, s.seen())
			})
		})
	}
	t.Run("with the time of the call", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, hang).transport(t, nil)
			for range maxDeletes {
				require.Nil(t, tr.deletes.enter(t.Context(), t.Context(), tr.lifecycle, "other"))
			}
			start := time.Now()
			_, err := sandboxv1.NewSandboxServiceClient(tr).DeleteSandbox(t.Context(),
				&sandboxv1.DeleteSandboxRequest{SandboxId: "sb"}, Timeout(time.Minute))
			var e *rpcerr.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, codes.DeadlineExceeded, e.Status.Code())
			assert.Equal(t, time.Minute, time.Since(start), "the attempt's own limit counts from its place on")
		})
	})
}
