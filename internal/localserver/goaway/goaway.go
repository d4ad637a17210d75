// Package goaway sends GOAWAY on a single HTTP/2 connection, for which gRPC has no way.
package goaway

import "io"

// frame is an HTTP/2 GOAWAY without an error that names the highest possible stream: everything that has been
// begun, or is under way, will be served.
var frame = []byte{
	0, 0, 8, 0x7, 0, 0, 0, 0, 0, // length, type, flags, connection
	0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, // last stream, no error
}

// A Writer writes HTTP/2 frames to a connection and can put one of its own between two of them.
type Writer struct {
	dst    io.Writer
	lock   chan struct{} // holds a token while nobody writes; a channel, because writing blocks
	frames frameReader
	due    bool // a GOAWAY is to follow the frame that is half written
}

// New returns a writer to the server's side of a connection on which nothing was sent yet.
func New(dst io.Writer) *Writer {
	lock := make(chan struct{}, 1)
	lock <- struct{}{}
	return &Writer{dst: dst, lock: lock}
}

// Write writes what gRPC sends.
func (w *Writer) Write(p []byte) (int, error) {
	<-w.lock
	defer func() { w.lock <- struct{}{} }()
	n, err := w.dst.Write(p)
	w.frames.read(p[:n])
	if err != nil || !w.due || !w.frames.between() {
		return n, err
	}
	w.due = false
	_, err = w.dst.Write(frame)
	return n, err
}

// GoAway sends GOAWAY as soon as the frame that is being written is complete. It reports whether it could: not before
// the first frame, and not into what is no plain HTTP/2.
func (w *Writer) GoAway() (ok bool, err error) {
	<-w.lock
	defer func() { w.lock <- struct{}{} }()
	if !w.frames.http2() {
		return false, nil
	}
	if !w.frames.between() {
		w.due = true
		return true, nil
	}
	_, err = w.dst.Write(frame)
	return true, err
}

// A frameReader follows a sequence of HTTP/2 frames, just closely enough to know where each one ends.
type frameReader struct {
	header [9]byte
	have   int // bytes of the header
	left   int // bytes of the payload that are still to come
	first  byte
	begun  bool
}

func (f *frameReader) read(p []byte) {
	if !f.begun && len(p) > 0 {
		f.begun, f.first = true, p[0]
	}
	for len(p) > 0 {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.left -= n
			p = p[n:]
			continue
		}
		n := copy(f.header[f.have:], p)
		f.have += n
		p = p[n:]
		if f.have == len(f.header) {
			f.have = 0
			f.left = int(f.header[0])<<16 | int(f.header[1])<<8 | int(f.header[2])
		}
	}
}

// between says whether the last frame is complete.
func (f *frameReader) between() bool { return f.have == 0 && f.left == 0 }

// http2 tells frames from TLS records: a server begins with a short SETTINGS frame, and so with a zero byte.
func (f *frameReader) http2() bool { return f.begun && f.first == 0 }
