package cwsandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	fault "github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
	runtimes "github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// planes is a local server with direct connections, in memory, and counts those that are open.
type planes struct {
	*fault.Layer
	server  *localserver.Server
	gateway *bufconn.Listener
	direct  *bufconn.Listener
	open    atomic.Int32
}

// onPlanes runs a test in fake time. Goroutines that the test leaves behind fail it.
func onPlanes(t *testing.T, name string, test func(t *testing.T, p *planes)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := &planes{Layer: fault.NewLayer(), gateway: bufconn.Listen(1 << 20), direct: bufconn.Listen(1 << 20)}
			var err error
			p.server, err = localserver.New(localserver.Options{
				Runtime:            runtimes.New(),
				UnaryInterceptors:  []grpc.UnaryServerInterceptor{p.Unary},
				StreamInterceptors: []grpc.StreamServerInterceptor{p.Stream},
			})
			require.NoError(t, err)
			require.NoError(t, p.server.ServeDirect(fault.Listen(p.direct)))
			go p.server.Serve(fault.Listen(p.gateway))
			t.Cleanup(func() {
				p.Release()
				assert.NoError(t, p.server.Close())
			})
			test(t, p)
		})
	})
}

// client is a client of the server, closed with the test.
func (p *planes) client(t *testing.T, opts ...ClientOption) *Client {
	t.Helper()
	c, err := NewClient(append([]ClientOption{
		WithBaseURL("http://127.0.0.1:1"), WithAPIKey("test-key"),
		WithDialOptions(
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return p.gateway.DialContext(ctx) }),
		),
		clientOption(func(c *clientConfig) { c.privateRegistry, c.directDial = true, p.dial }),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, errors.Join(c.Close(), c.closeWhole())) })
	return c
}

func (p *planes) dial(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := p.direct.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	p.open.Add(1)
	return &counted{Conn: conn, open: &p.open}, nil
}

// counted is a connection that tells when it is closed.
type counted struct {
	net.Conn
	open   *atomic.Int32
	closed atomic.Bool
}

func (c *counted) Close() error {
	if !c.closed.Swap(true) {
		c.open.Add(-1)
	}
	return c.Conn.Close()
}

func run(t *testing.T, c *Client, opts ...Option) *Sandbox {
	t.Helper()
	sb, err := c.Run(t.Context(), opts...)
	require.NoError(t, err)
	return sb
}

// usedBy is the way that a command takes.
func usedBy(t *testing.T, sb *Sandbox) DataPlane {
	t.Helper()
	res, err := sb.Exec(t.Context(), []string{"echo", "hello"})
	require.NoError(t, err)
	require.Equal(t, "hello\n", string(res.Stdout))
	return res.Via
}

