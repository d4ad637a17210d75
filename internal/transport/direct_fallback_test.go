package transport

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestDirectRenewal(t *testing.T) {
	directly(t, "before the certificate ends", Auto, func(d *direct) {
		d.expectVia(true)
		time.Sleep(15*time.Minute - renewal - 2*time.Second)
		d.expectVia(true)
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
		time.Sleep(2 * time.Second)
		d.expectVia(true)
		assert.Equal(d, 2, d.Received("ConnectSandbox"))
		assert.Equal(d, 1, d.links(), "the old one is closed")
	})
	directly(t, "a stream gets half of a certificate's life", Auto, func(d *direct) {
		begin := time.Now()
		stream, err := d.begin("sleep", "880")
		require.NoError(d, err)
		time.Sleep(7*time.Minute + 29*time.Second)
		_, err = d.exec("echo", "x")
		require.NoError(d, err)
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
		time.Sleep(2 * time.Second)
		_, err = d.exec("echo", "x")
		require.NoError(d, err)
		assert.True(d, d.via)
		assert.Equal(d, 2, d.Received("ConnectSandbox"))
		assert.Equal(d, 2, d.links(), "the old one serves its stream")
		_, err = output(stream)
		require.NoError(d, err, "an open stream goes on")
		assert.Equal(d, 880*time.Second, time.Since(begin))
		assert.Equal(d, 1, d.links(), "and is closed after that")
	})
	directly(t, "an idle connection ends with its certificate", Auto, func(d *direct) {
		d.expectVia(true)
		time.Sleep(15 * time.Minute)
		assert.Zero(d, d.links())
		d.expectVia(true)
	})
	directly(t, "a stream ends with the certificate", Auto, func(d *direct) {
		stream, err := d.begin("sleep", "3600")
		require.NoError(d, err)
		_, err = output(stream)
		assert.Equal(d, codes.Unavailable, status.Code(err))
		out, err := d.exec("echo", "again")
		require.NoError(d, err)
		assert.Equal(d, "again\n", out)
		assert.True(d, d.via)
	})
}

func TestDirectFallback(t *testing.T) {
	for _, code := range []codes.Code{
		codes.DeadlineExceeded, codes.FailedPrecondition, codes.ResourceExhausted, codes.Unavailable, codes.Unimplemented,
	} {
		directly(t, code.String()+" is a reason for the gateway", Auto, func(d *direct) {
			d.Add(faults.Rule{Method: "ConnectSandbox", Times: 1, Action: faults.Fail(code, "no")})
			d.expectVia(false)
			time.Sleep(cooldown - time.Millisecond)
			d.expectVia(false)
			_, err := d.exec("echo", "x")
			require.NoError(d, err)
			assert.False(d, d.via, "nothing direct is tried, whatever the permission")
			assert.Equal(d, 1, d.Received("ConnectSandbox"))
			time.Sleep(time.Millisecond)
			d.expectVia(true)
			assert.Equal(d, 2, d.Received("ConnectSandbox"))
		})
	}
	for _, code := range []codes.Code{
		codes.PermissionDenied, codes.Unauthenticated, codes.NotFound, codes.InvalidArgument, codes.Internal,
	} {
		directly(t, code.String()+" is an error", Auto, func(d *direct) {
			d.Add(faults.Rule{Method: "ConnectSandbox", Times: 1, Action: faults.Fail(code, "no")})
			assert.Equal(d, code, status.Code(d.write()))
			assert.Zero(d, d.Received("WriteFile"))
			d.expectVia(true)
		})
	}
	directly(t, "a route that is not there is no error", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Fail(codes.Internal, "no", faults.Reason(rpcerr.ReasonSandboxRouteUnavailable))})
		d.expectVia(false)
	})
	directly(t, "a service without credentials is asked for no other sandbox", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Fail(codes.Unimplemented, "no")})
		d.expectVia(false)
		d.sandbox = d.create()
		d.open(Auto)
		d.expectVia(false)
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
	})
	directly(t, "a second is enough", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Hang()})
		begin := time.Now()
		d.expectVia(false)
		assert.Equal(d, autoBudget, time.Since(begin))
		d.expectVia(false)
		assert.Equal(d, autoBudget, time.Since(begin), "and for a while nothing is lost")
	})
	directly(t, "a call in a hurry keeps half of its time", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Times: 1, Action: faults.Delay(600 * time.Millisecond)})
		begin := time.Now()
		ctx, cancel := context.WithTimeout(d.Context(), time.Second)
		defer cancel()
		_, err := d.data.WriteFile(ctx, &sandboxv1.WriteFileRequest{SandboxId: d.sandbox, Path: "/f"}, Via(&d.via))
		require.NoError(d, err)
		assert.False(d, d.via)
		assert.Equal(d, 500*time.Millisecond, time.Since(begin))
		time.Sleep(200 * time.Millisecond)
		d.expectVia(true) // what was begun for it has gone on
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
	})
	directly(t, "the caller's end", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Hang()})
		ctx, cancel := context.WithCancel(d.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		_, err := d.data.WriteFile(ctx, &sandboxv1.WriteFileRequest{SandboxId: d.sandbox, Path: "/f"})
		assert.ErrorIs(d, err, context.Canceled)
		assert.Zero(d, d.Received("WriteFile"))
	})
	directly(t, "an endpoint that does not answer", Auto, func(d *direct) {
		d.transport.direct.dialer = func(ctx context.Context, _ string) (net.Conn, error) { return nil, io.ErrClosedPipe }
		begin := time.Now()
		d.expectVia(false)
		assert.Less(d, time.Since(begin), autoBudget)
	})
	directly(t, "no permission", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", When: asksFor(mayWriteFile), Action: connection(func(c *sandboxv1.SandboxConnection) {
			c.GrantedPermissions = nil
		})})
		for range 3 {
			d.expectVia(false)
		}
		assert.Equal(d, 1, d.Received("ConnectSandbox"), "the answer holds for a while")
		require.NoError(d, d.read())
		assert.True(d, d.via, "and says nothing about other permissions")
	})
}

