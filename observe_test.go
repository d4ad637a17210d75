package cwsandbox

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	rpcstats "google.golang.org/grpc/stats"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// handler is what a tracing library hangs into gRPC.
type handler struct {
	mu    sync.Mutex
	ended []string
}

func (h *handler) TagRPC(ctx context.Context, info *rpcstats.RPCTagInfo) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "traceparent", "00-trace-"+info.FullMethodName)
}

func (h *handler) HandleRPC(ctx context.Context, event rpcstats.RPCStats) {
	if _, ok := event.(*rpcstats.End); ok {
		h.mu.Lock()
		defer h.mu.Unlock()
		md, _ := metadata.FromOutgoingContext(ctx)
		h.ended = append(h.ended, md.Get("traceparent")...)
	}
}

func (h *handler) TagConn(ctx context.Context, _ *rpcstats.ConnTagInfo) context.Context { return ctx }
func (h *handler) HandleConn(context.Context, rpcstats.ConnStats)                       {}

func TestTracing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := new(handler)
		f, c := fakeClient(t, WithDialOptions(grpc.WithStatsHandler(h)))
		var sent []string
		f.get = func(ctx context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			headers, _ := metadata.FromIncomingContext(ctx)
			assert.Equal(t, []string{"Bearer test-key"}, headers.Get("authorization"))
			sent = headers.Get("traceparent")
			return record(id, runningV), nil
		}
		_, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		want := "00-trace-/coreweave.sandbox.v1.SandboxService/GetSandbox"
		assert.Equal(t, []string{want}, sent, "what a handler adds reaches the service")
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		assert.Equal(t, []string{want}, h.ended)
	})
}

func TestLogOfASandbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var lines strings.Builder
		logger := slog.New(slog.NewTextHandler(lockedWriter{&mu, &lines}, &slog.HandlerOptions{Level: slog.LevelDebug}))
		_, c := fakeClient(t, WithLogger(logger))
		sb, err := c.Run(t.Context(), WithEnv("NAME", secret))
		require.NoError(t, err)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		mu.Lock()
		defer mu.Unlock()
		rest, found := lines.String(), false
		for _, part := range []string{
			`msg="a sandbox was created" op=run sandbox=sb-1 request_id=`,
			`msg="a sandbox was seen in a new state" sandbox=sb-1 state=running`,
			`msg="a sandbox was stopped" sandbox=sb-1 state=completed`,
		} {
			_, rest, found = strings.Cut(rest, part)
			assert.True(t, found, "%s in its place in:\n%s", part, lines.String())
		}
		assert.NotContains(t, lines.String(), "test-key")
		assert.NotContains(t, lines.String(), secret)
	})
}
