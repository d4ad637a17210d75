package cwsandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// halfOpenLimit is how long a server may be silent after its client has ended its direction, if it cannot be told.
	halfOpenLimit = 10 * time.Second

	// acceptPause follows a failure to accept, such as a lack of descriptors.
	acceptPause = 100 * time.Millisecond
)

func newForwarder(ctx context.Context, sb *Sandbox, c call, to target, listener net.Listener) *Forwarder {
	f := &Forwarder{listener: listener, sandbox: sb, target: to, call: c}
	ctx, release := sb.s.stream(ctx)
	f.life, f.end = ctx, release
	f.running.Go(f.accept)
	f.running.Go(func() {
		<-ctx.Done()
		_ = listener.Close() // nobody wants to know
		release()
	})
	return f
}

// hopeless says why nothing can ever be connected to; nil: it can, or will be.
func (s *shared) hopeless(op string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.readyNow(op)
	return err
}

// accept serves whoever comes until the listener is closed.
func (f *Forwarder) accept() {
	for {
		local, err := f.listener.Accept()
		switch {
		case err == nil:
			f.running.Go(func() { f.serve(local) })
		case f.life.Err() != nil:
			return
		default:
			f.warn("a connection could not be accepted", err)
			select {
			case <-time.After(acceptPause):
			case <-f.life.Done():
			}
		}
	}
}

func (f *Forwarder) warn(text string, err error) {
	f.sandbox.s.client.config.logger.Warn(text, "sandbox", f.call.sandbox, "address", f.target.addr, "error", err)
}

// serve connects one client with the server.
func (f *Forwarder) serve(local net.Conn) {
	defer local.Close()
	remote, err := f.sandbox.s.dial(f.life, f.call, f.target)
	if err != nil {
		if f.life.Err() == nil {
			f.warn("a connection could not be forwarded", err)
		}
		reset(local)
		return
	}
	defer remote.Close()
	link := &link{local: local, remote: remote}
	unlink := context.AfterFunc(f.life, link.cut)
	defer unlink()
	link.run()
}

// reset has the client see a failure rather than the end of what there is to read.
func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // at worst it is an ordinary end
	}
}

// link copies between two connections until both directions have ended, or one has failed.
type link struct {
	local  net.Conn
	remote *conn
	alone  atomic.Bool // the client has ended its direction, and the server could not be told
}

func (l *link) run() {
	var up sync.WaitGroup
	up.Go(l.up)
	l.down()
	up.Wait()
}

// cut ends both connections at once.
func (l *link) cut() {
	_ = l.local.Close()
	_ = l.remote.Close()
}

// up copies from the client to the server.
func (l *link) up() {
	if _, err := io.Copy(l.remote, l.local); err != nil {
		l.cut()
		return
	}
	if err := l.remote.CloseWrite(); errors.Is(err, errors.ErrUnsupported) {
		l.alone.Store(true)
		_ = l.remote.SetReadDeadline(time.Now().Add(halfOpenLimit))
	}
}

// down copies from the server to the client.
func (l *link) down() {
	buffer := make([]byte, stdinFrame)
	for {
		if l.alone.Load() {
			_ = l.remote.SetReadDeadline(time.Now().Add(halfOpenLimit))
		}
		n, err := l.remote.Read(buffer)
		if n > 0 {
			if _, err := l.local.Write(buffer[:n]); err != nil {
				l.cut()
				return
			}
		}
		switch {
		case err == io.EOF && l.remote.t.framed:
			if tcp, ok := l.local.(*net.TCPConn); ok {
				_ = tcp.CloseWrite()
			}
			return
		case err != nil:
			if err != io.EOF && !l.alone.Load() {
				reset(l.local)
			}
			l.cut()
			return
		}
	}
}
