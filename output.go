package cwsandbox

import (
	"fmt"
	"io"
	"slices"
	"sync"
)

const (
	// smallFrame is the size below which frames are gathered: a command that prints byte by byte would otherwise cost
	// many times the memory of its output.
	smallFrame  = 1 << 10
	gatherBlock = 4 << 10
)

// output is one of the two output streams of a command. It is kept, or handed to a writer of the caller's.
type output struct {
	name    string
	w       io.Writer // not nil: gets everything, and nothing is kept
	written int64     // what came for w; owned by the receiver until the process is done
	kept    buffer
}

func (o *output) init(name string, w io.Writer, limit int64) {
	o.name, o.w = name, w
	o.kept.limit, o.kept.more.L = limit, &o.kept.mu
}

// report adds the stream to a result.
func (o *output) report(kept *[]byte, size *int64, truncated *bool) {
	if o.w != nil {
		*size = o.written
		return
	}
	*kept = o.kept.bytes()
	*size = o.kept.size
	*truncated = *truncated || *size > int64(len(*kept))
}

// take consumes a frame. The slice is the output's from now on.
func (o *output) take(frame []byte) error {
	if o.w == nil {
		o.kept.add(frame)
		return nil
	}
	o.written += int64(len(frame))
	n, err := o.w.Write(frame)
	if err == nil && n < len(frame) {
		err = io.ErrShortWrite
	}
	return err
}

// buffer keeps the first bytes of a stream, up to a limit, and counts the others. Any number of readers follow it from
// the first byte on, each at its own pace.
type buffer struct {
	limit int64

	mu   sync.Mutex
	more sync.Cond // with mu: something below has changed
	head *chunk
	tail *chunk
	kept int64
	size int64 // as produced
	done bool  // no more will come
	err  error // why it will not, when that is no good end
}

// chunk is a piece of a stream. Bytes that a reader has seen never change; the last chunk may still grow within its
// capacity.
type chunk struct {
	data []byte
	next *chunk
}

// add appends a frame without copying it, unless it is small.
func (b *buffer) add(frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.size += int64(len(frame))
	if room := b.limit - b.kept; int64(len(frame)) > room {
		frame = slices.Clone(frame[:room]) // lets go of the rest
	}
	if len(frame) > 0 {
		b.keep(frame)
	}
	b.more.Broadcast()
}

func (b *buffer) keep(frame []byte) {
	b.kept += int64(len(frame))
	last := b.tail
	switch {
	case last == nil:
		b.head = &chunk{data: frame}
		b.tail = b.head
		return
	case len(frame) <= cap(last.data)-len(last.data):
		last.data = append(last.data, frame...)
		return
	case len(frame) < smallFrame:
		frame = append(make([]byte, 0, gatherBlock), frame...)
	}
	last.next = &chunk{data: frame}
	b.tail = last.next
}

// close says that no more will come, and why, if that is no good end.
func (b *buffer) close(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done, b.err = true, err
	b.more.Broadcast()
}

// bytes returns all that was kept, as one slice. It may be called only after close.
func (b *buffer) bytes() []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.head == nil {
		return nil
	}
	if b.head != b.tail {
		all := make([]byte, 0, b.kept)
		for c := b.head; c != nil; c = c.next {
			all = append(all, c.data...)
		}
		b.head = &chunk{data: all} // readers on their way keep the old chunks
		b.tail = b.head
	}
	return b.head.data
}

// bufferReader reads a buffer from its first byte.
type bufferReader struct {
	b    *buffer
	call call
	at   *chunk // nil: nothing was there yet
	read int    // of that chunk
}

// Read waits until there is something, or the end.
func (r *bufferReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	rest, err := r.next()
	n := copy(p, rest)
	r.read += n
	return n, err
}

// next returns what follows in the chunk that the reader has come to.
func (r *bufferReader) next() ([]byte, error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case r.at == nil:
			r.at = b.head
		case r.read == len(r.at.data) && r.at.next != nil:
			r.at, r.read = r.at.next, 0
		}
		switch {
		case r.at != nil && r.read < len(r.at.data):
			return r.at.data[r.read:], nil
		case b.size > b.kept:
			return nil, cutError(r.call, b.kept)
		case b.err != nil:
			return nil, b.err
		case b.done:
			return nil, io.EOF
		}
		b.more.Wait()
	}
}

// cutError says that a stream was longer than what was kept of it.
func cutError(c call, kept int64) error {
	return c.refuse(fmt.Sprintf("the output was cut after %d bytes", kept), ErrTruncated)
}

// failedReader is a stream that there is nothing to read of.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }
