// Package faults makes a gRPC server misbehave on purpose and remembers what it was asked.
//
// A [Layer] sits between a listener and the handlers of one server: its interceptors record every call of the sandbox
// API and apply the rules that tests add, and its listener lets a rule cut the connection that a call came in on. Calls
// of other services (health, reflection) pass untouched. A layer starts no goroutine, and it never holds a lock while
// it waits, so that it also works inside a testing/synctest bubble.
package faults

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// A Layer holds the rules and the call records of one server. All its methods are safe for concurrent use.
type Layer struct {
	records records

	mu    sync.Mutex
	rules []*Handle
}

// NewLayer returns a layer without rules.
func NewLayer() *Layer {
	return &Layer{records: newRecords()}
}

// Add puts a rule behind those that the layer already has. It panics when the rule can never act: on a method that the
// API does not have, or with an action that does not fit the method.
func (l *Layer) Add(r Rule) *Handle {
	r.check()
	h := &Handle{rule: r, layer: l, released: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rules = append(l.rules[:len(l.rules):len(l.rules)], h)
	return h
}

// Release ends every rule of the layer, as [Handle.Release] does with one.
func (l *Layer) Release() {
	for _, h := range l.snapshot() {
		h.Release()
	}
}

// snapshot returns the rules of this moment; Add and remove never change a slice that was handed out.
func (l *Layer) snapshot() []*Handle {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rules
}

func (l *Layer) remove(h *Handle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := make([]*Handle, 0, len(l.rules))
	for _, other := range l.rules {
		if other != h {
			kept = append(kept, other)
		}
	}
	l.rules = kept
}

// choose returns the first rule that acts on the call, or nil. request is asked for at most once, and only when a rule
// has to look at it.
func (l *Layer) choose(c *call, request func()) *Handle {
	for _, h := range l.snapshot() {
		if !h.rule.fits(c.method) {
			continue
		}
		if h.rule.When != nil {
			request()
			if !h.rule.When(l.records.copy(c)) {
				continue
			}
		}
		if h.take() {
			return h
		}
	}
	return nil
}

// Unary is the interceptor of unary calls. It is a [grpc.UnaryServerInterceptor].
func (l *Layer) Unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	m := lookup(info.FullMethod)
	if m == nil {
		return handler(ctx, req)
	}
	c := l.records.begin(ctx, m)
	if msg, ok := req.(proto.Message); ok {
		l.records.received(c, msg)
	}
	next := func() (any, error) {
		l.records.executed(c)
		return handler(ctx, req)
	}
	resp, err := applyUnary(ctx, l.choose(c, func() {}), next)
	if err == nil {
		l.records.answered(c, resp)
	}
	l.records.end(c, err)
	return resp, err
}

func applyUnary(ctx context.Context, h *Handle, next func() (any, error)) (any, error) {
	if h == nil {
		return next()
	}
	return h.rule.Action.unary(target{ctx, h}, next)
}

// Stream is the interceptor of streaming calls. It is a [grpc.StreamServerInterceptor].
func (l *Layer) Stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	m := lookup(info.FullMethod)
	if m == nil {
		return handler(srv, ss)
	}
	c := l.records.begin(ss.Context(), m)
	s := &recordedStream{ServerStream: ss, call: c, records: &l.records}
	next := func(ss grpc.ServerStream) error {
		l.records.executed(c)
		return handler(srv, ss)
	}
	err := applyStream(s, l.choose(c, s.peek), next)
	l.records.end(c, err)
	return err
}

func applyStream(s *recordedStream, h *Handle, next func(grpc.ServerStream) error) error {
	if h == nil {
		return next(s)
	}
	return h.rule.Action.stream(target{s.Context(), h}, s, next)
}
