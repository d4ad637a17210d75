package transport

import (
	"context"
	"io"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// NewStream opens a stream. It is never tried twice, has no deadline but the context's or what the options say, and
// holds its place on a connection until it has ended: until RecvMsg returns an error or the context is over. All errors
// are *rpcerr.Error, but for io.EOF.
func (t *Transport) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	if ctx.Err() != nil {
		return nil, rpcerr.Ended(ctx, method)
	}
	settings := t.settings(opts)
	pool, err := t.poolFor(ruleFor(method, nil).route, settings.afterDrain)
	if err != nil {
		return nil, rpcerr.Local(method, codes.Canceled, err)
	}
	bounded, cancel := settings.boundStream(ctx)
	s := &stream{caller: ctx, method: method, pool: pool, cancel: cancel}
	if e := s.open(t, bounded, desc, opts); e != nil {
		cancel()
		e.Attempts = 1
		return nil, e
	}
	return s, nil
}

// stream translates errors and gives its place back when it ends.
type stream struct {
	grpc.ClientStream
	caller context.Context // as with every grpc.ClientStream, the context is the stream's life
	method string
	pool   *pool
	conn   *conn
	cancel context.CancelFunc
	unlink func() bool // from the end of the context
	once   sync.Once
}

func (s *stream) open(t *Transport, ctx context.Context, desc *grpc.StreamDesc, opts []grpc.CallOption) *rpcerr.Error {
	outgoing, e := t.authorize(s.caller, ctx, s.method)
	if e != nil {
		return e
	}
	var err error
	if s.conn, err = s.pool.acquire(); err != nil {
		return rpcerr.Local(s.method, codes.Canceled, err)
	}
	if s.ClientStream, err = s.conn.NewStream(outgoing, desc, s.method, opts...); err != nil {
		s.release()
		return s.pool.translate(s.caller, s.method, err, nil)
	}
	s.unlink = context.AfterFunc(ctx, s.release)
	return nil
}

func (s *stream) release() { s.once.Do(func() { s.pool.release(s.conn) }) }

// end is called when the stream has ended by itself.
func (s *stream) end() {
	s.unlink()
	s.release()
	s.cancel()
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == nil {
		return nil
	}
	s.end()
	if err == io.EOF {
		return io.EOF
	}
	return s.translate(err, s.Trailer())
}

// SendMsg returns io.EOF when the stream has ended; RecvMsg then says how. Any other error ends the stream.
func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == nil || err == io.EOF {
		return err
	}
	s.end()
	return s.translate(err, nil)
}

func (s *stream) Header() (metadata.MD, error) {
	md, err := s.ClientStream.Header()
	if err != nil {
		return md, s.translate(err, nil)
	}
	return md, nil
}

func (s *stream) CloseSend() error {
	if err := s.ClientStream.CloseSend(); err != nil {
		return s.translate(err, nil)
	}
	return nil
}

func (s *stream) translate(err error, trailer metadata.MD) *rpcerr.Error {
	e := s.pool.translate(s.caller, s.method, err, trailer)
	e.Sent, e.Attempts = true, 1
	return e
}
