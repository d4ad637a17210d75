package scripted

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"

	"google.golang.org/grpc/test/bufconn"
)

const connectionBuffer = 64 << 10

// A network is what the containers of one sandbox share: ports in memory.
type network struct {
	mu     sync.Mutex
	closed bool
	ports  map[int]*listener
}

// A listener is a port in use. It leaves the network when it is closed.
type listener struct {
	*bufconn.Listener
	network *network
	port    int
}

// Listen makes the process a server on a TCP port of its sandbox, until the listener is closed or the process ends. The
// connections are in memory.
func (p *Proc) Listen(port int) (net.Listener, error) {
	l, err := p.network.listen(port)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(p.process.ctx, func() { _ = l.Close() })
	return l, nil
}

func (n *network) listen(port int) (*listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, net.ErrClosed
	case n.ports[port] != nil:
		return nil, fmt.Errorf("listen on port %d: %w", port, syscall.EADDRINUSE)
	}
	l := &listener{bufconn.Listen(connectionBuffer), n, port}
	if n.ports == nil {
		n.ports = make(map[int]*listener)
	}
	n.ports[port] = l
	return l, nil
}

// Addr is the port on the sandbox's loopback interface.
func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: l.port} }

func (l *listener) Close() error {
	l.network.mu.Lock()
	if l.network.ports[l.port] == l {
		delete(l.network.ports, l.port)
	}
	l.network.mu.Unlock()
	return l.Listener.Close()
}

func (n *network) dial(ctx context.Context, port int) (net.Conn, error) {
	n.mu.Lock()
	l := n.ports[port]
	n.mu.Unlock()
	if l == nil {
		return nil, fmt.Errorf("connect to port %d: %w", port, syscall.ECONNREFUSED)
	}
	return l.DialContext(ctx)
}

func (n *network) close() {
	n.mu.Lock()
	n.closed = true
	ports := n.ports
	n.ports = nil
	n.mu.Unlock()
	for _, l := range ports {
		_ = l.Close()
	}
}

// Dial connects to a process of the sandbox that listens.
func (s *sandbox) Dial(ctx context.Context, port int) (net.Conn, error) {
	return s.network.dial(ctx, port)
}
