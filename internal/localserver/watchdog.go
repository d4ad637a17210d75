package localserver

import (
	"sync"
	"time"
)

// A watchdog acts once when nothing has moved for a time after it was armed. What moves calls pause before and resume
// afterwards; before arming both do next to nothing.
type watchdog struct {
	clock Clock

	mu     sync.Mutex
	limit  time.Duration // zero: not armed
	act    func()
	moving int
	cancel func() bool // of the running timer; nil: there is none
}

// arm starts the watch. A limit of zero is no watch.
func (w *watchdog) arm(limit time.Duration, act func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit, w.act = limit, act
	w.start()
}

func (w *watchdog) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moving++
	w.halt()
}

func (w *watchdog) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.moving--
	w.start()
}

// stop ends the watch.
func (w *watchdog) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit = 0
	w.halt()
}

func (w *watchdog) start() {
	if w.limit > 0 && w.moving == 0 {
		w.halt()
		w.cancel = w.clock.AfterFunc(w.limit, w.act)
	}
}

func (w *watchdog) halt() {
	if w.cancel != nil {
		w.cancel()
		w.cancel = nil
	}
}
