package localserver

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/goaway"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var (
	errConnectionOver = status.Error(codes.Unavailable, "the direct connection has ended")
	errNotGranted     = status.Error(codes.PermissionDenied, "the certificate does not allow this")
)

// methodPermissions are what the methods of the data plane need.
var methodPermissions = map[string]sandboxv1.SandboxDataPermission{
	"Exec":       sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_EXEC,
	"StreamExec": sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC,
	"StreamLogs": sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_LOGS,
	"WriteFile":  sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_WRITE_FILE,
	"ReadFile":   sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_READ_FILE,
}

// A directConn is a direct connection with the grant of its certificate, which it does not outlive.
type directConn struct {
	net.Conn
	out   *goaway.Writer
	plane *dataPlane
	grant grant

	life   context.Context // of the calls on it
	cancel context.CancelCauseFunc

	closing sync.Once
	mu      sync.Mutex
	timers  []*time.Timer
	closed  bool
}

// directCreds knows the clients by their certificates.
type directCreds struct {
	credentials.TransportCredentials
	plane *dataPlane
}

// directInfo leads from a call to its connection.
type directInfo struct {
	credentials.TLSInfo
	conn *directConn
}

func (d directCreds) Clone() credentials.TransportCredentials {
	return directCreds{d.TransportCredentials.Clone(), d.plane}
}

func (d directCreds) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := d.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	secure := info.(credentials.TLSInfo)
	leaf := secure.State.VerifiedChains[0][0]
	g, err := grantOf(leaf)
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	c := &directConn{Conn: conn, out: goaway.New(conn), plane: d.plane, grant: g}
	c.life, c.cancel = context.WithCancelCause(context.Background())
	d.plane.add(c)
	c.after(time.Until(leaf.NotAfter), func() { c.endIn(0, errConnectionOver) })
	return c, directInfo{secure, c}, nil
}

func (c *directConn) Write(p []byte) (int, error) { return c.out.Write(p) }

func (c *directConn) Close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		c.closed = true
		for _, t := range c.timers {
			t.Stop()
		}
		c.mu.Unlock()
		c.cancel(errConnectionOver)
		c.plane.remove(c)
	})
	return c.Conn.Close()
}

// after runs f on a goroutine of its own once d has passed, unless the connection is closed before.
func (c *directConn) after(d time.Duration, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.timers = append(c.timers, time.AfterFunc(d, f))
	}
}

// endIn tells the client to begin nothing more, ends the calls that are still going on after d, and closes the
// connection a moment later, if the client has not done so.
func (c *directConn) endIn(d time.Duration, cause error) {
	c.after(d+closeGrace, func() { _ = c.Close() }) // first: GOAWAY waits for a client that does not read
	c.after(d, func() { c.cancel(cause) })
	c.after(0, func() { _, _ = c.out.GoAway() })
}

// enter is what every direct call passes before its handler.
func (p *dataPlane) enter(ctx context.Context, fullMethod string) (context.Context, *directConn, error) {
	if err := p.server.awaitResume(ctx); err != nil {
		return nil, nil, err
	}
	info, _ := peer.FromContext(ctx)
	c := info.AuthInfo.(directInfo).conn
	method := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	switch {
	case c.life.Err() != nil:
		return nil, nil, endOf(c.life)
	case !c.grant.allows(methodPermissions[method]):
		return nil, nil, errNotGranted
	case p.server.opt.disabled[method]:
		return nil, nil, notServedMethod(method)
	}
	return context.WithValue(ctx, identityKey{}, c.grant.caller), c, nil
}

// bind returns a context that also ends with the connection.
func (c *directConn) bind(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	release := context.AfterFunc(c.life, func() { cancel(context.Cause(c.life)) })
	return ctx, func() {
		release()
		cancel(nil)
	}
}

// about checks which sandbox a request is about.
func (c *directConn) about(req any) error {
	var id string
	switch m := req.(type) {
	case *sandboxv1.ExecStreamRequest:
		if m.GetInit() == nil { // the handler refuses it
			return nil
		}
		id = m.GetInit().GetSandboxId()
	case interface{ GetSandboxId() string }:
		id = m.GetSandboxId()
	}
	if id != c.grant.sandbox {
		return errNotGranted
	}
	return nil
}

func (p *dataPlane) unaryEntry(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, c, err := p.enter(ctx, info.FullMethod)
	if err == nil {
		err = c.about(req)
	}
	if err != nil {
		return nil, err
	}
	ctx, release := c.bind(ctx)
	defer release()
	return next(ctx, req)
}

func (p *dataPlane) streamEntry(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, c, err := p.enter(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	ctx, release := c.bind(ctx)
	defer release()
	return next(srv, &directStream{knownStream{stream, ctx}, c})
}

// directStream is a stream that only carries requests about the sandbox of its certificate.
type directStream struct {
	knownStream
	conn *directConn
}

func (s *directStream) RecvMsg(m any) error {
	if err := s.knownStream.RecvMsg(m); err != nil {
		return err
	}
	return s.conn.about(m)
}
