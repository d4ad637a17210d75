package localserver

import (
	"context"
	"slices"
	"sync"
	"time"
)

// A Clock is where a server takes its time from: every timestamp, delay and deadline of its own. The deadlines of
// clients stay on real time.
type Clock interface {
	Now() time.Time
	// AfterFunc runs f once d has passed. The function that it returns cancels that, and reports whether it was in
	// time to.
	AfterFunc(d time.Duration, f func()) (stop func() bool)
}

// systemClock is package time, which is fake time inside a synctest bubble.
type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

func (systemClock) AfterFunc(d time.Duration, f func()) func() bool {
	return time.AfterFunc(d, f).Stop
}

// ManualClock is a Clock that moves only when told to.
type ManualClock struct {
	mu     sync.Mutex
	now    time.Time
	timers []*manualTimer
}

type manualTimer struct {
	at time.Time
	f  func()
}

// NewManualClock returns a clock that stands at start.
func NewManualClock(start time.Time) *ManualClock { return &ManualClock{now: start} }

// Now returns the time that the clock stands at.
func (c *ManualClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc runs f from the call of Advance that reaches the time, in that call's goroutine. A timer that is due
// already runs with the next Advance, which may be by zero.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) func() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{at: c.now.Add(d), f: f}
	c.timers = append(c.timers, t)
	return func() bool { return c.remove(t) }
}

// Advance moves the clock and runs what becomes due on the way, in order of time.
func (c *ManualClock) Advance(d time.Duration) {
	c.mu.Lock()
	target := c.now.Add(d)
	c.mu.Unlock()
	for {
		f := c.next(target)
		if f == nil {
			return
		}
		f()
	}
}

// next takes out the first timer that is due by target and moves the clock to it, or, when there is none, to target.
func (c *ManualClock) next(target time.Time) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	first := -1
	for i, t := range c.timers {
		if !t.at.After(target) && (first < 0 || t.at.Before(c.timers[first].at)) {
			first = i
		}
	}
	if first < 0 {
		c.now = target
		return nil
	}
	t := c.timers[first]
	c.timers = slices.Delete(c.timers, first, first+1)
	if t.at.After(c.now) {
		c.now = t.at
	}
	return t.f
}

func (c *ManualClock) remove(t *manualTimer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.timers, t)
	if i < 0 {
		return false
	}
	c.timers = slices.Delete(c.timers, i, i+1)
	return true
}

// after returns a channel that is closed once d has passed.
func after(c Clock, d time.Duration) (due <-chan struct{}, stop func() bool) {
	ch := make(chan struct{})
	return ch, c.AfterFunc(d, func() { close(ch) })
}

// sleep returns true after d, or false as soon as the context ends.
func sleep(ctx context.Context, c Clock, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	due, stop := after(c, d)
	defer stop()
	select {
	case <-due:
		return true
	case <-ctx.Done():
		return false
	}
}

// withLimit returns a context that ends with cause once d has passed on the clock. Zero is no limit.
func withLimit(parent context.Context, c Clock, d time.Duration, cause error) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	stop := func() bool { return true }
	if d > 0 {
		stop = c.AfterFunc(d, func() { cancel(cause) })
	}
	return ctx, func() {
		stop()
		cancel(nil)
	}
}
