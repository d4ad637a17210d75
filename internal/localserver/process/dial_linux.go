package process

import (
	"context"
	"fmt"
	"net"
	"os"
	"time"
)

// dialInside bounds a connection that a supervisor makes: a listener whose queue is full does not answer.
const dialInside = 10 * time.Second

// dial connects from this process to a sandbox in the host's network. One with a network of its own is entered by its
// supervisor only, which passes the connected socket out.
func (p *nsPlace) dial(ctx context.Context, port int) (net.Conn, error) {
	if !p.ownNetwork {
		return dialLoopback(ctx, port)
	}
	answer, err := p.link.call(ctx, &request{ID: p.link.newID(), Dial: port})
	if err != nil {
		return nil, err
	}
	fd, err := answer.descriptor()
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "connection")
	defer f.Close()
	return net.FileConn(f)
}

// answerDial connects in the sandbox's network, and answers with the socket.
func answerDial(c *conn, id uint64, port int) {
	fd, err := dialToPass(port)
	answer := failed(err)
	answer.ID = id
	var fds []int
	if err == nil {
		fds = []int{fd}
	}
	// When this cannot be sent the server is gone, and so will we be.
	_ = c.send(&answer, fds...)
	closeFDs(fds)
}

func dialToPass(port int) (fd int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialInside)
	defer cancel()
	conn, err := dialLoopback(ctx, port)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return 0, fmt.Errorf("connection is a %T", conn)
	}
	f, err := tcp.File()
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return duplicate(f)
}
