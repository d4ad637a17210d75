package localserver

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// acceptPause follows a failure to accept, such as too many open files.
const acceptPause = 50 * time.Millisecond

// relayAll relays every connection of a listener, until it is closed.
func (p *publication) relayAll(l net.Listener) {
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			p.running.Go(func() { p.relay(conn) })
		case p.life.Err() != nil:
			return
		default:
			p.record.server.opt.Logger.Warn("connection to a service not taken", "sandbox", p.record.id, "error", err)
			select {
			case <-p.life.Done():
			case <-time.After(acceptPause):
			}
		}
	}
}

// relay connects a client with the service and passes everything on. A service that is not there resets the connection.
func (p *publication) relay(client net.Conn) {
	defer client.Close()
	service, err := p.dial(p.life)
	if err != nil {
		if tcp, ok := client.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	}
	defer service.Close()
	release := context.AfterFunc(p.life, func() {
		_ = client.Close()
		_ = service.Close()
	})
	defer release()
	var directions sync.WaitGroup
	directions.Go(func() { pass(service, client) })
	directions.Go(func() { pass(client, service) })
	directions.Wait()
}

// pass copies one direction and passes its end on. After a failure neither connection is of use.
func pass(to, from net.Conn) {
	_, err := io.Copy(to, from)
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
	_ = from.Close()
}
