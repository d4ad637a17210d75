package faults

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A Point is a place in the messages that a stream sends.
type Point struct {
	frames int
	bytes  int // when positive it counts instead of frames
}

// Frames is the place behind the first n messages. Zero is the beginning: the call does not reach its handler.
func Frames(n int) Point { return Point{frames: n} }

// Bytes is the place behind the first n bytes of output or log data; n must be positive. A message that lies across it
// is shortened.
func Bytes(n int) Point {
	if n <= 0 {
		panic("faults: Bytes needs a positive number")
	}
	return Point{bytes: n}
}

func (p Point) start() bool { return p.bytes == 0 && p.frames <= 0 }

// advance takes the next message and returns the part of it that lies before the place, and the place as seen from
// behind that message.
func (p Point) advance(m any) (part any, rest Point, reached bool) {
	if p.bytes == 0 {
		p.frames--
		return m, p, p.frames <= 0
	}
	n := len(payload(m))
	if n < p.bytes {
		p.bytes -= n
		return m, p, false
	}
	return shorten(m, p.bytes), p, true
}

// payload is the output or log data in a message.
func payload(m any) []byte {
	switch m := m.(type) {
	case *sandboxv1.ExecStreamResponse:
		return m.GetOutput().GetData()
	case *sandboxv1.LogEntry:
		return m.GetData()
	}
	return nil
}

// shorten returns the message with only the first n bytes of its data.
func shorten(m any, n int) any {
	if len(payload(m)) == n {
		return m
	}
	short := proto.Clone(m.(proto.Message))
	switch short := short.(type) {
	case *sandboxv1.ExecStreamResponse:
		short.GetOutput().Data = short.GetOutput().Data[:n]
	case *sandboxv1.LogEntry: // a stream that is resumed there must get the rest
		if cut := uint64(len(short.Data) - n); short.NextLogOffset >= cut {
			short.NextLogOffset -= cut
		}
		short.Data = short.Data[:n]
	}
	return short
}

// An Ending is how [CutStream] ends a stream.
type Ending struct {
	end     func(t target) error
	instead bool // of the message that reaches the point, not behind it
}

// EndStatus ends a stream with an error, made as by [Fail].
func EndStatus(code codes.Code, text string, details ...Detail) Ending {
	f := newFailure(code, text, details)
	return Ending{end: func(t target) error { return f.send(t.ctx) }}
}

// EndOK ends a stream with success, although its handler has not sent a last message.
func EndOK() Ending {
	return Ending{end: func(target) error { return nil }}
}

// leaveTime is what messages get to leave the server before their connection is closed: sending only queues them.
const leaveTime = 50 * time.Millisecond

// EndConnection ends a stream by closing its connection, a moment after the last message before the cut.
func EndConnection() Ending {
	return Ending{end: func(t target) error {
		if err := t.sleep(leaveTime); err != nil {
			return err
		}
		if err := cut(t.ctx); err != nil {
			return err
		}
		return errCut
	}}
}

// CutStream ends a stream at a point, unless its handler ends it before. The handler sees a client that has gone.
func CutStream(at Point, how Ending) Action {
	if how.end == nil {
		panic("faults: CutStream needs an ending")
	}
	return Action{name: "CutStream", stream: cutStream(at, how)}
}

func cutStream(at Point, how Ending) func(target, *recordedStream, func(grpc.ServerStream) error) error {
	return func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
		if at.start() {
			return how.end(t)
		}
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		place, reached := at, false
		var end error
		err := next(&sender{ServerStream: s, ctx: ctx, send: func(m any) error {
			if reached {
				return errStreamOver
			}
			m, place, reached = place.advance(m)
			if !reached {
				return s.SendMsg(m)
			}
			if !how.instead {
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
			end = how.end(t)
			cancel()
			return errStreamOver
		}})
		if reached {
			return end
		}
		return err
	}
}

// errStreamOver tells a handler that its stream was ended by a rule.
var errStreamOver = status.Error(codes.Canceled, "the stream was ended by a fault rule")

// InBandError sends the error message of the stream after n other messages and then ends it with success, as the
// service reports what happens to a running command or log.
func InBandError(n int, code, text string) Action {
	a := Action{name: "InBandError"}
	a.stream = func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
		how := Ending{end: func(target) error { return s.SendMsg(inBand(s.call.method, code, text)) }}
		return cutStream(Frames(n), how)(t, s, next)
	}
	a.streams = func(m *method) bool { return inBand(m, code, text) != nil }
	return a
}

// inBand makes the error message of a streaming method, or nil when the method has none.
func inBand(m *method, code, text string) proto.Message {
	switch msg := m.response.New().Interface().(type) {
	case *sandboxv1.ExecStreamResponse:
		msg.Message = &sandboxv1.ExecStreamResponse_Error{Error: &sandboxv1.ExecStreamError{Code: code, Message: text}}
		return msg
	case *sandboxv1.LogEntry:
		msg.Error = &sandboxv1.LogStreamError{Code: code, Message: text}
		return msg
	}
	return nil
}

// Stall sends n messages and then neither sends nor reads until the rule is released.
func Stall(n int) Action {
	return Action{
		name: "Stall",
		stream: func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
			return next(newStall(t, s, n))
		},
	}
}

// stall is a stream that comes to a halt.
type stall struct {
	grpc.ServerStream
	target target
	left   int           // messages that may still be sent
	begun  chan struct{} // closed when the stream halts
}

func newStall(t target, s grpc.ServerStream, n int) *stall {
	st := &stall{ServerStream: s, target: t, left: n, begun: make(chan struct{})}
	if n <= 0 {
		close(st.begun)
	}
	return st
}

func (s *stall) SendMsg(m any) error {
	if s.left <= 0 {
		if err := s.target.hold(); err != nil {
			return err
		}
		return s.ServerStream.SendMsg(m)
	}
	err := s.ServerStream.SendMsg(m)
	s.left--
	if s.left == 0 {
		close(s.begun)
	}
	return err
}

func (s *stall) RecvMsg(m any) error {
	select {
	case <-s.begun:
		if err := s.target.hold(); err != nil {
			return err
		}
	default:
	}
	return s.ServerStream.RecvMsg(m)
}

// WithholdReady keeps the message back that says that a command has started. It and all that follows come d later, or
// when the rule is released; with d zero it never comes, and the rest comes in time.
func WithholdReady(d time.Duration) Action {
	return Action{
		name:    "WithholdReady",
		streams: func(m *method) bool { return m.name == "StreamExec" },
		stream: func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
			return next(&sender{ServerStream: s, send: func(m any) error {
				if resp, ok := m.(*sandboxv1.ExecStreamResponse); ok && resp.GetReady() != nil {
					if d == 0 {
						return nil
					}
					if err := t.sleep(d); err != nil {
						return err
					}
				}
				return s.SendMsg(m)
			}})
		},
	}
}

// sender is a stream with another way to send, and another context if it has one.
type sender struct {
	grpc.ServerStream
	ctx  context.Context
	send func(m any) error
}

func (s *sender) SendMsg(m any) error { return s.send(m) }

func (s *sender) Context() context.Context {
	if s.ctx != nil {
		return s.ctx
	}
	return s.ServerStream.Context()
}
