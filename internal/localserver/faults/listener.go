package faults

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/goaway"
)

// Listen wraps the listener of a server, so that rules can cut the connections that it accepts.
func Listen(lis net.Listener) net.Listener {
	return &listener{Listener: lis}
}

type listener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *listener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return newConn(nc, l.accepted.Add(1)), nil
}

// conn is the server's end of a connection. gRPC hands its remote address to the handlers as the peer, which leads a
// rule back to the connection, through TLS as well.
type conn struct {
	net.Conn
	addr   address
	writer *goaway.Writer
}

type address struct {
	net.Addr
	conn *conn
	text string
}

func newConn(nc net.Conn, number int64) *conn {
	c := &conn{Conn: nc, writer: goaway.New(nc)}
	c.addr = address{Addr: nc.RemoteAddr(), conn: c, text: nc.RemoteAddr().String()}
	if _, _, err := net.SplitHostPort(c.addr.text); err != nil {
		c.addr.text += "#" + strconv.FormatInt(number, 10) // connections in memory all have one address
	}
	return c
}

func (c *conn) RemoteAddr() net.Addr { return &c.addr }

func (c *conn) Write(p []byte) (int, error) { return c.writer.Write(p) }

func (c *conn) goAway() error {
	ok, err := c.writer.GoAway()
	if err == nil && !ok {
		return status.Error(codes.Internal, "the fault rule GoAway needs a connection without TLS")
	}
	return err
}

func (a *address) String() string { return a.text }

// connOf finds the connection of a call.
func connOf(ctx context.Context) (*conn, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if a, ok := p.Addr.(*address); ok {
			return a.conn, nil
		}
	}
	return nil, status.Error(codes.Internal, "the fault rule needs a server that listens through faults.Listen")
}
