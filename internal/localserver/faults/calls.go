package faults

import (
	"context"
	"fmt"
)

// Calls returns the calls of a method, or of all methods for "*", oldest first. Calls that are still going on are among
// them. The oldest calls are forgotten when the requests of all exceed 256 MiB.
func (l *Layer) Calls(method string) []Call {
	return l.records.find(func(c *Call) bool { return method == "*" || c.Method == method })
}

// CallsFor returns the calls that were about a sandbox, oldest first, the one that created it included.
func (l *Layer) CallsFor(sandboxID string) []Call {
	return l.records.find(func(c *Call) bool { return c.SandboxID == sandboxID })
}

// Received is the number of calls of a method, or of all methods for "*", that arrived.
func (l *Layer) Received(method string) int {
	n, _ := l.records.sum(method)
	return n.received
}

// Executed is the number of calls of a method, or of all methods for "*", that no rule kept from the server behind the
// layer. That server may still have refused them, for a bad credential or request.
func (l *Layer) Executed(method string) int {
	n, _ := l.records.sum(method)
	return n.executed
}

// WaitForCalls waits until n calls of a method, or of all methods for "*", have arrived.
func (l *Layer) WaitForCalls(ctx context.Context, method string, n int) error {
	for {
		have, changed := l.records.sum(method)
		if have.received >= n {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("faults: %d of %d calls of %s arrived: %w", have.received, n, method, context.Cause(ctx))
		}
	}
}

// sum returns the counts and a channel that is closed when they grow.
func (r *records) sum(method string) (count, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var sum count
	for name, n := range r.counts {
		if method == "*" || method == name {
			sum.received += n.received
			sum.executed += n.executed
		}
	}
	return sum, r.changed
}
