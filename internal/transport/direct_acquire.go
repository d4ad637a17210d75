package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cenkalti/backoff/v4"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// autoBudget is for a credential and a connection together where the gateway would do as well.
	autoBudget = time.Second
	// cooldown is how long nothing direct is tried after that has failed.
	cooldown = 30 * time.Second

	directBudget  = 10 * time.Second // likewise, where nothing else will do
	directAttempt = 5 * time.Second  // of that, for one request of a credential

	firstReissue   = 200 * time.Millisecond
	longestReissue = time.Second
)

// grant is what a path has for one permission.
type grant struct {
	credential *credential // the newest; nil: none
	link       *link       // the newest; nil: none
	flight     *flight     // nil: nobody is connecting
}

// flight is one attempt to get a connection. It is detached from those who wait for it: when they have gone to the
// gateway it goes on, for the next one.
type flight struct {
	mode    Mode
	epoch   int
	done    chan struct{}
	waiting int // guarded by the directory's mutex

	// Valid after done.
	link *link // with a lease for each who waited
	err  error
}

// acquire returns a link with a lease for a call that is about to begin, or nil when the gateway is to carry it. The
// caller's context says what counts as the caller's end; ctx is that context with the call's deadline.
func (p *Path) acquire(caller, ctx context.Context, method string) (*link, *rpcerr.Error) {
	l, f, e := p.look(method)
	if f == nil {
		return l, e
	}
	var enough <-chan time.Time
	if f.mode == Auto {
		timer := time.NewTimer(patience(ctx))
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case <-f.done:
		return p.landed(f, method)
	case <-enough:
		p.leave(f)
		return nil, nil
	case <-ctx.Done():
		p.leave(f)
		return nil, rpcerr.New(caller, method, status.FromContextError(ctx.Err()).Err(), nil)
	}
}

// patience is how long a call waits for a direct connection that it can do without: it leaves at least as much time for
// the call itself.
func patience(ctx context.Context) time.Duration {
	if deadline, ok := ctx.Deadline(); ok {
		return min(autoBudget, time.Until(deadline)/2)
	}
	return autoBudget
}

// look decides what there is to decide at once: a link, or the gateway, or an error; or else a flight to wait for.
func (p *Path) look(method string) (*link, *flight, *rpcerr.Error) {
	d, permission := p.d, permissions[method]
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch {
	case p.mode == Gateway || permission == 0:
		return nil, nil, nil
	case d.closed:
		return nil, nil, rpcerr.Local(method, codes.Canceled, rpcerr.ErrClosed)
	case p.mode == Auto && (now.Before(p.cooling) || now.Before(d.unserved)):
		return nil, nil, nil
	}
	g := p.grants[permission]
	if g == nil {
		g = new(grant)
		p.grants[permission] = g
	}
	fresh := g.credential.fresh(now, streams[permission])
	switch {
	case fresh && g.credential.denied && p.mode == Auto:
		return nil, nil, nil
	case fresh && g.credential.denied:
		return nil, nil, unreachable(method, errDenied)
	case fresh && g.link.usableLocked():
		g.link.leaseLocked()
		return g.link, nil, nil
	}
	if g.link != nil { // calls on it go on
		g.link.discardLocked()
		g.link = nil
	}
	if !fresh {
		g.credential = nil
	}
	if g.flight == nil {
		g.flight = &flight{mode: p.mode, epoch: p.epoch, done: make(chan struct{})}
		f, cred := g.flight, g.credential
		d.work.Go(func() { p.fly(f, g, permission, cred) })
	}
	g.flight.waiting++
	return nil, g.flight, nil
}

// leave takes a caller that has waited long enough out of the flight.
func (p *Path) leave(f *flight) {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	f.waiting--
	select {
	case <-f.done:
		if f.link != nil {
			f.link.releaseLocked()
		}
	default:
	}
}

// landed is what a flight has come to, for one of those who waited for it.
func (p *Path) landed(f *flight, method string) (*link, *rpcerr.Error) {
	var rpc *rpcerr.Error
	switch {
	case f.err == nil:
		return f.link, nil
	case errors.As(f.err, &rpc) && !passing(rpc):
		return nil, rpc
	case f.mode == Auto:
		return nil, nil
	case errors.As(f.err, &rpc) && rpc.Decides():
		return nil, rpc
	}
	return nil, unreachable(method, f.err)
}

