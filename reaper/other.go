//go:build !unix

package reaper

import (
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

// guard says once for each client that nothing guards it.
type guard struct {
	mu      sync.Mutex
	pending []*hook.Connection // to be told as soon as nobody holds a lock
}

func newGuard() *guard { return new(guard) }

func (g *guard) Create(_ any, c *hook.Connection, _ []byte) {
	if !c.FirstWarning() {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pending = append(g.pending, c)
}

func (g *guard) Track(key any, c *hook.Connection, _ string, _ time.Duration) { g.Create(key, c, nil) }
func (g *guard) Settle(any)                                                   {}
func (g *guard) Update(*hook.Connection)                                      {}

func (g *guard) Flush() {
	g.mu.Lock()
	pending := g.pending
	g.pending = nil
	g.mu.Unlock()
	for _, c := range pending {
		c.Logger.Warn("the reaper does nothing on this system: sandboxes may outlive the program")
	}
}

func (g *guard) Await() { g.Flush() }

func (g *guard) protected() bool { return false }

// runIfHelper has nothing to do where no helper is started.
func runIfHelper() {}
