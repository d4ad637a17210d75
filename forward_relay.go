package cwsandbox

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/relay"
)

// frameHeader is the size of a frame's length.
const frameHeader = 4

// relayOutput takes what a relay prints, on the receiver's goroutine.
type relayOutput struct {
	t      *tunnel
	header []byte // of a frame, as far as it has come
	left   uint32 // of that frame
}

func (o *relayOutput) Write(p []byte) (int, error) {
	rest, err := o.t.handshake.output(p)
	if err != nil {
		return 0, err
	}
	if !o.t.framed {
		o.t.deliver(rest)
		return len(p), nil
	}
	for len(rest) > 0 {
		rest = o.unframe(rest)
	}
	return len(p), nil
}

// unframe takes the next bytes and returns those behind them.
func (o *relayOutput) unframe(p []byte) (rest []byte) {
	if o.left > 0 {
		n := min(int64(o.left), int64(len(p)))
		o.t.deliver(p[:n])
		o.left -= uint32(n)
		return p[n:]
	}
	n := min(frameHeader-len(o.header), len(p))
	o.header = append(o.header, p[:n]...)
	if len(o.header) == frameHeader {
		if o.left = binary.BigEndian.Uint32(o.header); o.left == relay.EndOfSide {
			o.t.drain(io.EOF)
		}
		o.header = o.header[:0]
	}
	return p[n:]
}

// relayErrors takes what a relay says on standard error.
type relayErrors struct{ t *tunnel }

func (e relayErrors) Write(p []byte) (int, error) {
	e.t.handshake.hear(p)
	return len(p), nil
}

// sendAll sends what is written, in order, until nothing more can be sent.
func (t *tunnel) sendAll() {
	defer close(t.sent)
	for {
		select {
		case buffer := <-t.outgoing:
			if t.send(buffer) != nil {
				return
			}
			t.room <- buffer[:0]
		case <-t.closed:
			t.sendEnd()
			return
		case <-t.process.done:
			return
		}
	}
}

func (t *tunnel) send(data []byte) error {
	if err := t.process.stdin.await(nil); err != nil {
		return err
	}
	return t.process.stdin.send(data)
}

// sendEnd sends what was written before the connection was closed, and that it was.
func (t *tunnel) sendEnd() {
	select {
	case buffer := <-t.outgoing:
		if t.send(buffer) != nil {
			return
		}
	default:
	}
	if t.framed && t.send(binary.BigEndian.AppendUint32(nil, relay.EndOfAll)) != nil {
		return
	}
	_ = t.process.stdin.finish() // the stream is cut anyhow, if a little later
}

// closeWrite ends one direction.
func (t *tunnel) closeWrite() error {
	if !t.framed {
		return t.call.refuse("the image's "+t.relay+" cannot end one direction only", errors.ErrUnsupported)
	}
	t.writing.Lock()
	defer t.writing.Unlock()
	if t.ended {
		return nil
	}
	buffer, err := t.buffer(true)
	if err != nil {
		return err
	}
	t.ended = true
	t.outgoing <- binary.BigEndian.AppendUint32(buffer, relay.EndOfSide)
	return nil
}

// broken says why nothing can be written any more.
func (t *tunnel) broken() error {
	if err := t.process.failure(); err != nil {
		return err
	}
	return syscall.EPIPE
}

// close ends the connection. The receiver and the sender end with the relay, or when it has taken too long.
func (t *tunnel) close() error {
	err := net.ErrClosed
	t.closing.Do(func() {
		err = nil
		linger := time.AfterFunc(lingerLimit, t.end)
		context.AfterFunc(t.life, func() { linger.Stop() })
		close(t.closed)
	})
	return err
}
