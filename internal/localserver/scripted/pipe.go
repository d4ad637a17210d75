package scripted

import (
	"io"
	"sync"
)

// pipeSize is how much a pipe holds before its writer has to wait, as on Linux.
const pipeSize = 64 << 10

// A pipe is an in-memory pipe. Reading returns as soon as there is something.
type pipe struct {
	mu      sync.Mutex
	changed sync.Cond
	data    []byte
	ended   bool // no more will be written
	deaf    bool // nobody reads: what is written is discarded
}

func newPipe() *pipe {
	p := &pipe{}
	p.changed.L = &p.mu
	return p
}

// Read returns io.EOF once the pipe has ended and is empty.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.data) == 0 && !p.ended && !p.deaf {
		p.changed.Wait()
	}
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data)
	if p.data = p.data[n:]; len(p.data) == 0 {
		p.data = nil
	}
	p.changed.Broadcast()
	return n, nil
}

// Write waits while the pipe is full.
func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	written := 0
	for written < len(b) {
		for len(p.data) >= pipeSize && !p.ended && !p.deaf {
			p.changed.Wait()
		}
		switch {
		case p.deaf:
			return len(b), nil
		case p.ended:
			return written, io.ErrClosedPipe
		}
		n := min(len(b)-written, pipeSize-len(p.data))
		p.data = append(p.data, b[written:written+n]...)
		written += n
		p.changed.Broadcast()
	}
	return written, nil
}

// Close ends the pipe: what is in it can still be read.
func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.changed.Broadcast()
	return nil
}

// discard ends the pipe for its reader, and makes writing to it succeed without effect.
func (p *pipe) discard() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data, p.deaf = nil, true
	p.changed.Broadcast()
}