func asksFor(p sandboxv1.SandboxDataPermission) func(faults.Call) bool {
	return func(c faults.Call) bool {
		return c.Request.(*sandboxv1.ConnectSandboxRequest).GetRequestedPermissions()[0] == p
	}
}

// connection changes what was issued.
func connection(change func(*sandboxv1.SandboxConnection)) faults.Action {
	return faults.Mutate(func(m proto.Message) { change(m.(*sandboxv1.SandboxConnection)) })
}

func TestUnusableConnections(t *testing.T) {
	for name, change := range map[string]func(*sandboxv1.SandboxConnection){
		"transport":       func(c *sandboxv1.SandboxConnection) { c.Transport = 0 },
		"protocol":        func(c *sandboxv1.SandboxConnection) { c.Protocol = 7 },
		"no endpoint":     func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "" },
		"plain endpoint":  func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "http://localhost" },
		"path":            func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "https://localhost/x" },
		"user":            func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "https://me:secret@localhost" },
		"no host":         func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "https://:443" },
		"another host":    func(c *sandboxv1.SandboxConnection) { c.EndpointUri = "https://example.com" },
		"no expiry":       func(c *sandboxv1.SandboxConnection) { c.ExpiresAt = nil },
		"ends too soon":   func(c *sandboxv1.SandboxConnection) { c.ExpiresAt = timestamppb.New(time.Now().Add(renewal)) },
		"no certificate":  func(c *sandboxv1.SandboxConnection) { c.ClientCertificateChainPem = nil },
		"not our key":     func(c *sandboxv1.SandboxConnection) { c.ClientCertificateChainPem = c.GetServerCaBundlePem() },
		"broken bundle":   func(c *sandboxv1.SandboxConnection) { c.ServerCaBundlePem = []byte("x") },
		"the system's CA": func(c *sandboxv1.SandboxConnection) { c.ServerCaBundlePem = nil },
	} {
		directly(t, name, Auto, func(d *direct) {
			rule := d.Add(faults.Rule{Method: "ConnectSandbox", Action: connection(change)})
			d.expectVia(false)
			d.expectVia(false)
			assert.Equal(d, 1, d.Received("ConnectSandbox"), "a cooldown")
			d.open(Direct)
			err := d.write()
			assert.Equal(d, codes.Unavailable, status.Code(err))
			assert.ErrorContains(d, err, "connect to the data plane")
			assert.NotContains(d, err.Error(), "secret")
			rule.Release()
			d.expectVia(true)
		})
	}
}

func TestOnlyDirect(t *testing.T) {
	directly(t, "asks again while the service is away", Direct, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Times: 3, Action: faults.Fail(codes.Unavailable, "no")})
		d.expectVia(true)
		assert.Equal(d, 4, d.Received("ConnectSandbox"))
	})
	directly(t, "gives up after ten seconds", Direct, func(d *direct) {
		rule := d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Fail(codes.Unavailable, "not now")})
		begin := time.Now()
		err := d.write()
		assert.Equal(d, codes.Unavailable, status.Code(err))
		assert.ErrorContains(d, err, "not now")
		assert.InDelta(d, directBudget, time.Since(begin), float64(1500*time.Millisecond))
		assert.Greater(d, d.Received("ConnectSandbox"), 6)
		rule.Release()
		d.expectVia(true) // and knows no cooldown
	})
	directly(t, "five seconds for one answer", Direct, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Hang()})
		begin := time.Now()
		assert.Equal(d, codes.Unavailable, status.Code(d.write()))
		assert.Equal(d, directAttempt, time.Since(begin))
		assert.Zero(d, d.Received("WriteFile"))
	})
	directly(t, "no permission", Direct, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: connection(func(c *sandboxv1.SandboxConnection) { c.GrantedPermissions = nil })})
		for range 2 {
			err := d.write()
			assert.Equal(d, codes.Unavailable, status.Code(err))
			assert.ErrorIs(d, err, errDenied)
		}
	})
	directly(t, "a reason of the service's is told", Direct, func(d *direct) {
		d.server.SetState(d.sandbox, sandboxv1.State_STATE_TERMINATED)
		var rpc *rpcerr.Error
		require.ErrorAs(d, d.write(), &rpc)
		assert.Equal(d, rpcerr.ReasonSandboxNotRunning, rpc.Reason)
	})
	directly(t, "an endpoint that does not answer", Direct, func(d *direct) {
		d.transport.direct.dialer = func(context.Context, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
		begin := time.Now()
		assert.Equal(d, codes.Unavailable, status.Code(d.write()))
		assert.Equal(d, directBudget, time.Since(begin))
	})
}

// What has begun is neither repeated nor continued elsewhere.
func TestBegunDirectly(t *testing.T) {
	retiring := faults.Reason(rpcerr.ReasonRunnerShardRetiring)
	directly(t, "a failed write", Auto, func(d *direct) {
		d.expectVia(true)
		for name, action := range map[string]faults.Action{
			"refused": faults.Fail(codes.Unavailable, "no"),
			"late":    faults.FailAfter(codes.Unavailable, "no"),
			"lost":    faults.DropResponse(),
		} {
			before := d.Received("WriteFile")
			d.Add(faults.Rule{Method: "WriteFile", Times: 1, Action: action})
			assert.Equal(d, codes.Unavailable, status.Code(d.write()), name)
			assert.True(d, d.via, name)
			assert.Equal(d, before+1, d.Received("WriteFile"), name)
			d.expectVia(true) // over another connection
			assert.Equal(d, 1, d.links(), name)
		}
		assert.Equal(d, 1, d.Received("ConnectSandbox"), "the credential is still good")
	})
	directly(t, "a failed command", Auto, func(d *direct) {
		for name, action := range map[string]faults.Action{
			"refused":         faults.Fail(codes.Unavailable, "no"),
			"after ready":     faults.CutStream(faults.Frames(1), faults.EndStatus(codes.Unavailable, "no")),
			"retiring, begun": faults.CutStream(faults.Frames(1), faults.EndStatus(codes.Unavailable, "no", retiring)),
			"cut":             faults.CutStream(faults.Frames(1), faults.EndConnection()),
		} {
			before := d.Received("StreamExec")
			d.Add(faults.Rule{Method: "StreamExec", Times: 1, Action: action})
			_, err := d.exec("echo", "x")
			assert.Equal(d, codes.Unavailable, status.Code(err), name)
			assert.True(d, d.via, name)
			assert.Equal(d, before+1, d.Received("StreamExec"), name)
		}
	})
	directly(t, "turned away by a runner that goes", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "WriteFile", Times: 1, Action: faults.Fail(codes.Unavailable, "no", retiring)})
		d.expectVia(true)
		d.Add(faults.Rule{Method: "StreamExec", Times: 1, Action: faults.Fail(codes.Unavailable, "no", retiring)})
		out, err := d.exec("echo", "x")
		require.NoError(d, err)
		assert.Equal(d, "x\n", out)
		assert.Equal(d, []int{2, 1}, []int{d.Received("StreamExec"), d.Executed("StreamExec")})

		d.Add(faults.Rule{Method: "*", Action: faults.Fail(codes.Unavailable, "no", retiring)})
		assert.Equal(d, codes.Unavailable, status.Code(d.write()))
		_, err = d.exec("echo", "x")
		assert.Equal(d, codes.Unavailable, status.Code(err))
		assert.Equal(d, []int{4, 4}, []int{d.Received("StreamExec"), d.Received("WriteFile")}, "once more, not twice")
	})
	directly(t, "turned away, and then there is only the gateway", Auto, func(d *direct) {
		d.expectVia(true)
		_, err := d.exec("echo", "x")
		require.NoError(d, err)
		d.transport.direct.dialer = func(context.Context, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
		d.Add(faults.Rule{Method: "StreamExec", Times: 1, Action: faults.Fail(codes.Unavailable, "no", retiring)})
		out, err := d.exec("echo", "x")
		require.NoError(d, err)
		assert.Equal(d, "x\n", out)
		assert.False(d, d.via)
	})
	directly(t, "a session that somebody sits at", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "StreamExec", Action: faults.Fail(codes.Unavailable, "no", retiring)})
		stream, err := d.data.StreamExec(d.Context())
		require.NoError(d, err)
		init := &sandboxv1.ExecStreamInit{SandboxId: d.sandbox, Command: []string{"cat"}, Tty: true}
		err = stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}})
		if err != io.EOF { // the refusal may come first
			require.NoError(d, err)
		}
		_, err = stream.Recv()
		assert.Equal(d, codes.Unavailable, status.Code(err))
		assert.Equal(d, 1, d.Received("StreamExec"))
	})
	directly(t, "a read may be repeated", Auto, func(d *direct) {
		d.expectVia(true)
		d.Add(faults.Rule{Method: "ReadFile", Times: 2, Action: faults.Fail(codes.Unavailable, "no")})
		require.NoError(d, d.read())
		assert.True(d, d.via)
		assert.Equal(d, 3, d.Received("ReadFile"))
	})
	directly(t, "a connection that broke while nobody looked", Auto, func(d *direct) {
		var broken net.Conn
		dial := d.transport.direct.dialer
		d.transport.direct.dialer = func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			broken = conn
			return conn, err
		}
		d.expectVia(true)
		require.NoError(d, broken.Close())
		synctest.Wait()
		d.expectVia(true)
		assert.Equal(d, 1, d.links())
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
	})
}

