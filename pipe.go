package cwsandbox

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

const (
	// pipeSize is how much a pipe holds before a Write has to wait.
	pipeSize = 256 << 10
	// pipeIdle is the memory that an empty pipe may keep.
	pipeIdle = 8 << 10
)

// errCut says that a pipe takes no more because the stream that fills it was ended. It never leaves this package.
var errCut = errors.New("the stream was ended")

// pipe is a bounded buffer between one who writes and one who reads, as pipes of an operating system are: a Write waits
// while it is full, a Read while it is empty. Unlike those, neither is held up by an end that nobody uses any more.
type pipe struct {
	mu   sync.Mutex
	turn sync.Cond // with mu: something below has changed
	data bytes.Buffer

	end  error // what a Read returns after the data; nil: more may come
	left bool  // nobody reads any more
	shut bool  // nothing more is taken in
	why  error // what a Write returns then; nil: it pretends to write
}

func newPipe() *pipe {
	p := new(pipe)
	p.turn.L = &p.mu
	return p
}

// Write returns when everything is in the pipe.
func (p *pipe) Write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.shut && p.why != nil:
			return n, p.why
		case p.shut:
			return n + len(b), nil
		case p.end != nil:
			return n, ErrClosed
		}
		if part := min(len(b), pipeSize-p.data.Len()); part > 0 {
			p.data.Write(b[:part])
			n, b = n+part, b[part:]
			p.turn.Broadcast()
		}
		if len(b) == 0 {
			return n, nil
		}
		p.turn.Wait()
	}
}

// Read waits until there is something, or the end.
func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 {
		switch {
		case p.left:
			return 0, ErrClosed
		case p.data.Len() > 0:
			n, _ := p.data.Read(b) // fails only when empty
			p.shrink()
			p.turn.Broadcast()
			return n, nil
		case p.end != nil:
			return 0, p.end
		}
		p.turn.Wait()
	}
	return 0, nil
}

// shrink lets go of the memory of a burst that is over.
func (p *pipe) shrink() {
	if p.data.Len() == 0 && p.data.Cap() > pipeIdle {
		p.data = bytes.Buffer{}
	}
}

// close says that nothing comes after what is in the pipe, and why, if that is no good end.
func (p *pipe) close(err error) {
	if err == nil {
		err = io.EOF
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.end == nil {
		p.end = err
	}
	p.turn.Broadcast()
}

// stop makes every Write return err from now on, or pretend that it writes if that is nil. What is in the pipe stays.
func (p *pipe) stop(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopLocked(err)
}

func (p *pipe) stopLocked(err error) {
	if !p.shut {
		p.shut, p.why = true, err
	}
	p.turn.Broadcast()
}

// leave is for when nobody reads any more: what was and what will be written is dropped.
func (p *pipe) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.data = true, bytes.Buffer{}
	p.stopLocked(nil)
}

// pipeReader is the reading end of a pipe in the hands of a caller.
type pipeReader struct {
	pipe *pipe
	call call
	name string // of the stream
}

func (r *pipeReader) Read(b []byte) (int, error) {
	n, err := r.pipe.Read(b)
	if err == ErrClosed {
		err = r.call.refuse("read "+r.name+": it is closed", ErrClosed)
	}
	return n, err
}

// Close drops what was not read and what is still to come.
func (r *pipeReader) Close() error {
	r.pipe.leave()
	return nil
}
