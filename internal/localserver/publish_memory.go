package localserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"

	"google.golang.org/grpc/test/bufconn"
)

const memoryConnection = 64 << 10

// MemoryPorts stand for the ports of a machine where there shall be no network. The zero value is ready for use.
type MemoryPorts struct {
	mu   sync.Mutex
	last int
	open map[int]*memoryPort
}

// A memoryPort leaves when it is closed.
type memoryPort struct {
	*bufconn.Listener
	ports *MemoryPorts
	port  int
}

// A memoryConn reports a deadline as the network does: TLS takes any other error for the connection's end.
type memoryConn struct{ net.Conn }

func (c memoryConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	return n, asDeadline(err)
}

func (c memoryConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	return n, asDeadline(err)
}

func asDeadline(err error) error {
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Publish is for the option PublishOn.
func (m *MemoryPorts) Publish() ([]net.Listener, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	if m.open == nil {
		m.open = make(map[int]*memoryPort)
	}
	l := &memoryPort{bufconn.Listen(memoryConnection), m, m.last}
	m.open[l.port] = l
	return []net.Listener{l}, l.port, nil
}

// Dial connects to a port, whatever the host.
func (m *MemoryPorts) Dial(ctx context.Context, address string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, _ := strconv.Atoi(text) // zero is never open
	m.mu.Lock()
	l := m.open[port]
	m.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("connect to %s: %w", address, syscall.ECONNREFUSED)
	}
	conn, err := l.DialContext(ctx)
	if err != nil {
		return nil, err
	}
	return memoryConn{conn}, nil
}

func (l *memoryPort) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return memoryConn{conn}, nil
}

func (l *memoryPort) Close() error {
	l.ports.mu.Lock()
	delete(l.ports.open, l.port)
	l.ports.mu.Unlock()
	return l.Listener.Close()
}