func TestDirectConnectionsAreClosed(t *testing.T) {
	directly(t, "with the sandbox", Auto, func(d *direct) {
		d.expectVia(true)
		stream, err := d.begin("sleep", "1000")
		require.NoError(d, err)
		assert.Equal(d, 2, d.links())
		d.path.Drop()
		assert.Equal(d, 1, d.links(), "one has a stream")
		d.server.SetState(d.sandbox, sandboxv1.State_STATE_TERMINATED)
		_, _ = output(stream)
		assert.Zero(d, d.links())
	})
	directly(t, "an attempt that lands after the end", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "ConnectSandbox", Times: 1, Action: faults.Delay(500 * time.Millisecond)})
		time.AfterFunc(250*time.Millisecond, d.path.Drop)
		d.expectVia(true)
		assert.Zero(d, d.links())
		d.expectVia(true)
		assert.Equal(d, 2, d.Received("ConnectSandbox"))
	})
	directly(t, "with the client", Direct, func(d *direct) {
		d.expectVia(true)
		stream, err := d.begin("sleep", "1000")
		require.NoError(d, err)
		d.Add(faults.Rule{Method: "ConnectSandbox", Action: faults.Hang()})
		results := make(chan error, 2)
		go func() { _, err := output(stream); results <- err }()
		go func() { results <- d.read() }() // which waits for its credential
		synctest.Wait()
		d.transport.Drain()
		for range cap(results) {
			err := <-results
			assert.True(d, errors.Is(err, rpcerr.ErrClosed), "%v", err)
		}
		assert.Zero(d, d.links())
		assert.ErrorIs(d, d.write(), rpcerr.ErrClosed)
		_, err = d.exec("echo")
		assert.ErrorIs(d, err, rpcerr.ErrClosed)
	})
	directly(t, "the longest idle beyond 64", Auto, func(d *direct) {
		first := d.path
		d.expectVia(true)
		for range maxIdleLinks {
			d.sandbox = d.create()
			d.open(Auto)
			d.expectVia(true)
		}
		assert.Equal(d, maxIdleLinks, d.links())
		d.transport.direct.mu.Lock()
		assert.True(d, first.grants[mayWriteFile].link.closed)
		d.transport.direct.mu.Unlock()
	})
}
