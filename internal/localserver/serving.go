package localserver

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
)

// closeGrace is how long Close waits for calls to send their last words.
const closeGrace = time.Second

// A grpcServer ends soon, whatever its clients do. A plain one waits two minutes for those that have connected and said
// nothing.
type grpcServer struct {
	*grpc.Server
	accepting context.Context
	cut       context.CancelFunc // closes every connection
}

func newGRPCServer(options []grpc.ServerOption) *grpcServer {
	s := &grpcServer{Server: grpc.NewServer(options...)}
	s.accepting, s.cut = context.WithCancel(context.Background())
	return s
}

// Serve answers calls from the listener until end, which closes the listener too.
func (s *grpcServer) Serve(l net.Listener) error {
	err := s.Server.Serve(cutListener{l, s.accepting})
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// end lets calls finish, for a moment, and then cuts every connection.
func (s *grpcServer) end() {
	late := time.AfterFunc(closeGrace, func() {
		s.cut()
		s.Stop()
	})
	s.GracefulStop()
	late.Stop()
	s.cut()
}

// cutListener accepts connections that are closed when a context ends.
type cutListener struct {
	net.Listener
	accepting context.Context
}

func (l cutListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cutConn{conn, context.AfterFunc(l.accepting, func() { _ = conn.Close() })}, nil
}

type cutConn struct {
	net.Conn
	release func() bool
}

func (c *cutConn) Close() error {
	c.release()
	return c.Conn.Close()
}
