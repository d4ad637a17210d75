package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// The shares of a lease leave enough of it when the program or the service is away for 60 % of it, and that begins just
	// before a heartbeat and ends just after the beginning of a write, and the next one fails.
	beatShare  = 5  // between heartbeats
	writeShare = 12 // for a write
	retryShare = 30 // after one that has failed
	slackShare = 20 // by which heartbeats may come early

	shortestWrite = 250 * time.Millisecond
	longestWrite  = 10 * time.Second
)

// heartbeat keeps up the lease of one sandbox. One goroutine at a time has it.
type heartbeat struct {
	s      *shared
	length time.Duration
	paths  []string // any of them will do
	opts   []grpc.CallOption

	request  sandboxv1.WriteFileRequest
	writer   int // length of the part of the content that stays
	number   uint64
	place    int           // which of the paths
	since    time.Time     // when the last write that was acknowledged was sent, or the sandbox was first known to run
	failures int           // since then
	owner    *sessionState // the last one

	next time.Time
	at   int // in the queue; -1: not there
}

func newHeartbeat(s *shared, l lease.Lease, writer string) *heartbeat {
	limit := min(max(l.Length/writeShare, shortestWrite), longestWrite)
	h := &heartbeat{
		s:      s,
		length: l.Length,
		paths:  l.Beats(),
		opts:   []grpc.CallOption{transport.NoRetry(), transport.Timeout(limit)},
		writer: len(writer) + 1,
		next:   time.Now(),
	}
	h.request.SandboxId = s.id
	h.request.Content = append(make([]byte, 0, h.writer+24), writer+" "...)
	return h
}

// beat writes once, and reports whether there is a next time.
func (h *heartbeat) beat() (again bool) {
	if owner := h.s.session(); owner != nil {
		h.owner = owner // the end takes the sandbox out of it
	}
	if h.over() {
		return false
	}
	sent := time.Now()
	if err := h.write(); err != nil {
		h.failures++
		h.learn(err)
		h.next = time.Now().Add(jitter(h.pause()))
		return !h.over() && !h.expired()
	}
	h.since, h.failures = sent, 0
	h.next = sent.Add(jitter(h.pause()))
	return true
}

// write changes the content of the file.
func (h *heartbeat) write() error {
	h.number++
	h.request.Path = h.paths[h.place]
	h.request.Content = append(strconv.AppendUint(h.request.Content[:h.writer], h.number, 10), '\n')
	_, err := h.s.client.sandboxes.WriteFile(context.Background(), &h.request, h.opts...)
	return call{op: "lease", sandbox: h.s.id}.wrap(err)
}

// pause is how long it is until the next write. Nothing can be written before the sandbox runs, which takes as long as it
// takes; the lease begins after that.
func (h *heartbeat) pause() time.Duration {
	if h.failures == 0 || h.since.IsZero() {
		return h.length / beatShare
	}
	return h.length / retryShare
}

// slack is how much earlier the next write may come, in the company of one that is due. Writes that leave together cost a
// fraction of what they cost alone.
func (h *heartbeat) slack() time.Duration {
	if h.failures > 0 {
		return 0
	}
	return h.length / slackShare
}

// learn takes from a failure what it says about the sandbox, and looks at it once in a lease if that is not clear.
func (h *heartbeat) learn(failure error) {
	switch {
	case answeredNotFound(failure):
		h.s.lost()
	case errors.Is(failure, ErrFile): // a root that is read-only, for instance
		h.place = (h.place + 1) % len(h.paths)
	case errors.Is(failure, ErrNotRunning) && h.failures%beatShare == 1:
		if answeredNotFound(h.s.get(context.Background(), "get", h.opts...)) {
			h.s.lost()
		}
	}
	if h.since.IsZero() && h.s.snapshot().State.ready() {
		h.since = time.Now()
	}
}

// over reports whether there is nothing left to keep up. A sandbox that has ended while no heartbeats came ended by that.
func (h *heartbeat) over() bool {
	h.s.mu.Lock()
	stopped, ended := h.s.info.stopped, h.s.gone || h.s.ended()
	h.s.mu.Unlock()
	if ended && !stopped && !h.since.IsZero() {
		// The monotonic clock stands still while a machine is suspended.
		if time.Since(h.since) >= h.length || time.Now().Round(0).Sub(h.since.Round(0)) >= h.length {
			h.lose("the sandbox has ended, and there was no heartbeat for %v before")
		}
	}
	return stopped || ended
}

// expired reports whether the sandbox has to be taken for ended.
func (h *heartbeat) expired() bool {
	if h.since.IsZero() || time.Since(h.since) < h.length {
		return false
	}
	h.lose("no heartbeat was acknowledged for %v")
	return true
}

// lose reports the loss to the log and to the session.
func (h *heartbeat) lose(format string) {
	err := call{op: "lease", sandbox: h.s.id}.refuse(fmt.Sprintf(format, h.length), ErrLeaseLost)
	h.s.client.config.logger.Warn("a lease was lost", "sandbox", h.s.id, "error", err)
	h.owner.lose(err)
}
