package cwsandbox

import (
	"io"
	"net"
	"runtime"
	"time"
)

// conn is the handle of a connection.
type conn struct {
	t         *tunnel
	forgotten runtime.Cleanup
}

var _ interface {
	net.Conn
	CloseWrite() error
} = (*conn)(nil)

func newConn(t *tunnel) *conn {
	c := &conn{t: t}
	c.forgotten = runtime.AddCleanup(c, func(t *tunnel) { _ = t.close() }, t)
	return c
}

// Read reads what the server sends.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.t.read(b)
	runtime.KeepAlive(c)
	return n, c.error("read", err)
}

// Write returns when the bytes are on their way.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.t.write(b)
	runtime.KeepAlive(c)
	return n, c.error("write", err)
}

// CloseWrite tells the server that no more will come.
func (c *conn) CloseWrite() error {
	err := c.t.closeWrite()
	runtime.KeepAlive(c)
	return c.error("close", err)
}

// Close ends the connection.
func (c *conn) Close() error {
	c.forgotten.Stop()
	return c.error("close", c.t.close())
}

// LocalAddr names the sandbox.
func (c *conn) LocalAddr() net.Addr { return c.t.local }

// RemoteAddr is the address that was dialed.
func (c *conn) RemoteAddr() net.Addr { return c.t.remote }

// SetDeadline sets both deadlines.
func (c *conn) SetDeadline(at time.Time) error {
	return c.set(at, &c.t.readLimit, &c.t.writeLimit)
}

// SetReadDeadline is for Read.
func (c *conn) SetReadDeadline(at time.Time) error { return c.set(at, &c.t.readLimit) }

// SetWriteDeadline is for Write and CloseWrite.
func (c *conn) SetWriteDeadline(at time.Time) error { return c.set(at, &c.t.writeLimit) }

func (c *conn) set(at time.Time, limits ...*deadline) error {
	if isClosed(c.t.closed) {
		return c.error("set", net.ErrClosed)
	}
	for _, limit := range limits {
		limit.set(at)
	}
	return nil
}

// error puts an error into the form that those of connections have.
func (c *conn) error(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.t.local, Addr: c.t.remote, Err: err}
}

// sandboxAddr is the address of one end of a connection: the id of a sandbox, or what was dialed there.
type sandboxAddr string

// Network is what the server's side is.
func (a sandboxAddr) Network() string { return "tcp" }

func (a sandboxAddr) String() string { return string(a) }
