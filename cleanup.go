package cwsandbox

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

const (
	// defaultCleanupTimeout leaves some room in the 7.5 seconds that a cancelled CI step commonly gets before it is killed.
	defaultCleanupTimeout = 7 * time.Second
	// cleanupWidth is how many deletes a cleanup has in flight.
	cleanupWidth = 1000
	// hurriedGrace is the longest grace that is sent where the cleanup timeout bounds it all: the service may answer a delete
	// only when the grace is over.
	hurriedGrace = 5 * time.Second
)

// Cleanup stops everything that this process tracks: every sandbox that it made or adopted through any client, in a
// session or not, and that is not known to have ended. The deletes go out in parallel; Cleanup returns when the service
// has taken all of them, without waiting for the sandboxes to end. A create in flight is ended, and what it made is
// deleted. While Cleanup runs, new creates are refused with [ErrClosed]; afterwards they are allowed again.
//
// Without a deadline on ctx it ends after the cleanup timeout, see [SetCleanupTimeout], and the graces of the sandboxes are
// cut to 5 seconds. A ctx that has ended before does not count, because undoing must not be skipped. The error joins one for each
// sandbox that was not stopped, with its id, or the request id of a create whose outcome is still unknown; those stay
// tracked, and another Cleanup tries them again. Calls that overlap share the work.
//
// Go runs nothing by itself when main returns: see [Main], or write
// defer cwsandbox.Cleanup(context.Background()).
func Cleanup(ctx context.Context) error {
	longest := time.Duration(0)
	if _, ok := ctx.Deadline(); !ok || ctx.Err() != nil {
		var cancel context.CancelFunc
		parent := ctx
		if ctx.Err() != nil {
			parent = context.WithoutCancel(ctx)
		}
		ctx, cancel = context.WithTimeoutCause(parent, cleanupTimeout(), errOwnLimit)
		defer cancel()
		longest = hurriedGrace
	}
	_, left := processRegistry.cleanup(ctx, longest)
	return errors.Join(left...)
}

// ownBudget is what the end of the program may take, and the longest grace that fits in.
func ownBudget() (ctx context.Context, cancel context.CancelFunc, longest time.Duration) {
	ctx, cancel = context.WithTimeoutCause(context.Background(), cleanupTimeout(), errOwnLimit)
	return ctx, cancel, hurriedGrace
}

// Tracked returns how many sandboxes [Cleanup] would have to stop: those that this process made or adopted, creates in
// flight included, but for those that have ended or whose stop the service has taken.
func Tracked() int { return processRegistry.unsettled() }

var chosenCleanupTimeout atomic.Int64

// SetCleanupTimeout sets how long the cleanup at the end of the program may take: on a signal, in [Exit] and [Main], and in
// [Cleanup] without a deadline. Zero or less means CWSANDBOX_CLEANUP_TIMEOUT again, and 7 seconds where that is not set.
func SetCleanupTimeout(d time.Duration) { chosenCleanupTimeout.Store(int64(d)) }

func cleanupTimeout() time.Duration {
	if d := time.Duration(chosenCleanupTimeout.Load()); d > 0 {
		return d
	}
	return cmp.Or(processEnvironment().cleanupTimeout, defaultCleanupTimeout)
}

// cleanup stops everything that is in the registry and returns how many sandboxes it stopped, and an error for each that
// it did not before ctx ended. Graces are cut to longest, unless that is zero.
func (r *registry) cleanup(ctx context.Context, longest time.Duration) (stopped int, left []error) {
	round := r.enter(longest)
	defer r.leave()
	round.wait(ctx, nil)
	return round.verdict(ctx)
}

// enter joins the running round, or begins one.
func (r *registry) enter(longest time.Duration) *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleaners++
	if r.round == nil {
		r.round = &round{registry: r, longest: longest, done: make(chan struct{}), failed: make(map[*entry]error)}
		for e := range r.entries {
			r.round.entries = append(r.round.entries, e)
			e.interrupt(errCleaning)
		}
		go r.round.run()
	}
	return r.round
}

// leave ends the round for one caller. What the last one leaves behind ends by its own budgets.
func (r *registry) leave() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cleaners--; r.cleaners == 0 {
		r.round = nil
	}
}

// round is one attempt to stop everything that was in the registry when it began.
type round struct {
	registry *registry
	entries  []*entry
	longest  time.Duration
	done     chan struct{}

	mu     sync.Mutex
	failed map[*entry]error
}

// run deletes what has an id and follows up the creates that have none, side by side: neither kind waits for the other.
func (rd *round) run() {
	var deletes, undos []*entry
	rd.registry.mu.Lock()
	for _, e := range rd.entries {
		if e.state != nil {
			deletes = append(deletes, e)
		} else {
			undos = append(undos, e)
		}
	}
	rd.registry.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { rd.each(deletes, rd.stop) })
	both.Go(func() { rd.each(undos, rd.settle) })
	both.Wait()
	close(rd.done)
	rd.log()
}

