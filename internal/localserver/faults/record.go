package faults

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// call is the live record behind the copies.
type call struct {
	method    *method
	framesIn  atomic.Int64
	framesOut atomic.Int64

	seen Call // guarded by records.mu; without the counters
	size int  // of the request, guarded as well
	kept bool // in the history, guarded as well
}

// historySize bounds the requests that are remembered. Counts are kept beyond it.
const historySize = 256 << 20

// callSize is what a record costs beside its request, roughly.
const callSize = 512

// records remembers calls. Its lock is only held for bookkeeping.
type records struct {
	limit int

	mu      sync.Mutex
	calls   []*call // oldest first
	size    int
	total   int
	counts  map[string]*count
	changed chan struct{} // closed and replaced at every new call
}

type count struct{ received, executed int }

func newRecords() records {
	return records{limit: historySize, counts: make(map[string]*count), changed: make(chan struct{})}
}

func (r *records) begin(ctx context.Context, m *method) *call {
	c := &call{method: m, size: callSize, kept: true}
	c.seen = Call{Method: m.name, Start: time.Now()}
	c.seen.Metadata, _ = metadata.FromIncomingContext(ctx)
	if p, ok := peer.FromContext(ctx); ok {
		c.seen.Peer = p.Addr.String()
	}

	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.count(m.name)
	n.received++
	r.total++
	c.seen.Number, c.seen.Nth = r.total, n.received
	r.calls = append(r.calls, c)
	r.grow(c.size)
	close(r.changed)
	r.changed = make(chan struct{})
	return c
}

// received notes a message of the client and keeps a copy of the first one.
func (r *records) received(c *call, m proto.Message) {
	if c.framesIn.Add(1) > 1 {
		return
	}
	m = proto.Clone(m)
	id, size := sandboxID(m), proto.Size(m)
	r.mu.Lock()
	defer r.mu.Unlock()
	c.seen.Request, c.seen.SandboxID = m, id
	if c.kept {
		c.size += size
		r.grow(size)
	}
}

// executed notes that the handler begins.
func (r *records) executed(c *call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !c.seen.Executed {
		r.count(c.seen.Method).executed++
	}
	c.seen.Executed = true
}

// answered notes the answer to a unary call.
func (r *records) answered(c *call, m any) {
	c.framesOut.Add(1)
	made, ok := m.(*sandboxv1.Sandbox)
	if !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.seen.SandboxID = made.GetSandboxId()
}

func (r *records) end(c *call, err error) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	c.seen.End, c.seen.Err = now, err
}

// count returns the counters of a method. The lock is held.
func (r *records) count(method string) *count {
	n := r.counts[method]
	if n == nil {
		n = new(count)
		r.counts[method] = n
	}
	return n
}

// grow adds to the size of the history and forgets the oldest calls when it gets too large. The lock is held.
func (r *records) grow(n int) {
	r.size += n
	for r.size > r.limit && len(r.calls) > 1 {
		r.size -= r.calls[0].size
		r.calls[0].kept, r.calls[0] = false, nil
		r.calls = r.calls[1:]
	}
}

func (r *records) copy(c *call) Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return c.copy()
}

// copy is the record as it is now. The lock is held.
func (c *call) copy() Call {
	seen := c.seen
	seen.Metadata = c.seen.Metadata.Copy()
	seen.FramesIn, seen.FramesOut = int(c.framesIn.Load()), int(c.framesOut.Load())
	return seen
}

// find returns the records that keep approves of, oldest first.
func (r *records) find(keep func(*Call) bool) []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []Call
	for _, c := range r.calls {
		if keep(&c.seen) {
			found = append(found, c.copy())
		}
	}
	return found
}

// sandboxID finds the sandbox that a request is about.
func sandboxID(m proto.Message) string {
	switch m := m.(type) {
	case *sandboxv1.ExecStreamRequest:
		return m.GetInit().GetSandboxId()
	case interface{ GetSandboxId() string }:
		return m.GetSandboxId()
	}
	return ""
}
