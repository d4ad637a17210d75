package transport

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// size is the number of connections, and of streams on each.
func (p *pool) size() (streams []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		streams = append(streams, c.streams)
	}
	return streams
}

// openStreams opens n streams that stay open until the returned function is called.
func openStreams(t *testing.T, tr *Transport, n int) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	for range n {
		_, err := sandboxv1.NewSandboxServiceClient(tr).StreamLogs(ctx, &sandboxv1.StreamLogsRequest{})
		require.NoError(t, err)
	}
	return func() {
		cancel()
		synctest.Wait()
	}
}

func TestPoolGrowsAndShrinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, hang, grpc.MaxConcurrentStreams(100))
		tr := s.transport(t, nil)

		end := openStreams(t, tr, 250)
		synctest.Wait()
		assert.Equal(t, []int{90, 90, 70}, tr.data.size())
		assert.Len(t, s.seen(), 250, "no stream waits for another one's end")
		assert.EqualValues(t, 3, s.listener.conns.Load())

		end()
		assert.Equal(t, []int{0, 0, 0}, tr.data.size(), "abandoned streams give their places back")

		time.Sleep(30 * time.Second)
		endOne := openStreams(t, tr, 2)
		time.Sleep(40 * time.Second)
		assert.Equal(t, []int{1, 1}, tr.data.size(), "the idle one is gone, the busy ones stay")
		endOne()
		time.Sleep(2 * time.Minute)
		assert.Equal(t, []int{0}, tr.data.size())
	})
}

func TestPoolKeepsConnectionsThatWereIdleForLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := serve(t, hang).transport(t, nil)
		endFirst, endSecond := openStreams(t, tr, 90), openStreams(t, tr, 90)
		endThird := openStreams(t, tr, 90)
		synctest.Wait()
		assert.Equal(t, []int{90, 90, 90}, tr.data.size())

		endSecond()
		time.Sleep(45 * time.Second)
		endThird()
		time.Sleep(20 * time.Second)
		assert.Equal(t, []int{90, 0}, tr.data.size())
		time.Sleep(time.Minute)
		assert.Equal(t, []int{90}, tr.data.size())
		endFirst()
	})
}

func TestLeastLoadedConnectionIsPicked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := serve(t, hang).transport(t, nil)
		endFirst := openStreams(t, tr, 90)
		endMore := openStreams(t, tr, 30)
		endFirst()
		endLast := openStreams(t, tr, 50)
		assert.Equal(t, []int{40, 40}, tr.data.size())
		endMore()
		endLast()
	})
}

func TestLifecycleCallsHaveConnectionsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, func(s *seen) (proto.Message, error) {
			if s.method == sandboxv1.SandboxService_DeleteSandbox_FullMethodName {
				return empty(s)
			}
			return hang(s)
		}, grpc.MaxConcurrentStreams(100))
		tr := s.transport(t, nil)
		end := openStreams(t, tr, 100)
		require.NoError(t, deleting(&sandboxv1.DeleteSandboxRequest{})(t.Context(), tr))
		assert.Equal(t, []int{0}, tr.lifecycle.size())
		end()
	})
}

func TestLifecycleConnectionsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := serve(t, hang).transport(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		for range 1000 {
			go list(ctx, tr)
		}
		synctest.Wait()
		assert.Equal(t, []int{100, 100, 100, 100, 100, 100, 100, 100, 100, 100}, tr.lifecycle.size())
		cancel()
		synctest.Wait()
	})
}

func TestStreamGivesItsPlaceBack(t *testing.T) {
	for name, row := range map[string]struct {
		answer func(*seen) (proto.Message, error)
		use    func(*testing.T, sandboxv1.SandboxService_StreamExecClient)
	}{
		"end": {empty, func(t *testing.T, stream sandboxv1.SandboxService_StreamExecClient) {
			require.NoError(t, stream.Send(&sandboxv1.ExecStreamRequest{}))
			_, err := stream.Recv()
			require.NoError(t, err)
			_, err = stream.Recv()
			require.Error(t, err)
			_, err = stream.Recv()
			require.Error(t, err, "asking again is harmless")
		}},
		"error": {fail(failure(codes.Internal)), func(t *testing.T, stream sandboxv1.SandboxService_StreamExecClient) {
			require.NoError(t, stream.Send(&sandboxv1.ExecStreamRequest{}))
			_, err := stream.Recv()
			require.Equal(t, codes.Internal, status.Code(err))
		}},
		"unsendable message": {empty, func(t *testing.T, stream sandboxv1.SandboxService_StreamExecClient) {
			err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{
				Init: &sandboxv1.ExecStreamInit{SandboxId: "\xff"},
			}})
			require.Equal(t, codes.Internal, asError(t, err).Status.Code())
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := serve(t, row.answer).transport(t, nil)
				stream, err := sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
				require.NoError(t, err)
				assert.Equal(t, []int{1}, tr.data.size())
				row.use(t, stream)
				assert.Equal(t, []int{0}, tr.data.size())
			})
		})
	}
	t.Run("not opened", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, empty).transport(t, refuseAll)
			_, err := sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
			assert.Equal(t, codes.Unavailable, asError(t, err).Status.Code())
			assert.Equal(t, []int{0}, tr.data.size())
		})
	})
}
