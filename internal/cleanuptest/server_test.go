//go:build linux

package cleanuptest

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// streams is how many the server allows on one connection, as servers commonly do.
const streams = 100

// server is a server that can be restarted: its address stays, its connections do not.
type server struct {
	tb      testing.TB
	options localserver.Options
	address string

	mu       sync.Mutex
	core     *localserver.Server
	listener net.Listener
	conns    []net.Conn
	serving  sync.WaitGroup
}

// serve starts a server with scripted sandboxes. Its deletes go through onDelete, unless that is nil. The
// caller closes it.
func serve(tb testing.TB, onDelete func(ctx context.Context, next func(context.Context) (any, error)) (any, error)) *server {
	tb.Helper()
	s := &server{tb: tb, address: "127.0.0.1:0", options: localserver.Options{MaxConcurrentStreams: streams}}
	if onDelete != nil {
		s.options.UnaryInterceptors = []grpc.UnaryServerInterceptor{
			func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				if info.FullMethod != sandboxv1.SandboxService_DeleteSandbox_FullMethodName {
					return next(ctx, req)
				}
				return onDelete(ctx, func(ctx context.Context) (any, error) { return next(ctx, req) })
			},
		}
	}
	s.remember()
	s.up()
	return s
}

func (s *server) close() {
	s.core.Close()
	s.serving.Wait()
}

// remember gives the server a memory without sandboxes.
func (s *server) remember() {
	s.tb.Helper()
	s.options.Runtime = scripted.New()
	core, err := localserver.New(s.options)
	require.NoError(s.tb, err)
	s.core = core
}

func (s *server) up() {
	s.tb.Helper()
	listener, err := net.Listen("tcp", s.address)
	require.NoError(s.tb, err)
	s.address, s.listener = listener.Addr().String(), listener
	core := s.core
	s.serving.Go(func() { core.Serve(acceptor{listener, s}) }) // its error is that the listener was closed
}

// restart cuts every connection, is away for a time, and serves again, with the sandboxes or without.
func (s *server) restart(away time.Duration, forgets bool) {
	s.tb.Helper()
	s.listener.Close()
	s.mu.Lock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
	s.mu.Unlock()
	time.Sleep(away)
	if forgets {
		s.core.Close()
		s.remember()
	}
	s.up()
}

// env leads a program to the server.
func (s *server) env() []string {
	return []string{"CWSANDBOX_BASE_URL=http://" + s.address, "CWSANDBOX_API_KEY=key"}
}

// active returns the sandboxes that have not ended.
func (s *server) active() []string { return s.core.Active() }

// acceptor is the listener of a server that remembers its connections.
type acceptor struct {
	net.Listener
	server *server
}

func (a acceptor) Accept() (net.Conn, error) {
	c, err := a.Listener.Accept()
	if err != nil {
		return nil, err
	}
	a.server.mu.Lock()
	defer a.server.mu.Unlock()
	a.server.conns = append(a.server.conns, c)
	return c, nil
}
