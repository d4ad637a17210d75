package transport

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

const (
	// fullConn is how many streams a connection carries before another one is made. Servers commonly allow 100, and a
	// stream over that would wait for others to end.
	fullConn = 90

	// idleConn is how long an extra connection may be unused.
	idleConn = time.Minute

	maxLifecycleConns = 10
	maxDataConns      = 0 // as many as the streams need
)

// pool is the connections to one endpoint for one kind of call. It grows when all are full and shrinks when extra ones
// are idle; the first connection stays.
type pool struct {
	dial  func() (*grpc.ClientConn, error)
	limit int // zero: none

	life context.Context // ends when the pool is closed
	end  context.CancelFunc

	mu      sync.Mutex
	conns   []*conn
	sweep   *time.Timer // runs shrink; nil when no sweep is due
	closing sync.WaitGroup
}

// conn is one connection and the number of streams on it.
type conn struct {
	*grpc.ClientConn
	streams   int
	idleSince time.Time
}

func newPool(dial func() (*grpc.ClientConn, error), limit int) (*pool, error) {
	first, err := dial()
	if err != nil {
		return nil, err
	}
	p := &pool{dial: dial, limit: limit, conns: []*conn{{ClientConn: first}}}
	p.life, p.end = context.WithCancel(context.Background())
	return p, nil
}

// acquire takes a place for one stream on the connection with the fewest. The caller must release it. The only error is
// rpcerr.ErrClosed.
func (p *pool) acquire() (*conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed() {
		return nil, rpcerr.ErrClosed
	}
	best := p.conns[0]
	for _, c := range p.conns[1:] {
		if c.streams < best.streams {
			best = c
		}
	}
	if best.streams >= fullConn && (p.limit == 0 || len(p.conns) < p.limit) {
		best = p.grow(best)
	}
	best.streams++
	return best, nil
}

// grow returns one more connection. The options that it is made with were good for the first one; should they not be
// now, a crowded connection still works.
func (p *pool) grow(crowded *conn) *conn {
	extra, err := p.dial()
	if err != nil {
		return crowded
	}
	c := &conn{ClientConn: extra}
	p.conns = append(p.conns, c)
	return c
}

// release gives a place back.
func (p *pool) release(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	c.streams--
	if c.streams == 0 {
		c.idleSince = time.Now()
		p.scheduleSweep()
	}
}

func (p *pool) scheduleSweep() {
	if p.sweep == nil && len(p.conns) > 1 && !p.closed() {
		p.sweep = time.AfterFunc(idleConn, p.shrink)
	}
}

// shrink closes the extra connections that have been idle for long enough.
func (p *pool) shrink() {
	for _, c := range p.takeIdle() {
		c.Close()
		p.closing.Done()
	}
}

func (p *pool) takeIdle() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep = nil
	if p.closed() {
		return nil
	}
	var idle []*conn
	kept, again := p.conns[:1], false
	for _, c := range p.conns[1:] {
		switch {
		case c.streams > 0:
			kept = append(kept, c)
		case time.Since(c.idleSince) < idleConn:
			kept, again = append(kept, c), true
		default:
			idle = append(idle, c)
		}
	}
	clear(p.conns[len(kept):])
	p.conns = kept
	if again {
		p.scheduleSweep()
	}
	p.closing.Add(len(idle))
	return idle
}

func (p *pool) closed() bool { return p.life.Err() != nil }

// close closes all connections, which ends the calls on them, and waits for a sweep that is under way. Closing again
// does nothing.
func (p *pool) close() error {
	var errs []error
	for _, c := range p.takeAll() {
		errs = append(errs, c.Close())
	}
	p.closing.Wait()
	return errors.Join(errs...)
}

func (p *pool) takeAll() []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end()
	if p.sweep != nil {
		p.sweep.Stop()
	}
	all := p.conns
	p.conns = nil
	return all
}

// translate turns the error of an RPC over p into ours. What fails because p was closed meanwhile says so, whatever
// grpc-go calls it.
func (p *pool) translate(caller context.Context, method string, err error, trailer metadata.MD) *rpcerr.Error {
	e := rpcerr.New(caller, method, err, trailer)
	if !p.closed() || e.Context != nil {
		return e
	}
	switch e.Status.Code() {
	case codes.Canceled, codes.Unavailable:
		return rpcerr.Local(method, codes.Canceled, rpcerr.ErrClosed)
	}
	return e
}
