//go:build linux

package killtrials

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// How many trials run side by side. Those with leases wait most of the time.
const (
	withReaper = 16
	withLease  = 24
)

// TestReaper has servers with sandboxes in memory, half of them in trouble.
func TestReaper(t *testing.T) {
	var count tally
	inParallel(t, withReaper, *trials, func(all *testing.T) func(*testing.T, *plan) {
		return func(t *testing.T, p *plan) {
			srv := cwsandboxtest.NewServer(all)
			p.trouble(srv)
			helpers := newLifeline(t)
			count.add(p.kill(t, srv, guarded, "CWSANDBOX_REAPER_LOG="+helpers.path))
			log := helpers.wait(t)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("the helper's log:\n%s", log)
				}
			})
			// Nobody is there any more who could make another one.
			expectNoneLeft(t, srv)
			count.checkLater(srv)
		}
	})
	count.check(t)
}

// trouble has a server lose answers, take its time, or refuse calls that it would serve a moment later.
func (p *plan) trouble(srv *cwsandboxtest.Server) {
	if p.IntN(2) == 0 {
		return
	}
	for _, method := range []string{"CreateSandbox", "DeleteSandbox"} {
		for _, action := range []cwsandboxtest.Action{
			cwsandboxtest.DropResponse(),
			cwsandboxtest.CutConnection(),
			cwsandboxtest.Delay(p.upTo(300 * time.Millisecond)),
			cwsandboxtest.DelayAfter(p.upTo(300 * time.Millisecond)),
			cwsandboxtest.Fail(codes.Unavailable, "busy"),
			cwsandboxtest.FailAfter(codes.Unavailable, "busy"),
		} {
			srv.Inject(cwsandboxtest.Rule{Method: method, After: p.IntN(10), Times: p.IntN(3) + 1, Action: action})
		}
	}
}

// TestLease has real processes, which end themselves.
func TestLease(t *testing.T) {
	var count tally
	inParallel(t, withLease, *trials, func(t *testing.T) func(*testing.T, *plan) {
		srv := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
		return func(t *testing.T, p *plan) {
			p.calls /= 2 // they cost much more
			count.add(p.kill(t, srv, leased))
			expectNoneLeft(t, srv)
			count.checkLater(srv)
		}
	})
	count.check(t)
}

// TestNothing shows that the same programs do leave something behind where nothing looks after it.
func TestNothing(t *testing.T) {
	var left atomic.Int64
	inParallel(t, withReaper, max(20, *trials/10), func(*testing.T) func(*testing.T, *plan) {
		return func(t *testing.T, p *plan) {
			srv := cwsandboxtest.NewServer(t, cwsandboxtest.AllowLeftovers())
			p.kill(t, srv, alone)
			left.Add(int64(len(srv.Active())))
		}
	})
	assert.NotZero(t, left.Load(), "the trials prove nothing")
	t.Logf("%d sandboxes were left", left.Load())
}

// tally is what a test has tried.
type tally struct {
	mu      sync.Mutex
	trials  int
	worthy  int // in which there was something to leave behind
	active  int
	servers map[*cwsandboxtest.Server]bool
}

func (c *tally) add(active int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.trials++
	c.active += active
	if active > 0 {
		c.worthy++
	}
}

func (c *tally) checkLater(srv *cwsandboxtest.Server) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.servers == nil {
		c.servers = make(map[*cwsandboxtest.Server]bool)
	}
	c.servers[srv] = true
}

// check looks at the servers once more, and whether the trials were worth it.
func (c *tally) check(t *testing.T) {
	var made int
	for srv := range c.servers {
		expectNoneLeft(t, srv)
		made += srv.Executed("CreateSandbox")
	}
	t.Logf("%d programs made %d sandboxes; they had %d when they were killed, %d of them none",
		c.trials, made, c.active, c.trials-c.worthy)
	if c.trials >= 20 { // not where -run has picked some
		require.Greater(t, c.worthy, c.trials/2)
	}
}
