//go:build unix

package reaper

import (
	"log/slog"
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

// unusable is an error that another start would end in again.
type unusable struct{ error }

// A guard keeps what has to be undone if the program dies, and a helper process that knows it too. The record here is what
// a new helper is told when one has died.
type guard struct {
	mu          sync.Mutex
	items       map[any]*item
	connections map[*hook.Connection]*link // those with items
	last        uint64                     // number given to an item or a link
	uncovered   int                        // items that cannot be handed over

	supervised bool    // supervise runs
	helper     *helper // nil: none runs
	late       bool    // it has kept somebody waiting and has not caught up
	useless    bool    // starting one is of no use
	starts     []time.Time

	moved   chan struct{} // closed and replaced whenever a waiting caller may have reason to go on
	notices []notice      // not logged yet
}

// item is a create, or a sandbox once its id is known.
type item struct {
	number  uint64
	link    *link
	request []byte
	id      string
	grace   time.Duration
}

// link is a connection while it has items.
type link struct {
	number     uint64
	connection *hook.Connection
	items      int
}

func newGuard() *guard {
	return &guard{
		items:       make(map[any]*item),
		connections: make(map[*hook.Connection]*link),
		moved:       make(chan struct{}),
	}
}

func (g *guard) Create(key any, c *hook.Connection, request []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	it := g.enter(key, c)
	it.request = request
	g.tell(it.link, it.order())
	g.rely()
}

func (g *guard) Track(key any, c *hook.Connection, id string, grace time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	it, known := g.items[key]
	if !known {
		it = g.enter(key, c)
	}
	it.request, it.id, it.grace = nil, id, grace
	g.tell(it.link, it.order())
	if !known { // else the helper can undo the create
		g.rely()
	}
}

func (g *guard) Settle(key any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	it := g.items[key]
	if it == nil {
		return
	}
	delete(g.items, key)
	l := it.link
	g.tell(l, &order{Do: doSettle, Item: it.number})
	if l.refused() {
		g.uncovered--
	}
	if l.items--; l.items == 0 {
		delete(g.connections, l.connection)
		g.tell(l, &order{Do: doForget, Connection: l.number})
	}
}

func (g *guard) Update(c *hook.Connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if l := g.connections[c]; l != nil { // without items it is described when it gets one
		g.tell(l, l.order())
	}
}

// enter makes the item of a new key.
func (g *guard) enter(key any, c *hook.Connection) *item {
	l := g.connections[c]
	if l == nil {
		g.last++
		l = &link{number: g.last, connection: c}
		g.connections[c] = l
		g.tell(l, l.order())
	}
	l.items++
	if l.refused() {
		g.uncovered++
		if c.FirstWarning() {
			g.notices = append(g.notices, notice{c.Logger, slog.LevelWarn, "the reaper does not cover a client", c.Refused})
		}
	}
	g.last++
	it := &item{number: g.last, link: l}
	g.items[key] = it
	return it
}

// tell queues an order, unless there is no helper, or it could not carry it out.
func (g *guard) tell(l *link, o *order) {
	if g.helper != nil && !l.refused() {
		g.helper.add(o)
	}
}

// tellAll queues all that a new helper has to know.
func (g *guard) tellAll(h *helper, greeting *hello) {
	h.add(&order{Do: doHello, Hello: greeting})
	for _, l := range g.connections {
		g.tell(l, l.order())
	}
	for _, it := range g.items {
		g.tell(it.link, it.order())
	}
	g.rely()
}

// rely notes that there is no protection before the helper has confirmed what is queued by now.
func (g *guard) rely() {
	if g.helper != nil {
		g.helper.relied = g.helper.queued
	}
}

func (l *link) refused() bool { return l.connection.Refused != nil }

func (l *link) order() *order {
	c := l.connection
	headers, roots := c.Secrets()
	return &order{Do: doConnect, Connection: l.number, Details: &connection{
		BaseURL: c.BaseURL, Insecure: c.Insecure, Integration: c.Integration, PrivateRoots: c.PrivateRoots,
		Headers: headers, Roots: roots,
	}}
}

func (it *item) order() *order {
	if it.id == "" {
		return &order{Do: doCreate, Connection: it.link.number, Item: it.number, body: it.request}
	}
	return &order{Do: doTrack, Connection: it.link.number, Item: it.number, ID: it.id, Grace: it.grace}
}

func (g *guard) protected() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	h := g.helper
	return h != nil && h.confirmed >= h.relied && g.uncovered == 0
}
