//go:build unix

package reaper

import (
	"log/slog"
	"time"
)

const (
	// patience is how long a caller waits for the helper.
	patience = 2 * time.Second
	// stuckAfter is how long a helper that has kept a caller waiting may stay silent before it is replaced.
	stuckAfter = 10 * time.Second
)

func (g *guard) Flush() {
	g.handOver(func(h *helper, number uint64) bool { return h.written >= number })
}

func (g *guard) Await() {
	g.handOver(func(h *helper, number uint64) bool { return h.confirmed >= number })
}

// handOver waits until reached is true for what there is to tell by now, or for as long as a caller has to wait for a
// helper. When the helper dies meanwhile, it is for the next one, which is told everything at its start.
func (g *guard) handOver(reached func(h *helper, number uint64) bool) {
	g.mu.Lock()
	deadline := time.Now().Add(patience)
	g.ensureHelper()
	for told := false; !told; {
		g.wait(deadline, func() bool { return g.helper != nil || !g.supervised })
		h := g.helper
		if h == nil {
			break
		}
		number := h.queued
		g.wait(deadline, func() bool { return g.helper != h || reached(h, number) })
		told = g.helper == h
	}
	g.unlock()
}

// wait waits until done, which is called with the mutex held. Where the helper is late nobody waits.
func (g *guard) wait(deadline time.Time, done func() bool) {
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	for !done() && !g.late {
		moved := g.moved
		g.mu.Unlock()
		select {
		case <-moved:
			g.mu.Lock()
		case <-timer.C:
			g.mu.Lock()
			g.isLate()
			return
		}
	}
}

// isLate lets callers go on without the helper until it has caught up. One that never does is replaced.
func (g *guard) isLate() {
	h := g.helper
	switch {
	case g.late:
		return
	case h == nil:
		g.note(slog.LevelWarn, "the reaper's helper takes long to start: sandboxes may outlive the program until it runs", nil)
		return
	}
	g.late = true
	g.note(slog.LevelWarn, "the reaper's helper does not answer: sandboxes may outlive the program until it does", nil)
	g.move()
	time.AfterFunc(stuckAfter, func() { g.replace(h) })
}

// replace kills a helper that is still late. Its supervisor starts another one.
func (g *guard) replace(h *helper) {
	g.mu.Lock()
	stuck := g.helper == h && g.late
	g.mu.Unlock()
	if stuck {
		h.process.Kill()
	}
}

// caughtUp notes how far the helper has got.
func (g *guard) caughtUp(h *helper, confirmed uint64) {
	g.mu.Lock()
	h.confirmed = confirmed
	if g.late && confirmed == h.queued {
		g.late = false
		g.note(slog.LevelInfo, "the reaper's helper answers again", nil)
	}
	g.move()
	g.unlock()
}

// move wakes those who wait.
func (g *guard) move() {
	close(g.moved)
	g.moved = make(chan struct{})
}