// passing reports whether the refusal of a credential says that there is no direct connection to be had now, as opposed
// to one that the caller has to know of.
func passing(e *rpcerr.Error) bool {
	if e.Context != nil { // of the flight
		return true
	}
	if e.Err != nil {
		return false
	}
	switch e.Status.Code() {
	case codes.DeadlineExceeded, codes.FailedPrecondition, codes.ResourceExhausted, codes.Unavailable, codes.Unimplemented:
		return true
	}
	return rpcerr.Transient(e)
}

func unreachable(method string, cause error) *rpcerr.Error {
	return rpcerr.Local(method, codes.Unavailable, fmt.Errorf("connect to the data plane of the sandbox: %w", cause))
}

// fly gets a connection and hands it to those who wait for it.
func (p *Path) fly(f *flight, g *grant, permission sandboxv1.SandboxDataPermission, cred *credential) {
	budget := directBudget
	if f.mode == Auto {
		budget = min(autoBudget, p.d.t.requestTimeout)
	}
	ctx, cancel := context.WithTimeout(p.d.life, budget)
	defer cancel()
	var err error
	if cred == nil {
		cred, err = p.issue(ctx, f.mode, permission)
	}
	var l *link
	if err == nil && !cred.denied {
		if l, err = p.d.connect(ctx, cred, f.mode == Direct); err != nil {
			cred = nil // it may be what was wrong
		}
	}
	if p.settle(f, g, cred, l, err) {
		p.d.t.logger.LogAttrs(context.Background(), slog.LevelDebug, "no direct connection, the gateway is used",
			slog.String("sandbox", p.sandbox), slog.String("permission", permission.String()),
			slog.Duration("for", cooldown), slog.Any("error", err))
	}
}

// settle writes down what a flight has come to, and reports whether nothing direct is tried for a while.
func (p *Path) settle(f *flight, g *grant, cred *credential, l *link, err error) (cools bool) {
	d := p.d
	d.mu.Lock()
	defer d.mu.Unlock()
	defer close(f.done)
	if g.flight == f {
		g.flight = nil
	}
	if d.closed {
		if l != nil {
			l.conn.Close()
		}
		l, err = nil, rpcerr.Local(sandboxv1.SandboxService_ConnectSandbox_FullMethodName, codes.Canceled, rpcerr.ErrClosed)
	}
	current := f.epoch == p.epoch
	if current {
		g.credential = cred
	}
	switch {
	case l != nil:
		d.keepLocked(l, cred, f.waiting)
		f.link = l
		if current {
			g.link, p.cooling = l, time.Time{}
		} else {
			l.discardLocked()
		}
		return false
	case err == nil:
		f.err = errDenied
		return false
	}
	f.err = err
	return current && p.coolLocked(f.mode, err)
}

// coolLocked begins the time in which nothing direct is tried, if err is a reason for that.
func (p *Path) coolLocked(mode Mode, err error) bool {
	var rpc *rpcerr.Error
	isRPC := errors.As(err, &rpc)
	if mode != Auto || isRPC && !passing(rpc) {
		return false
	}
	p.cooling = time.Now().Add(cooldown)
	if isRPC && rpc.Status.Code() == codes.Unimplemented { // by no sandbox of this service
		p.d.unserved = p.cooling
	}
	return true
}

// issue asks for a credential. Where nothing else will do it asks again while the service is not available.
func (p *Path) issue(ctx context.Context, mode Mode, permission sandboxv1.SandboxDataPermission) (*credential, error) {
	i, err := newIssuance(p.sandbox, permission)
	if err != nil {
		return nil, err
	}
	stub := sandboxv1.NewSandboxServiceClient(p.d.t)
	var answer *sandboxv1.SandboxConnection
	var last error
	ask := func() error {
		ctx, cancel := context.WithTimeout(ctx, directAttempt)
		defer cancel()
		answer, last = stub.ConnectSandbox(ctx, i.request)
		if status.Code(last) == codes.Unavailable && mode == Direct {
			return last
		}
		return backoff.Permanent(last)
	}
	again := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstReissue), backoff.WithMultiplier(2),
		backoff.WithMaxInterval(longestReissue), backoff.WithMaxElapsedTime(0))
	_ = backoff.Retry(ask, backoff.WithContext(again, ctx)) // the last answer says more than the end of the budget
	if last != nil {
		return nil, last
	}
	return i.accept(answer, p.d.roots)
}

// Drop forgets the credentials of the sandbox and closes its direct connections as soon as no call is on them: the
// sandbox has ended. Later calls begin anew.
func (p *Path) Drop() {
	p.d.mu.Lock()
	defer p.d.mu.Unlock()
	p.epoch++
	p.cooling = time.Time{}
	for permission, g := range p.grants {
		if g.link != nil {
			g.link.discardLocked()
		}
		delete(p.grants, permission)
	}
}
