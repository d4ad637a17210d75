package transport

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	minDelay    = 200 * time.Millisecond
	maxDelay    = 2 * time.Second
	maxHint     = 10 * time.Second // cap on a delay that the service asks for
	minAttempt  = 100 * time.Millisecond
	delayFactor = 1.5
)

// delays is the backoff of one call: decorrelated, uniform delays, or the one that the service asks for, within a
// budget that begins with the first failure.
type delays struct {
	budget   time.Duration
	deadline time.Time // of the call

	end      time.Time // of the budget; zero before the first failure
	hint     time.Duration
	previous time.Duration
}

var _ backoff.BackOff = (*delays)(nil)

// Reset is called before the first attempt.
func (d *delays) Reset() { d.end, d.hint, d.previous = time.Time{}, 0, minDelay }

// failed notes a failure and the delay that the service asks for, if any.
func (d *delays) failed(hint time.Duration) {
	if d.end.IsZero() {
		d.end = time.Now().Add(d.budget)
		if d.deadline.Before(d.end) {
			d.end = d.deadline
		}
	}
	d.hint = hint
}

// NextBackOff returns the time to sleep, or backoff.Stop when an attempt after that would have no time left.
func (d *delays) NextBackOff() time.Duration {
	left := time.Until(d.end)
	delay := min(d.hint, maxHint)
	if delay <= 0 {
		longest := max(minDelay, min(maxDelay, time.Duration(delayFactor*float64(d.previous)), left))
		delay = minDelay + rand.N(longest-minDelay+1)
		d.previous = delay
	}
	if left-delay < minAttempt {
		return backoff.Stop
	}
	return delay
}

// nap is the timer between attempts. It also wakes when the connections are closed, for there is nothing to wait for
// then.
type nap struct {
	life   context.Context
	timer  *time.Timer
	unlink func() bool
}

var _ backoff.Timer = (*nap)(nil)

func (n *nap) Start(d time.Duration) {
	n.Stop()
	timer := time.NewTimer(d)
	n.timer = timer
	n.unlink = context.AfterFunc(n.life, func() { timer.Reset(0) })
}

func (n *nap) Stop() {
	if n.timer != nil {
		n.unlink()
		n.timer.Stop()
	}
}

func (n *nap) C() <-chan time.Time { return n.timer.C }