func TestDataPlane(t *testing.T) {
	onPlanes(t, "K-034", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t, WithIntegration("tests")))
		assert.Equal(t, DataPlaneDirect, usedBy(t, sb))
		require.NoError(t, sb.WriteFile(t.Context(), "/f", []byte("content")))
		data, err := sb.ReadFile(t.Context(), "/f")
		require.NoError(t, err)
		assert.Equal(t, "content", string(data))
		for _, method := range []string{"StreamExec", "WriteFile", "ReadFile"} {
			calls := p.Calls(method)
			require.Len(t, calls, 1)
			for _, key := range []string{"authorization", "x-cwsandbox-client-version", "x-sandbox-integration"} {
				assert.Empty(t, calls[0].Metadata.Get(key), "%s of %s", key, method)
			}
		}
		require.Len(t, p.Calls("ConnectSandbox"), 3)
		assert.Equal(t, []string{"Bearer test-key"}, p.Calls("ConnectSandbox")[0].Metadata.Get("authorization"))
	})
	onPlanes(t, "who chooses", func(t *testing.T, p *planes) {
		c := p.client(t, WithDataPlane(DataPlaneGateway))
		plain := run(t, c)
		assert.Equal(t, DataPlaneGateway, usedBy(t, plain))
		assert.Zero(t, p.Received("ConnectSandbox"))
		assert.Equal(t, DataPlaneDirect, usedBy(t, run(t, c, WithDataPlane(DataPlaneDirect))), "a create over the client")
		s, err := c.NewSession(WithDataPlane(DataPlaneAuto))
		require.NoError(t, err)
		defer s.Close()
		sb, err := s.Run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, DataPlaneDirect, usedBy(t, sb), "a session over the client")
		sb, err = s.Run(t.Context(), Defaults(WithDataPlane(DataPlaneGateway)))
		require.NoError(t, err)
		assert.Equal(t, DataPlaneGateway, usedBy(t, sb), "a create over the session")
		again, err := c.Attach(t.Context(), plain.ID(), WithDataPlane(DataPlaneDirect))
		require.NoError(t, err)
		assert.Equal(t, DataPlaneDirect, usedBy(t, again))
		again, err = c.Attach(t.Context(), plain.ID())
		require.NoError(t, err)
		assert.Equal(t, DataPlaneDirect, usedBy(t, again), "as it was")
	})
	onPlanes(t, "dial options are not passed by", func(t *testing.T, p *planes) {
		plain := clientOption(func(c *clientConfig) { c.directDial = nil })
		assert.Equal(t, DataPlaneGateway, usedBy(t, run(t, p.client(t, plain))))
		assert.Zero(t, p.Received("ConnectSandbox"))
	})
	onPlanes(t, "a process", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t))
		proc, err := sb.StartProcess(t.Context(), []string{"cat"}, WithStdin(bytes.NewReader(make([]byte, 1<<20))))
		require.NoError(t, err)
		res, err := proc.Wait()
		require.NoError(t, err)
		assert.Equal(t, DataPlaneDirect, res.Via)
		assert.Len(t, res.Stdout, 1<<20)
	})
	onPlanes(t, "a runner that goes gets no input", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t))
		assert.Equal(t, DataPlaneDirect, usedBy(t, sb))
		p.Add(fault.Rule{Method: "StreamExec", Times: 2,
			Action: fault.Fail(codes.Unavailable, "no", fault.Reason(rpcerr.ReasonRunnerShardRetiring))})
		res, err := sb.Exec(t.Context(), []string{"cat"}, WithStdin(strings.NewReader("text")), WithTimeout(time.Minute))
		assert.ErrorIs(t, err, ErrUnavailable, "once more, not twice")
		assert.Nil(t, res)
		p.Add(fault.Rule{Method: "StreamExec", Times: 1,
			Action: fault.Fail(codes.Unavailable, "no", fault.Reason(rpcerr.ReasonRunnerShardRetiring))})
		res, err = sb.Exec(t.Context(), []string{"cat"}, WithStdin(strings.NewReader("text")), WithTimeout(time.Minute))
		require.NoError(t, err)
		assert.Equal(t, "text", string(res.Stdout), "all of it goes to the next one")
	})
	onPlanes(t, "no direct connection", func(t *testing.T, p *planes) {
		c := p.client(t)
		auto, direct := run(t, c), run(t, c, WithDataPlane(DataPlaneDirect))
		p.Add(fault.Rule{Method: "ConnectSandbox", Action: fault.Fail(codes.FailedPrecondition, "no endpoint")})
		assert.Equal(t, DataPlaneGateway, usedBy(t, auto))
		_, err := direct.Exec(t.Context(), []string{"true"})
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.ErrorContains(t, err, "exec "+direct.ID()+": connect to the data plane of the sandbox: ")
		assert.ErrorContains(t, err, "no endpoint")
		assert.ErrorIs(t, direct.WriteFile(t.Context(), "/f", nil), ErrUnavailable)
		assert.Equal(t, 1, p.Received("StreamExec"))
		assert.Zero(t, p.Received("WriteFile"))
	})
	onPlanes(t, "a sandbox that has ended meanwhile", func(t *testing.T, p *planes) {
		c := p.client(t)
		for _, mode := range []DataPlane{DataPlaneAuto, DataPlaneDirect} {
			sb := run(t, c, WithDataPlane(mode))
			require.NoError(t, c.Delete(t.Context(), run(t, c).ID())) // another one
			p.server.Expire(sb.ID())
			time.Sleep(10 * time.Second)
			_, err := sb.Exec(t.Context(), []string{"true"})
			assert.ErrorIs(t, err, ErrNotRunning, mode)
			_, err = sb.ReadFile(t.Context(), "/f")
			assert.ErrorIs(t, err, ErrNotRunning, mode)
		}
	})
	t.Run("options", func(t *testing.T) {
		assert.Equal(t, "auto direct gateway DataPlane(7)", fmt.Sprint(DataPlaneAuto, DataPlaneDirect, DataPlaneGateway, DataPlane(7)))
		assert.Equal(t, "WithDataPlane(direct)", fmt.Sprint(WithDataPlane(DataPlaneDirect)))
		_, err := NewClient(WithAPIKey("k"), WithDataPlane(3))
		assert.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "data plane: must be auto, direct or gateway, is DataPlane(3)")
		_, err = newCreateConfig("create", environment{}, nil, []Option{WithDataPlane(-1)})
		assert.ErrorIs(t, err, ErrInvalidArgument)
		_, err = newAttachConfig("sb", []AttachOption{WithDataPlane(-1)})
		assert.ErrorIs(t, err, ErrInvalidArgument)
	})
}

