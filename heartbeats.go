package cwsandbox

import (
	"container/heap"
	"crypto/rand"
	"sync"
	"time"
)

// beatsAtATime is how many heartbeats are under way together: few enough for one connection, and enough for thousands that
// are all due after a pause of the program.
const beatsAtATime = 80

// heartbeats keeps the leases of one client's sandboxes. One goroutine serves all of them; it lives as long as there are
// any, and ends with the client.
type heartbeats struct {
	client *Client
	writer string        // makes contents differ from those of other programs
	wake   chan struct{} // has room for one: something below has changed
	slots  chan struct{}

	mu      sync.Mutex
	kept    map[*shared]*heartbeat
	queue   beatQueue // without those that are under way
	serving bool
}

func newHeartbeats(c *Client) *heartbeats {
	return &heartbeats{
		client: c,
		writer: rand.Text(),
		wake:   make(chan struct{}, 1),
		slots:  make(chan struct{}, beatsAtATime),
		kept:   make(map[*shared]*heartbeat),
	}
}

// keep begins to keep up the lease of a sandbox, if it has one.
func (b *heartbeats) keep(s *shared) {
	l, ok := s.leased()
	if !ok {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept[s] != nil || b.client.isClosed() {
		return
	}
	h := newHeartbeat(s, l, b.writer)
	b.kept[s] = h
	b.push(h)
	if !b.serving {
		b.serving = true
		go b.serve()
	}
}

// drop ends the heartbeats of a sandbox. One that is under way is not waited for.
func (b *heartbeats) drop(s *shared) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h := b.kept[s]
	if h == nil {
		return
	}
	delete(b.kept, s)
	if h.at >= 0 {
		heap.Remove(&b.queue, h.at)
	}
	b.hurry()
}

// again queues a heartbeat after its write, unless it was dropped meanwhile.
func (b *heartbeats) again(h *heartbeat) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.kept[h.s] == h {
		b.push(h)
	}
}

func (b *heartbeats) push(h *heartbeat) {
	heap.Push(&b.queue, h)
	if h.at == 0 {
		b.hurry()
	}
}

func (b *heartbeats) hurry() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// serve begins each heartbeat when it is due.
func (b *heartbeats) serve() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		h, wait, more := b.due()
		switch {
		case !more:
			return
		case h != nil:
			b.slots <- struct{}{} // soon free: every write has a limit
			go b.beat(h)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-b.wake:
		case <-b.client.closed:
		}
	}
}

// due takes the next heartbeat out of the queue, if its time has come, and otherwise says how long that will be. With no
// lease left to keep up, serve ends.
func (b *heartbeats) due() (h *heartbeat, wait time.Duration, more bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client.isClosed() {
		clear(b.kept)
		b.queue = nil
	}
	switch {
	case len(b.kept) == 0:
		b.serving = false
		return nil, 0, false
	case len(b.queue) == 0:
		return nil, time.Hour, true // what comes back into the queue wakes serve
	}
	first := b.queue[0]
	if wait = time.Until(first.next); wait > first.slack() {
		return nil, wait, true
	}
	return heap.Pop(&b.queue).(*heartbeat), 0, true
}

// beat makes one write and what follows from it.
func (b *heartbeats) beat(h *heartbeat) {
	defer func() { <-b.slots }()
	if h.beat() {
		b.again(h)
	} else {
		b.drop(h.s)
	}
}

// beatQueue is a heap; the next heartbeat is its first.
type beatQueue []*heartbeat

func (q beatQueue) Len() int           { return len(q) }
func (q beatQueue) Less(i, j int) bool { return q[i].next.Before(q[j].next) }

func (q beatQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].at, q[j].at = i, j
}

func (q *beatQueue) Push(x any) {
	h := x.(*heartbeat)
	h.at = len(*q)
	*q = append(*q, h)
}

func (q *beatQueue) Pop() any {
	last := len(*q) - 1
	h := (*q)[last]
	h.at = -1
	(*q)[last] = nil
	*q = (*q)[:last]
	return h
}
