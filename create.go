package cwsandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

const (
	// undoBudget is how long a create with an unknown outcome is followed up, detached from its caller.
	undoBudget = 30 * time.Second
	// undoPatience is how long the caller waits for that.
	undoPatience = 5 * time.Second
	// undoAttempt bounds one call of the follow-up.
	undoAttempt = 15 * time.Second
)

// creation is one create from its frozen request to its outcome.
type creation struct {
	client  *Client
	op      string
	config  *createConfig
	request createRequest
	entry   *entry
	owner   *sessionState // may be nil
	began   time.Time
	known   *shared // of a repetition: what the first one has made; nil otherwise

	mu     sync.Mutex
	made   *shared           // nil until the id is known
	undone *Future[struct{}] // the undo in flight, or the last one
}

// create sends a create, or two when the first one spills over, and returns the shared state of what it made.
func (c *Client) create(ctx context.Context, op string, owner *sessionState, opts []Option) (*shared, error) {
	config, err := newCreateConfig(op, c.config.environment, owner.options(), opts)
	if err != nil {
		return nil, err
	}
	config.mark(c.host.self())
	second := config.spilled()
	s, first := c.createOnce(ctx, op, owner, config)
	if second == nil || ctx.Err() != nil || !spills(first) {
		return s, first
	}
	c.config.logger.Info("no runner takes the sandbox, trying elsewhere", "placement", second.mode(), "error", first)
	if s, err = c.createOnce(ctx, op, owner, second); err != nil {
		return nil, afterSpilling(config.mode(), first, second.mode(), err)
	}
	return s, nil
}

// createOnce is one try of a create.
func (c *Client) createOnce(ctx context.Context, op string, owner *sessionState, config *createConfig) (*shared, error) {
	requestID := newRequestID()
	config.wrap(requestID)
	cr := &creation{client: c, op: op, config: config, owner: owner, request: config.request(requestID), began: time.Now()}
	s, err := cr.carryOut(ctx)
	if err != nil {
		return nil, err
	}
	// A logger may block: by now neither a cleanup nor a close waits for this create.
	c.config.logger.LogAttrs(ctx, slog.LevelDebug, "a sandbox was created", slog.String("op", op),
		slog.String("sandbox", s.id), slog.Any("state", s.snapshot().State), slog.String("request_id", requestID))
	return s, nil
}

// carryOut makes the sandbox. Whatever happens, nothing is left behind unseen: a create whose outcome is unknown is
// replayed, with the same request id, and what comes back is deleted.
func (cr *creation) carryOut(ctx context.Context) (*shared, error) {
	c, op, owner := cr.client, cr.op, cr.owner
	if err := ctx.Err(); err != nil {
		return nil, cr.call().wrap(ctxError(ctx))
	}
	if c.isClosed() {
		return nil, cr.call().refuse("the client is closed", ErrClosed)
	}
	bounded, release, err := owner.creating(ctx, op)
	if err != nil {
		return nil, err
	}
	defer release()
	defer c.registry.signals.afterSignal()
	if bounded, err = c.registry.begin(bounded, cr); err != nil {
		return nil, err
	}
	defer c.registry.decide(cr.entry)
	s, err := cr.run(bounded)
	switch {
	case err != nil:
		return nil, cr.blame(bounded, owner.blame(ctx, cr.call(), err))
	case c.registry.cleaning():
		return nil, cr.abandon(cr.call().refuse(errCleaning.Error(), ErrClosed))
	case owner.adopt(op, s) != nil:
		return nil, cr.abandon(cr.call().refuse("the session was closed meanwhile", ErrClosed))
	}
	owner.count()
	return s, nil
}

