package cwsandbox

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
			`msg="a sandbox was created" op=run sandbox=sb-1 state=creating request_id=`,
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

// told is the handler of a logger that calls a function with each message.
type told struct {
	slog.Handler
	call func(message string)
}

func (told) Enabled(context.Context, slog.Level) bool { return true }

func (l told) Handle(_ context.Context, r slog.Record) error {
	l.call(r.Message)
	return nil
}

func TestLoggerThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		f, c := fakeClient(t, WithLogger(slog.New(told{slog.DiscardHandler, func(message string) {
			if message == "a sandbox was created" || strings.Contains(message, "new state") {
				<-release
			}
		}})))
		s, err := c.NewSession()
		require.NoError(t, err)
		creates := []*Future[*Sandbox]{
			Go(func() (*Sandbox, error) { return c.Create(t.Context()) }),
			Go(func() (*Sandbox, error) { return s.Create(t.Context()) }),
		}
		synctest.Wait()
		require.NoError(t, s.Close(), "does not wait for the create that has made its sandbox")
		require.NoError(t, cleanup(c, time.Second))
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Zero(t, c.registry.count(c))
		close(release)
		_, err = WaitAll(t.Context(), creates...)
		require.NoError(t, err)
	})
}

func TestLoggerThatUsesTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c *Client
		lines := 0
		f, made := fakeClient(t, WithLogger(slog.New(told{slog.DiscardHandler, func(message string) {
			if strings.HasPrefix(message, "the client was closed") {
				lines++
				assert.NotNil(t, c.known("sb-1"))
				assert.True(t, c.isClosed())
			}
		}})))
		c = made
		sb := running(t, f, c)
		require.NoError(t, c.Close())
		assert.Equal(t, 1, lines)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
	})
}
