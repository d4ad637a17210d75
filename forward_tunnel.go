package cwsandbox

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// lingerLimit bounds how long a connection that was closed may take for what was written before.
const lingerLimit = 5 * time.Second

// tunnel is what runs for a connection: the stream of a relay, a goroutine that receives and one that sends. The handle
// is not reached from here, so that one that is forgotten can be collected.
type tunnel struct {
	s       *shared // kept alive, so that a stop finds the stream
	call    call
	local   net.Addr
	remote  net.Addr
	life    context.Context // of the stream
	end     context.CancelFunc
	process *Process
	handshake

	// Receiving. The receiver offers what came until readers have taken all of it.
	offered  chan []byte
	taken    chan int
	drained  chan struct{} // closed when nothing more comes; readErr stands
	draining sync.Once
	readErr  error
	over     chan struct{} // closed when the stream is released

	// Sending. There is one buffer, which is free or on its way.
	writing  sync.Mutex    // one Write at a time
	ended    bool          // by CloseWrite; under writing
	room     chan []byte   // the buffer, while it is free
	outgoing chan []byte   // the buffer, while it is not
	sent     chan struct{} // closed when nothing more can be sent

	readLimit, writeLimit deadline

	closing sync.Once
	closed  chan struct{}
}

func (s *shared) newTunnel(ctx context.Context, c call, to target) *tunnel {
	t := &tunnel{
		s: s, call: c, local: sandboxAddr(s.id), remote: sandboxAddr(to.addr),
		handshake: handshake{connected: make(chan struct{})},
		offered:   make(chan []byte), taken: make(chan int), drained: make(chan struct{}), over: make(chan struct{}),
		room: make(chan []byte, 1), outgoing: make(chan []byte, 1), sent: make(chan struct{}),
		readLimit: newDeadline(), writeLimit: newDeadline(), closed: make(chan struct{}),
	}
	t.life, t.end = context.WithCancel(context.WithoutCancel(ctx))
	t.room <- nil
	return t
}

// receiveAll receives to the end of the stream.
func (t *tunnel) receiveAll(receive func()) {
	receive()
	t.drain(t.outcome())
	close(t.over)
	t.end()
}

// outcome is what a reader gets at the end of the relay.
func (t *tunnel) outcome() error {
	res, err := t.process.outcome()
	switch {
	case err != nil:
		return err
	case res.ExitCode == 0 && t.framed:
		return t.call.refuse("the relay has ended in the middle of the connection", ErrStream)
	case res.ExitCode == 0:
		return io.EOF
	}
	text, errno := t.diagnosis()
	if errno != 0 {
		return errno
	}
	return t.call.refuse("the relay has failed: "+text, ErrStream, res.Err())
}

// drain says that nothing more will be read, and why. The first reason counts.
func (t *tunnel) drain(err error) {
	t.draining.Do(func() {
		t.readErr = err
		close(t.drained)
	})
}

// deliver hands data to readers. Once the connection is closed nobody needs it.
func (t *tunnel) deliver(data []byte) {
	for len(data) > 0 {
		select {
		case t.offered <- data:
			data = data[<-t.taken:]
		case <-t.closed:
			return
		}
	}
}

func (t *tunnel) read(b []byte) (int, error) {
	limit := t.readLimit.wait()
	switch {
	case isClosed(t.closed):
		return 0, net.ErrClosed
	case isClosed(limit):
		return 0, os.ErrDeadlineExceeded
	case len(b) == 0:
		return 0, nil
	}
	select {
	case data := <-t.offered:
		n := copy(b, data)
		t.taken <- n
		return n, nil
	case <-t.drained:
		return 0, t.readErr
	case <-t.closed:
		return 0, net.ErrClosed
	case <-limit:
		return 0, os.ErrDeadlineExceeded
	}
}

func (t *tunnel) write(b []byte) (n int, err error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	for {
		buffer, err := t.buffer(len(b) > 0)
		if err != nil || len(b) == 0 {
			return n, err
		}
		if t.framed {
			part := min(len(b), stdinFrame-frameHeader)
			buffer = append(binary.BigEndian.AppendUint32(buffer, uint32(part)), b[:part]...)
			n, b = n+part, b[part:]
		} else {
			part := min(len(b), stdinFrame)
			buffer = append(buffer, b[:part]...)
			n, b = n+part, b[part:]
		}
		t.outgoing <- buffer
		if len(b) == 0 {
			return n, nil
		}
	}
}

// buffer waits until the buffer is free, if it is wanted, or says why nothing can be written. The caller holds writing.
func (t *tunnel) buffer(wanted bool) ([]byte, error) {
	limit := t.writeLimit.wait()
	switch {
	case isClosed(t.closed):
		return nil, net.ErrClosed
	case isClosed(limit):
		return nil, os.ErrDeadlineExceeded
	case t.ended, isClosed(t.sent), isClosed(t.process.done):
		return nil, t.broken()
	case !wanted:
		return nil, nil
	}
	select {
	case buffer := <-t.room:
		return buffer, nil
	case <-t.sent:
		return nil, t.broken()
	case <-t.closed:
		return nil, net.ErrClosed
	case <-limit:
		return nil, os.ErrDeadlineExceeded
	}
}
