package cwsandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// undoBudget is how long a create with an unknown outcome is followed up, detached from its caller.
	undoBudget = 30 * time.Second
	// undoPatience is how long the caller waits for that.
	undoPatience = 5 * time.Second
	// undoAttempt bounds one call of the follow-up.
	undoAttempt = 15 * time.Second
)

// creation is one CreateSandbox from its frozen request to its outcome.
type creation struct {
	client  *Client
	op      string
	config  *createConfig
	request *sandboxv1.CreateSandboxRequest
	entry   *entry
	owner   *sessionState // may be nil
}

// create sends a create and returns the shared state of what it made. Whatever happens, nothing is left behind unseen:
// a create whose outcome is unknown is replayed, with the same request id, and what comes back is deleted.
func (c *Client) create(ctx context.Context, op string, owner *sessionState, opts []Option) (*shared, error) {
	config, err := newCreateConfig(op, c.config.environment, owner.options(), opts)
	if err != nil {
		return nil, err
	}
	requestID := newRequestID()
	cr := &creation{client: c, op: op, config: config, owner: owner, request: config.request(requestID)}
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
	cr.entry = c.registry.begin(c, cr.request)
	s, err := cr.run(bounded)
	if err == nil && !owner.adopt(s) {
		err = cr.abandon(cr.call().refuse("the session was closed meanwhile", ErrClosed))
	}
	if err != nil {
		return nil, owner.blame(ctx, cr.call(), err)
	}
	return s, nil
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
	s, first := cr.send(ctx, limit)
	if first == nil {
		return s, nil
	}
	open := undecidedBy(first)
	if open && ctx.Err() == nil && !unavailable(first) {
		s, err := cr.send(ctx, limit)
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

// forget takes the create out of the registry: it made nothing.
func (cr *creation) forget() {
	cr.client.registry.remove(cr.entry)
	cr.client.settled()
}

// abandon undoes the create, because of cause, and returns cause with what became of that. A session that owns the create
// does not finish closing before the undo is over, and keeps what could not be undone.
func (cr *creation) abandon(cause error) error {
	held := cr.owner.hold()
	return undo(cr.client, cause, func(ctx context.Context) error {
		defer held()
		return cr.undoOrKeep(ctx)
	})
}

// send makes one call, with the transport's retries, and takes over the answer.
func (cr *creation) send(ctx context.Context, opts ...grpc.CallOption) (*shared, error) {
	c := cr.client
	n := c.request()
	record, err := c.sandboxes.CreateSandbox(ctx, cr.request, opts...)
	if err != nil {
		return nil, err
	}
	if record.GetSandboxId() == "" {
		return nil, errNoID
	}
	s := c.stateOf(record.GetSandboxId())
	s.mu.Lock()
	s.grace = cr.config.grace
	s.mu.Unlock()
	c.registry.created(cr.entry, s)
	s.apply(n, record)
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

// undecidedBy is ambiguous for a call whose earlier attempts, repeated by the transport, may have made the sandbox: then
// a last attempt that did not get to the service proves nothing.
func undecidedBy(err error) bool {
	var rpc *rpcerr.Error
	if errors.As(err, &rpc) && rpc.Attempts > 1 {
		return !conclusive(err)
	}
	return ambiguous(err)
}

// conclusive reports whether the refusal of a repeated create says that no sandbox was made: the service answered, and got
// as far as the request id, under which it would have found one. It checks credentials before that.
func conclusive(err error) bool {
	var rpc *rpcerr.Error
	if !errors.As(err, &rpc) || rpc.Context != nil || rpc.Err != nil || ambiguous(err) || !rpc.Sent {
		return false
	}
	code := rpc.Status.Code()
	return code != codes.Unauthenticated && code != codes.PermissionDenied
}

func unavailable(err error) bool {
	var rpc *rpcerr.Error
	return errors.As(err, &rpc) && rpcerr.Transient(rpc)
}

// undo runs fn because of cause, detached from every caller, under the undo budget, and returns cause with what became of
// that. The caller waits for it a moment: what is not settled by then goes on, and the error matches ErrUndecided. If it
// fails, that is logged, and the registry keeps what was not undone.
func undo(c *Client, cause error, fn func(context.Context) error) error {
	work := Go(func() (struct{}, error) {
		err := withUndoBudget(fn)
		if err != nil {
			c.config.logger.Warn("a sandbox may be left behind", "error", err)
		}
		return struct{}{}, err
	})
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

func withUndoBudget(fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), undoBudget, errOwnLimit)
	defer cancel()
	return fn(ctx)
}

// undoOrKeep undoes the create, or leaves it with the session that owns it.
func (cr *creation) undoOrKeep(ctx context.Context) error {
	err := cr.replayAndDelete(ctx)
	if err != nil {
		cr.owner.keep(cr)
	}
	return err
}

// replayAndDelete repeats the create until its outcome is known and deletes what it made.
func (cr *creation) replayAndDelete(ctx context.Context) error {
	s, err := cr.replay(ctx)
	switch {
	case err == nil:
		return s.discard(ctx)
	case !conclusive(err):
		return undecided(cr.call().wrap(err))
	}
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
	return undo(s.client, cause, s.discard)
}

// discard deletes the sandbox at once and returns when the service has accepted that.
func (s *shared) discard(ctx context.Context) error {
	req := &sandboxv1.DeleteSandboxRequest{SandboxId: s.id, AllowMissing: true}
	n := s.client.request()
	reply, err := s.client.sandboxes.DeleteSandbox(ctx, req,
		transport.AfterDrain(), transport.AttemptTimeout(undoAttempt), transport.RetryFor(undoBudget))
	err = call{op: "delete", sandbox: s.id}.wrap(err)
	switch {
	case answeredNotFound(err), err == nil && reply.GetSandbox() == nil:
		s.lost()
		return nil
	case err != nil:
		return err
	}
	s.accepted(n, reply.GetSandbox())
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
