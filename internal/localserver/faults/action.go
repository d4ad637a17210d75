package faults

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// An Action is what a rule does to a call. Actions are made by the functions of this package; one action may serve in
// several rules.
type Action struct {
	name    string
	unary   func(t target, next func() (any, error)) (any, error) // nil: streaming calls only
	stream  func(t target, s *recordedStream, next func(grpc.ServerStream) error) error
	streams func(m *method) bool // narrows the streaming methods that fit; nil: all
}

// before makes an action that does something, and then lets the call go on unless that failed.
func before(name string, do func(t target) error) Action {
	return Action{
		name: name,
		unary: func(t target, next func() (any, error)) (any, error) {
			if err := do(t); err != nil {
				return nil, err
			}
			return next()
		},
		stream: func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
			if err := do(t); err != nil {
				return err
			}
			return next(s)
		},
	}
}

// after makes an action that lets the call run to its end and does something when that went well.
func after(name string, do func(t target) error) Action {
	return Action{
		name: name,
		unary: func(t target, next func() (any, error)) (any, error) {
			resp, err := next()
			if err == nil {
				err = do(t)
			}
			if err != nil {
				return nil, err
			}
			return resp, nil
		},
		stream: func(t target, s *recordedStream, next func(grpc.ServerStream) error) error {
			if err := next(s); err != nil {
				return err
			}
			return do(t)
		},
	}
}

// Fail answers with an error; the call does not reach its handler. The code must not be [codes.OK].
func Fail(code codes.Code, text string, details ...Detail) Action {
	f := newFailure(code, text, details)
	return before("Fail", func(t target) error { return f.send(t.ctx) })
}

// FailAfter lets the handler do its work and then answers with an error in place of success. The messages of a stream
// are delivered.
func FailAfter(code codes.Code, text string, details ...Detail) Action {
	f := newFailure(code, text, details)
	return after("FailAfter", func(t target) error { return f.send(t.ctx) })
}

// CutConnection closes the connection before the call reaches its handler, and so ends every other call on it.
func CutConnection() Action {
	return before("CutConnection", func(t target) error {
		if err := cut(t.ctx); err != nil {
			return err
		}
		return errCut
	})
}

// DropResponse lets the handler do its work and closes the connection in place of the answer, of a stream in place of
// the first message that it sends.
func DropResponse() Action {
	a := after("DropResponse", func(t target) error { return cut(t.ctx) })
	a.stream = cutStream(Frames(1), Ending{end: func(t target) error {
		if err := cut(t.ctx); err != nil {
			return err
		}
		return errCut
	}, instead: true})
	return a
}

// GoAway tells the client to use another connection for new calls. This call, and the others on the connection, go on.
// It needs a connection without TLS.
func GoAway() Action {
	return before("GoAway", func(t target) error {
		c, err := connOf(t.ctx)
		if err != nil {
			return err
		}
		return c.goAway()
	})
}

// Delay holds the call for d before it reaches its handler.
func Delay(d time.Duration) Action {
	return before("Delay", func(t target) error { return t.sleep(d) })
}

// DelayAfter lets the handler do its work and holds the end of the call for d.
func DelayAfter(d time.Duration) Action {
	return after("DelayAfter", func(t target) error { return t.sleep(d) })
}

// Hang gives no answer until the client gives up. When the rule is released the call goes on.
func Hang() Action {
	return before("Hang", func(t target) error { return t.hold() })
}

// Mutate lets fn change each message that the server sends. fn gets a copy, of the type that the method answers with;
// it is called by many calls at once.
func Mutate(fn func(m proto.Message)) Action {
	change := func(m any) any {
		changed := proto.Clone(m.(proto.Message))
		fn(changed)
		return changed
	}
	return Action{
		name: "Mutate",
		unary: func(_ target, next func() (any, error)) (any, error) {
			resp, err := next()
			if err != nil {
				return nil, err
			}
			return change(resp), nil
		},
		stream: func(_ target, s *recordedStream, next func(grpc.ServerStream) error) error {
			return next(&sender{ServerStream: s, send: func(m any) error { return s.SendMsg(change(m)) }})
		},
	}
}

// sleep waits for d, for the release of the rule, or for the end of the call, which is an error.
func (t target) sleep(d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	return t.wait(timer.C)
}

// hold waits for the release of the rule, or for the end of the call, which is an error.
func (t target) hold() error {
	return t.wait(nil)
}

func (t target) wait(timeout <-chan time.Time) error {
	select {
	case <-timeout:
		return nil
	case <-t.released:
		return nil
	case <-t.ctx.Done():
		return status.FromContextError(t.ctx.Err()).Err()
	}
}

// errCut is what a call ends with whose connection is gone; nobody receives it.
var errCut = status.Error(codes.Unavailable, "the connection was cut by a fault rule")

// cut closes the connection of a call.
func cut(ctx context.Context) error {
	c, err := connOf(ctx)
	if err != nil {
		return err
	}
	c.Close()
	return nil
}
