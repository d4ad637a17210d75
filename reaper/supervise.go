//go:build unix

package reaper

import (
	"fmt"
	"log/slog"
	"time"
)

// A helper may be started startLimit times within startWindow.
const (
	startLimit  = 5
	startWindow = time.Minute
)

// ensureHelper has a helper started where one is needed and none runs.
func (g *guard) ensureHelper() {
	if g.supervised || !g.mayStart() {
		return
	}
	g.supervised = true
	go g.supervise()
}

// mayStart reports whether there is something that a new helper could undo, and it is worth a try.
func (g *guard) mayStart() bool {
	if g.useless || len(g.items) == g.uncovered {
		return false
	}
	for len(g.starts) > 0 && time.Since(g.starts[0]) > startWindow {
		g.starts = g.starts[1:]
	}
	return len(g.starts) < startLimit
}

// supervise starts a helper, follows what it confirms, and starts another one when it has gone, as long as one is needed.
// It ends with the program, or when no helper can be had.
func (g *guard) supervise() {
	for again := true; again; {
		h, err := g.start()
		if err == nil {
			g.run(h)
		}
		again = g.goOn(err)
	}
}

// start starts a helper and queues for it all there is.
func (g *guard) start() (*helper, error) {
	timeout, err := readTimeout()
	if err != nil {
		return nil, unusable{err}
	}
	h, err := startHelper()
	g.mu.Lock()
	defer g.unlock()
	g.starts = append(g.starts, time.Now())
	if err != nil {
		return nil, err
	}
	g.helper = h
	g.tellAll(h, &hello{Protocol: protocol, Timeout: timeout, Environ: environ(networkVariables)})
	g.move()
	return h, nil
}

// run serves a helper until it has gone.
func (g *guard) run(h *helper) {
	written := make(chan struct{})
	go func() {
		defer close(written)
		g.write(h)
	}()
	for {
		number, err := readConfirmation(h.confirmations)
		if err != nil { // it has died, or might as well have
			break
		}
		g.caughtUp(h, number)
	}
	g.mu.Lock()
	g.helper, g.late = nil, false
	close(h.wake)
	g.note(slog.LevelWarn, "the reaper's helper has ended: sandboxes may outlive the program until another one runs", nil)
	g.move()
	g.unlock()
	h.kill()
	<-written
}

// write writes what is queued for a helper until it has gone.
func (g *guard) write(h *helper) {
	for range h.wake {
		g.mu.Lock()
		batch, number := h.queue, h.queued
		h.queue = nil
		g.mu.Unlock()
		if h.writeAll(batch) != nil {
			h.process.Kill() // it cannot be told any more; who reads its confirmations sees its end
			return
		}
		g.mu.Lock()
		h.written = number
		g.move()
		g.mu.Unlock()
	}
}

// goOn decides, after a helper has gone or has not started because of err, whether another one is to be started.
func (g *guard) goOn(err error) bool {
	g.mu.Lock()
	defer g.unlock()
	if err != nil {
		_, g.useless = err.(unusable)
		g.note(slog.LevelWarn, "the reaper's helper does not start: sandboxes may outlive the program", err)
	}
	g.supervised = err == nil && g.mayStart()
	if err == nil && !g.supervised && len(g.items) > g.uncovered {
		g.note(slog.LevelWarn, "the reaper's helper has ended too often: sandboxes may outlive the program",
			fmt.Errorf("%d times within %v", startLimit, startWindow))
	}
	g.move()
	return g.supervised
}