// wait waits until everything is stopped, and until the channel beside is closed, unless that is nil, or until ctx ends.
func (rd *round) wait(ctx context.Context, beside <-chan struct{}) {
	select {
	case <-rd.done:
	case <-ctx.Done():
	}
	if beside != nil {
		select {
		case <-beside:
		case <-ctx.Done():
		}
	}
}

// log tells each client's logger how many of its sandboxes were stopped.
func (rd *round) log() {
	counts := make(map[*Client]int)
	rd.registry.mu.Lock()
	for _, e := range rd.entries {
		if e.stopped() {
			counts[e.client]++
		}
	}
	rd.registry.mu.Unlock()
	for c, n := range counts {
		c.config.logger.Info("the cleanup stopped sandboxes", "count", n)
	}
}

// find returns the sandbox or the create of an entry that is still tracked; neither when it is not any more.
func (rd *round) find(e *entry) (*shared, *creation) {
	rd.registry.mu.Lock()
	defer rd.registry.mu.Unlock()
	if _, tracked := rd.registry.entries[e]; !tracked {
		return nil, nil
	}
	return e.state, e.create
}

// each calls fn with all entries, cleanupWidth at a time, and remembers what failed.
func (rd *round) each(entries []*entry, fn func(*entry) error) {
	var workers sync.WaitGroup
	var next atomic.Int64
	for range min(len(entries), cleanupWidth) {
		workers.Go(func() {
			for i := next.Add(1); i <= int64(len(entries)); i = next.Add(1) {
				e := entries[i-1]
				if err := fn(e); err != nil {
					rd.mu.Lock()
					rd.failed[e] = err
					rd.mu.Unlock()
					e.client.config.logger.Error("the cleanup could not stop a sandbox", "error", err) // may block
				}
			}
		})
	}
	workers.Wait()
}

// stop has a sandbox deleted, or joins the delete that is in flight, unless somebody has let it go meanwhile.
func (rd *round) stop(e *entry) error {
	s, _ := rd.find(e)
	if s == nil {
		return nil
	}
	s.mu.Lock()
	grace := s.grace
	s.mu.Unlock()
	if rd.longest > 0 {
		grace = min(grace, rd.longest)
	}
	_, err := s.deleteOnce(removal{grace: grace}).Wait()
	return err
}

// settle follows up a create. Its calls were interrupted when the round began.
func (rd *round) settle(e *entry) error {
	<-e.decided
	s, cr := rd.find(e)
	switch {
	case s != nil:
		return rd.stop(e)
	case cr != nil:
		_, err := cr.undoOnce(func() {}).Wait()
		return err
	}
	return nil // it made nothing, or that is deleted already
}

// verdict says what became of the entries so far: how many sandboxes were stopped, and what is left, in the order of ids.
func (rd *round) verdict(ctx context.Context) (stopped int, left []error) {
	rd.registry.mu.Lock()
	defer rd.registry.mu.Unlock()
	for _, e := range rd.entries {
		if _, tracked := rd.registry.entries[e]; tracked && !e.accepted() {
			left = append(left, rd.failure(ctx, e))
		} else if e.stopped() {
			stopped++
		}
	}
	slices.SortFunc(left, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return stopped, left
}

// unconfirmed is the error of a stop that took longer than a cleanup may, with what has kept it from succeeding so far.
func (s *shared) unconfirmed(causes []error) error {
	s.mu.Lock()
	resisted := s.resisted
	s.mu.Unlock()
	c, text := call{op: "cleanup", sandbox: s.id}, "the service did not confirm the stop in time"
	var rpc *rpcerr.Error
	if errors.As(resisted, &rpc) {
		causes = append(causes, c.translate(rpc))
		text += "; the last failure: " + describe(rpc)
	}
	return c.refuse(text, causes...)
}

// failure is why an entry is left.
func (rd *round) failure(ctx context.Context, e *entry) error {
	rd.mu.Lock()
	err := rd.failed[e]
	rd.mu.Unlock()
	if err != nil {
		return err
	}
	c, causes := call{op: "cleanup"}, []error{ErrTimeout}
	if !errors.Is(context.Cause(ctx), errOwnLimit) {
		causes = append(causes, ctxError(ctx))
	}
	if e.state != nil {
		return e.state.unconfirmed(causes)
	}
	c.requestID = e.create.request.GetRequestId()
	return c.refuse("the outcome of a create is unknown, and was not found out in time", append(causes, ErrUndecided)...)
}
