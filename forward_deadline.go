package cwsandbox

import (
	"sync"
	"time"
)

// deadline is when an operation of a connection gives up, as in [net.Pipe]. It can be changed while one waits.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	over  chan struct{} // closed when the time has come
}

func newDeadline() deadline { return deadline{over: make(chan struct{})} }

// set changes the deadline. The zero time is none; one that has passed ends what waits at once.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.over // by the timer, which has begun
	}
	d.timer = nil
	passed := isClosed(d.over)
	switch wait := time.Until(t); {
	case t.IsZero():
		if passed {
			d.over = make(chan struct{})
		}
	case wait > 0:
		if passed {
			d.over = make(chan struct{})
		}
		over := d.over
		d.timer = time.AfterFunc(wait, func() { close(over) })
	case !passed:
		close(d.over)
	}
}

// wait returns a channel that is closed when the deadline is over, unless it is changed before.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.over
}