func TestDirectConnectionsAreClosed(t *testing.T) {
	onPlanes(t, "by a stop", func(t *testing.T, p *planes) {
		c := p.client(t)
		sb, other := run(t, c), run(t, c)
		usedBy(t, sb)
		usedBy(t, other)
		proc, err := sb.StartProcess(t.Context(), []string{"sleep", "1000000"})
		require.NoError(t, err)
		require.NoError(t, sb.WriteFile(t.Context(), "/f", nil))
		assert.EqualValues(t, 3, p.open.Load())
		// The server itself would close the connections of a sandbox that has ended, so this one only looks so.
		p.server.Hold(sb.ID(), sandboxv1.State_STATE_TERMINATING)
		lie := p.Add(fault.Rule{Method: "GetSandbox", Action: fault.Mutate(func(m proto.Message) {
			m.(*sandboxv1.Sandbox).Status.State = sandboxv1.State_STATE_COMPLETED
		})})
		_, err = sb.Stop(WithGrace(0)).Wait()
		require.NoError(t, err)
		_, _ = proc.Wait()
		synctest.Wait()
		assert.EqualValues(t, 1, p.open.Load(), "that of the other one")
		lie.Release()
		p.server.Release(sb.ID())
		_, err = other.Stop(WithGrace(0)).Wait()
		require.NoError(t, err)
		synctest.Wait()
		assert.Zero(t, p.open.Load())
	})
	onPlanes(t, "when the end is seen", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t))
		usedBy(t, sb)
		p.server.ForgetFor(sb.ID(), time.Minute)
		_, err := sb.Refresh(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		synctest.Wait()
		assert.Zero(t, p.open.Load())
	})
	onPlanes(t, "with the client, and with what is open on them", func(t *testing.T, p *planes) {
		c := p.client(t)
		sb := run(t, c)
		proc, err := sb.StartProcess(t.Context(), []string{"sleep", "1000000"})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, c.Close()) // the sandbox is still tracked
		_, err = proc.Wait()
		assert.ErrorIs(t, err, ErrClosed)
		synctest.Wait()
		assert.Zero(t, p.open.Load())
		_, err = sb.Exec(t.Context(), []string{"true"})
		assert.ErrorIs(t, err, ErrClosed)
		_, err = sb.Stop(WithGrace(0)).Wait()
		assert.NoError(t, err)
	})
}

// A heartbeat must not depend on a certificate, nor on where the sandbox runs.
func TestHeartbeatsGoByTheGateway(t *testing.T) {
	onPlanes(t, "they carry the key", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t, WithDataPlane(DataPlaneDirect)), WithLease(time.Minute), WithCommand("sleep", "1000000"))
		require.NoError(t, p.WaitForCalls(t.Context(), "WriteFile", 1))
		assert.NotEmpty(t, p.Calls("WriteFile")[0].Metadata.Get("authorization"))
		assert.Zero(t, p.Received("ConnectSandbox"))
		_, err := sb.Stop(WithGrace(0)).Wait()
		require.NoError(t, err)
	})
}