// blame replaces the error of a create that ended only because a cleanup began.
func (cr *creation) blame(ctx context.Context, err error) error {
	if context.Cause(ctx) != errCleaning || !errors.Is(err, errCleaning) {
		return err
	}
	closed := cr.call().refuse(errCleaning.Error(), ErrClosed)
	if errors.Is(err, ErrUndecided) {
		return undecided(closed)
	}
	return closed
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80 // version 4, variant 1
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func (cr *creation) call() call {
	return call{op: cr.op, requestID: cr.request.GetRequestId()}
}

// run sends the request. UNAVAILABLE is repeated by the transport; any other answer that leaves the outcome open is
// repeated here, once, as long as the caller waits.
func (cr *creation) run(ctx context.Context) (*shared, error) {
	limit := transport.Timeout(cr.config.requestTimeout)
	s, open, first := cr.try(ctx, limit, transport.RepeatUnless(cr.spills))
	if first == nil {
		return s, nil
	}
	if open && ctx.Err() == nil && !unavailable(first) {
		s, err := cr.send(ctx, limit, transport.RepeatUnless(cr.spills))
		if err == nil {
			return s, nil
		}
		if open = !conclusive(err); !open {
			first = err
		}
	}
	if !open {
		cr.forget()
		return nil, cr.call().wrap(first)
	}
	return nil, cr.abandon(cr.call().wrap(first))
}

// try is send, and reports whether a failure leaves open what became of the create.
func (cr *creation) try(ctx context.Context, opts ...grpc.CallOption) (s *shared, open bool, err error) {
	doubt := false
	watch := transport.OnRetry(func(err error) { doubt = doubt || ambiguous(err) })
	s, err = cr.send(ctx, append(opts, watch)...)
	return s, err != nil && (ambiguous(err) || doubt && !conclusive(err)), err
}

// again repeats a create that has made s, for what its answer tells. It is tracked as the first one was: a service that has
// forgotten that one makes another sandbox, which is deleted, even if the answer is lost.
func (cr *creation) again(ctx context.Context, op string, s *shared, opts ...grpc.CallOption) error {
	repeated := &creation{client: cr.client, op: op, config: cr.config, request: cr.request, known: s}
	ctx, err := cr.client.registry.begin(ctx, repeated)
	if err != nil {
		return err
	}
	defer cr.client.registry.decide(repeated.entry)
	other, open, err := repeated.try(ctx, opts...)
	switch {
	case err == nil && other == s:
		return nil
	case err == nil:
		err = repeated.call().refuse("the service has forgotten the create", ErrNotFound)
	case !open:
		repeated.forget()
		return err
	}
	return repeated.blame(ctx, repeated.abandon(repeated.call().wrap(err)))
}

// spills reports whether a failure ends this try because there is another place.
func (cr *creation) spills(rpc *rpcerr.Error) bool {
	return cr.config.spillover.value != SpilloverNone && placement(rpc)
}

// forget takes the create out of the registry: it made nothing.
func (cr *creation) forget() {
	cr.client.registry.remove(cr.entry)
	cr.client.settled()
}

// abandon undoes the create, because of cause, and returns cause with what became of that.
func (cr *creation) abandon(cause error) error {
	work := cr.undoOnce(cr.owner.hold())
	cr.client.registry.decide(cr.entry)
	return patiently(cause, work)
}

// undoOnce undoes the create, detached from every caller, or joins the undo that is in flight, and calls release when that
// is over.
func (cr *creation) undoOnce(release func()) *Future[struct{}] {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	if cr.undone != nil && !cr.undone.finished() {
		release()
		return cr.undone
	}
	cr.undone = undo(cr.client, func(ctx context.Context) error {
		defer release()
		return cr.replayAndDelete(ctx)
	})
	return cr.undone
}

// send makes one call, with the transport's retries, and takes over the answer.
func (cr *creation) send(ctx context.Context, opts ...grpc.CallOption) (*shared, error) {
	c := cr.client
	n := c.request()
	record, err := c.sendCreate(ctx, cr.request, opts...)
	if err != nil {
		return nil, err
	}
	if record.GetSandboxId() == "" {
		return nil, errNoID
	}
	s := c.stateOf(record.GetSandboxId())
	if s == cr.known {
		cr.forget()
		s.noteToken(cr, record)
		s.apply(n, record)
		return s, nil
	}
	s.mu.Lock()
	s.grace, s.info.lease = cr.config.grace, cr.config.wrapped
	if s.info.Volumes == nil { // the answer may not repeat the spec
		s.info.Volumes = slices.Clone(cr.config.volumes.value.volumes)
	}
	s.starting.begin(cr)
	s.mu.Unlock()
	s.choosePath(cr.config.dataPlane)
	cr.mu.Lock()
	cr.made = s
	cr.mu.Unlock()
	c.registry.created(cr.entry, s)
	s.noteToken(cr, record)
	s.learn(n, record)
	c.expiry.arm(s.expires())
	c.beats.keep(s)
	return s, nil
}

var errNoID = errors.New("the service accepted the sandbox but did not say its id")

// ambiguous reports whether a failed create may have made a sandbox all the same.
func ambiguous(err error) bool {
	var rpc *rpcerr.Error
	if !errors.As(err, &rpc) {
		return errors.Is(err, errNoID)
	}
	if !rpc.Sent || placement(rpc) {
		return false
	}
	switch rpc.Status.Code() {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss:
		return true
	}
	return false
}

// conclusive reports whether the refusal of a repeated create says that no sandbox was made: the service answered, and got
// as far as the request id, under which it would have found one. It checks credentials before that, and whoever limits
// the rate of calls does not look at them at all.
func conclusive(err error) bool {
	var rpc *rpcerr.Error
	switch {
	case !errors.As(err, &rpc), rpc.Context != nil, rpc.Err != nil, ambiguous(err), !rpc.Sent:
		return false
	case placement(rpc):
		return true
	case rpcerr.Transient(rpc):
		return false
	}
	switch rpc.Status.Code() {
	case codes.Unauthenticated, codes.PermissionDenied:
		return false
	case codes.Unimplemented: // grpc-go's word for the 404 of a proxy too
		return false
	}
	return true
}

func unavailable(err error) bool {
	var rpc *rpcerr.Error
	return errors.As(err, &rpc) && rpcerr.Transient(rpc)
}

// undo runs fn detached from every caller, under the undo budget. If it fails, that is logged, and the registry keeps what
// was not undone.
func undo(c *Client, fn func(context.Context) error) *Future[struct{}] {
	return Go(func() (struct{}, error) {
		ctx, cancel := context.WithTimeoutCause(context.Background(), undoBudget, errOwnLimit)
		defer cancel()
		err := fn(ctx)
		if err != nil {
			c.config.logger.Warn("a sandbox may be left behind", "error", err)
		}
		return struct{}{}, err
	})
}

// patiently returns cause with what became of an undo. The caller waits for that a moment: what is not settled by then
// goes on, and the error matches ErrUndecided.
func patiently(cause error, work *Future[struct{}]) error {
	timer := time.NewTimer(undoPatience)
	defer timer.Stop()
	select {
	case <-work.Done():
		if _, err := work.Wait(); err != nil {
			return joined(cause, err)
		}
		return cause
	case <-timer.C:
		return undecided(cause)
	}
}

// replayAndDelete repeats the create until its outcome is known, unless it is already, and deletes what it made. What cannot
// be undone, the sandbox or the create itself, is left with the session that owns the create.
func (cr *creation) replayAndDelete(ctx context.Context) error {
	cr.mu.Lock()
	s, err := cr.made, error(nil)
	cr.mu.Unlock()
	if s == nil {
		s, err = cr.replay(ctx)
	}
	switch {
	case err == nil && s == cr.known:
		cr.release()
		return nil
	case err == nil:
		if err = s.discard(ctx); err != nil {
			cr.owner.own(s)
		}
		cr.release()
		return err
	case !conclusive(err):
		cr.keep()
		return undecided(cr.call().wrap(err))
	}
	cr.release()
	cr.forget() // the service would have returned a sandbox
	return nil
}

// replay repeats the create with growing pauses until the answer is definite or ctx ends.
func (cr *creation) replay(ctx context.Context) (*shared, error) {
	for interval := firstInterval; ; interval = min(2*interval, largestInterval) {
		s, err := cr.send(ctx, transport.AfterDrain(), transport.AttemptTimeout(undoAttempt), transport.RetryFor(undoBudget))
		if err == nil || conclusive(err) || errors.Is(err, rpcerr.ErrClosed) {
			return s, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(jitter(interval)):
		}
	}
}

// rollback undoes a Run whose sandbox did not come up: delete, without waiting for the end. It returns what went wrong,
// joined with the failure of the delete.
func (s *shared) rollback(cause error) error {
	s.mu.Lock()
	over := s.gone || s.ended() || s.info.stopped
	s.mu.Unlock()
	if over {
		return cause
	}
	return patiently(cause, undo(s.client, s.discard))
}

// discard deletes the sandbox at once and returns when the service has accepted that.
func (s *shared) discard(ctx context.Context) error {
	if _, err := s.deleteOnce(removal{insist: true}).WaitContext(ctx); err != nil {
		return err
	}
	s.untrack()
	return nil
}

// undecided adds ErrUndecided to an error whose undoing is not over.
func undecided(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return errors.Join(err, ErrUndecided)
	}
	return e.with(ErrUndecided)
}

// joined adds a second failure to an error, in one line.
func joined(first, second error) error {
	var e *Error
	if !errors.As(first, &e) {
		return errors.Join(first, second)
	}
	e = e.with(second)
	e.text += "; and " + strings.TrimPrefix(second.Error(), "cwsandbox: ")
	return e
}
