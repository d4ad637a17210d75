package cwsandbox

import (
	"context"
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

const (
	// expiryMargin is how long after the end of its lifetime a sandbox is looked at, so that the service has seen the
	// end.
	expiryMargin = 5 * time.Minute
	// expiryAgain is when the next look follows if the sandbox is still there, or the service could not be asked.
	expiryAgain = time.Hour
	// expiryPause is the least time between two rounds. Those that end one shortly after the other share one.
	expiryPause = time.Minute
	// expiryTimeout bounds one look.
	expiryTimeout = 30 * time.Second
	// expiryAtATime is how many looks are under way together.
	expiryAtATime = 100
)

// expiry looks at what is tracked once its lifetime is over, so that nothing piles up in a program that runs for weeks and
// does not wait for the ends of its sandboxes. One timer serves all sandboxes of a client; it stands still while nothing
// is tracked.
type expiry struct {
	client *Client
	round  sync.Mutex // held by the round that is under way

	mu      sync.Mutex
	timer   *time.Timer // nil: none is due
	at      time.Time   // when it fires
	stopped bool
	open    map[*creation]time.Time // creates that could not be undone, and when nothing can be left of them
}

// arm makes sure that there is a round at the given time or earlier.
func (x *expiry) arm(at time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.armLocked(at)
}

func (x *expiry) armLocked(at time.Time) {
	if x.stopped || x.timer != nil && !at.Before(x.at) {
		return
	}
	if x.timer != nil {
		x.timer.Stop()
	}
	x.at, x.timer = at, time.AfterFunc(time.Until(at), x.run)
}

func newExpiry(c *Client) *expiry {
	return &expiry{client: c, open: make(map[*creation]time.Time)}
}

// stop ends the timer for good. A round that is under way ends with the connections of the client.
func (x *expiry) stop() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stopped = true
	if x.timer != nil {
		x.timer.Stop()
		x.timer = nil
	}
}

// run is one round, on the timer's goroutine.
func (x *expiry) run() {
	x.round.Lock()
	defer x.round.Unlock()
	if !x.begin() {
		return
	}
	now := time.Now()
	x.dropCreates(now)
	due, _ := x.due(now)
	lookAt(due)
	if _, next := x.due(time.Now()); !next.IsZero() {
		x.arm(laterOf(next, time.Now().Add(expiryPause)))
	}
}

// begin opens a round. A sandbox that is tracked from here on arms the timer anew.
func (x *expiry) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.timer = nil
	return !x.stopped
}

// due returns the tracked sandboxes whose time has come, and the first time after now at which there is something to do.
func (x *expiry) due(now time.Time) (due []*shared, next time.Time) {
	for _, s := range x.client.registry.statesOf(x.client) {
		at := s.expires()
		if at.After(now) {
			next = firstOf(next, at)
		} else {
			due = append(due, s)
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, at := range x.open {
		next = firstOf(next, at)
	}
	return due, next
}

// lookAt asks once for each sandbox.
func lookAt(due []*shared) {
	var looks sync.WaitGroup
	slots := make(chan struct{}, expiryAtATime)
	for _, s := range due {
		slots <- struct{}{}
		looks.Go(func() {
			s.lookAtEnd()
			<-slots
		})
	}
	looks.Wait()
}

// lookAtEnd asks for a sandbox whose lifetime is over. An end that the answer tells untracks it.
func (s *shared) lookAtEnd() {
	ctx, cancel := context.WithTimeout(context.Background(), expiryTimeout)
	defer cancel()
	if answeredNotFound(s.get(ctx, "get", transport.AfterDrain())) {
		s.lost()
	}
	s.mu.Lock()
	s.expiryLook = time.Now()
	s.mu.Unlock()
}

// expires returns when the sandbox is to be looked at. The service says from when on, and how long, it may live; what it
// does not say is taken to be the default, because the platform's own lifetime is shorter.
func (s *shared) expires() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.expiryLook.IsZero() {
		return s.expiryLook.Add(expiryAgain)
	}
	from, lifetime := s.info.StartTime, s.info.MaxLifetime
	if from.IsZero() {
		from = s.info.CreateTime
	}
	if from.IsZero() {
		from = s.info.SeenTime
	}
	if lifetime == 0 {
		lifetime = defaultMaxLifetime
	}
	return from.Add(lifetime + expiryMargin)
}

// keep leaves a create whose outcome is still unknown with its session, and with the timer.
func (cr *creation) keep() {
	cr.owner.keep(cr)
	cr.client.expiry.keep(cr)
}

// release is the opposite of keep.
func (cr *creation) release() {
	cr.owner.forget(cr)
	cr.client.expiry.forget(cr)
}

// keep watches a create that could not be undone: a sandbox that its last repetition made has ended when its lifetime is
// over.
func (x *expiry) keep(cr *creation) {
	at := time.Now().Add(cr.config.longest() + expiryMargin)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.open[cr] = at
	x.armLocked(at)
}

// forget is the opposite of keep.
func (x *expiry) forget(cr *creation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.open, cr)
}

// dropCreates forgets the creates of which nothing can be left. There is nothing to ask: repeating one could make what it
// did not make so far.
func (x *expiry) dropCreates(now time.Time) {
	for _, cr := range x.overdueCreates(now) {
		if cr.undoing() {
			continue // that one decides
		}
		cr.release()
		cr.forget()
	}
}

// undoing reports whether an undo is in flight.
func (cr *creation) undoing() bool {
	cr.mu.Lock()
	defer cr.mu.Unlock()
	return cr.undone != nil && !cr.undone.finished()
}

func (x *expiry) overdueCreates(now time.Time) []*creation {
	x.mu.Lock()
	defer x.mu.Unlock()
	var over []*creation
	for cr, at := range x.open {
		if !at.After(now) {
			over = append(over, cr)
			delete(x.open, cr)
		}
	}
	return over
}

// firstOf returns the earlier time. Zero is none.
func firstOf(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

func laterOf(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
