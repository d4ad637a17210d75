package transport

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// pathStream is a stream of a Path. As long as nothing has come back, it keeps what was sent: a runner that is about to
// go turns a stream away before it has begun anything, and then the stream is opened once more.
type pathStream struct {
	path     *Path
	desc     *grpc.StreamDesc
	method   string
	opts     []grpc.CallOption
	settings settings
	caller   context.Context // as with every grpc.ClientStream, the context is the stream's life

	// Only the receiver opens the stream again; the mutex keeps senders waiting meanwhile.
	mu        sync.Mutex
	now       grpc.ClientStream
	direct    bool
	sent      []any
	closeSent bool
	final     atomic.Bool // it is not opened again
}

// open opens the stream by the way that is chosen for it. One that could not be opened directly was not sent, and is
// tried once more.
func (s *pathStream) open() error {
	for again := true; ; again = false {
		ctx, cancel := s.settings.boundStream(s.caller)
		l, e := s.path.acquire(s.caller, ctx, s.method)
		if e != nil {
			cancel()
			return e
		}
		s.direct = l != nil
		s.settings.took(s.direct)
		if !s.direct {
			cancel()
			stream, err := s.path.d.t.NewStream(s.caller, s.desc, gatewayMethod(s.method), s.opts...)
			if err != nil { // not even a nil stream in the interface
				return err
			}
			s.now = stream
			return nil
		}
		leased, e := l.open(s.caller, ctx, cancel, s.desc, s.method, s.opts)
		if e == nil {
			s.now = leased
			return nil
		}
		if !again || !unbegun(e) {
			return e
		}
	}
}

func (s *pathStream) SendMsg(m any) error {
	if s.final.Load() {
		return s.now.SendMsg(m)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sent = append(s.sent, m); interactive(m) {
		s.final.Store(true)
	}
	return s.now.SendMsg(m)
}

// interactive reports whether a message begins a session that somebody sits at.
func interactive(m any) bool {
	frame, ok := m.(*sandboxv1.ExecStreamRequest)
	return ok && frame.GetInit().GetTty()
}

func (s *pathStream) CloseSend() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeSent = true
	return s.now.CloseSend()
}

func (s *pathStream) RecvMsg(m any) error {
	if s.final.Load() {
		return s.now.RecvMsg(m)
	}
	err := s.now.RecvMsg(m)
	if !s.direct || !turnedAway(err) {
		s.final.Store(true)
		return err
	}
	if err := s.reopen(err); err != nil {
		return err
	}
	return s.now.RecvMsg(m)
}

// reopen opens the stream once more, because of refusal, and sends what was sent before.
func (s *pathStream) reopen(refusal error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.final.Load() {
		return refusal
	}
	defer s.final.Store(true) // by then senders find the new stream
	if err := s.open(); err != nil {
		return err
	}
	for _, m := range s.sent {
		if err := s.now.SendMsg(m); err == io.EOF {
			return nil // refused already: the receiver learns why
		} else if err != nil {
			return err
		}
	}
	s.sent = nil
	if s.closeSent {
		return s.now.CloseSend()
	}
	return nil
}

func turnedAway(err error) bool {
	e, ok := err.(*rpcerr.Error)
	return ok && e.Context == nil && e.Err == nil && retiring(e)
}

func (s *pathStream) Header() (metadata.MD, error) { return s.now.Header() }
func (s *pathStream) Trailer() metadata.MD         { return s.now.Trailer() }

// Context returns the caller's, which lasts for as long as the stream may be opened again: that of a stream which was
// turned away ends with it, and says nothing about the next one.
func (s *pathStream) Context() context.Context { return s.caller }

// leasedStream is a stream on a direct connection. It translates errors and gives its lease back when it ends.
type leasedStream struct {
	grpc.ClientStream
	caller context.Context // as with every grpc.ClientStream, the context is the stream's life
	method string
	link   *link
	cancel context.CancelFunc
	unlink func() bool // from the end of the context
	once   sync.Once
}

// open opens a stream on the link, whose lease becomes the stream's. In an error nothing was sent.
func (l *link) open(caller, ctx context.Context, cancel context.CancelFunc, desc *grpc.StreamDesc, method string, opts []grpc.CallOption) (*leasedStream, *rpcerr.Error) {
	stream, err := l.conn.NewStream(anonymous(ctx), desc, method, opts...)
	if err != nil {
		defer l.release()
		cancel()
		e := l.translate(caller, method, err, nil)
		e.Attempts = 1
		return nil, e
	}
	s := &leasedStream{ClientStream: stream, caller: caller, method: method, link: l, cancel: cancel}
	s.unlink = context.AfterFunc(ctx, s.release)
	return s, nil
}

func (s *leasedStream) release() { s.once.Do(s.link.release) }

// end is called when the stream has ended by itself.
func (s *leasedStream) end() {
	s.unlink()
	s.release()
	s.cancel()
}

func (s *leasedStream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		return nil
	}
	defer s.end() // after the link has heard of it
	if err == io.EOF {
		return io.EOF
	}
	return s.translate(err, s.Trailer())
}

// SendMsg returns io.EOF when the stream has ended; RecvMsg then says how. Any other error ends the stream.
func (s *leasedStream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || err == io.EOF {
		return err
	}
	defer s.end()
	return s.translate(err, nil)
}

func (s *leasedStream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil {
		return md, s.translate(err, nil)
	}
	return md, nil
}

func (s *leasedStream) CloseSend() error {
	if err := s.ClientStream.CloseSend(); err != nil {
		return s.translate(err, nil)
	}
	return nil
}

func (s *leasedStream) translate(err error, trailer metadata.MD) *rpcerr.Error {
	e := s.link.translate(s.caller, s.method, err, trailer)
	e.Sent, e.Attempts = true, 1
	return e
}
