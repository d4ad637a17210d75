package hook

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// Guard is told what would have to be undone if the program died. It is nil unless package reaper is part of the program:
// its init sets it, before main begins.
var Guard Guardian

// Guardian keeps what it is told outside of this process. The methods that record something never block and never call
// back, so that they can be called under a lock, in the order in which things happen. Flush and Await are called without
// any lock. All are safe for concurrent use.
//
// A key is any comparable value that stands for one sandbox, or one create, as long as it is recorded.
type Guardian interface {
	// Create records a create that is about to be sent: its request, as Undo takes it. Await is called
	// before it is sent.
	Create(key any, c *Connection, request []byte)
	// Track records a sandbox that somebody has to stop, with the grace of that stop: what a recorded create has made,
	// or one that was adopted.
	Track(key any, c *Connection, id string, grace time.Duration)
	// Settle records that nothing is left to undo for a key. An unknown key is none of its business.
	Settle(key any)
	// Update records that the headers or the roots of a connection have changed.
	Update(c *Connection)

	// Flush hands over what was recorded. It gives up after some seconds.
	Flush()
	// Await is Flush, and waits until all of it is confirmed.
	Await()
}

// Connection describes a client so that another process can make one like it. The exported fields do not change.
type Connection struct {
	BaseURL      string
	Insecure     bool
	Integration  string
	PrivateRoots bool         // the client trusts other roots than the system's
	Refused      error        // why no other process can make such a client; nil: it can
	Logger       *slog.Logger // of this process

	warned atomic.Bool

	mu      sync.Mutex
	headers map[string]string
	roots   [][]byte
}

// SetHeaders records the newest headers that requests are authenticated with, which must not be changed any more, and
// reports whether they are new.
func (c *Connection) SetHeaders(headers map[string]string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed := !maps.Equal(c.headers, headers)
	c.headers = headers
	return changed
}

// AddRoots records the roots that have vouched for the service on a connection, and reports whether one is new. A pool of
// roots cannot be read out; what it is used for can.
func (c *Connection) AddRoots(state tls.ConnectionState) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := len(c.roots)
	for _, chain := range state.VerifiedChains {
		c.addRoot(chain[len(chain)-1].Raw)
	}
	return len(c.roots) > before
}

func (c *Connection) addRoot(der []byte) {
	for _, known := range c.roots {
		if bytes.Equal(known, der) {
			return
		}
	}
	c.roots = append(c.roots, der)
}

// Secrets returns the newest headers, none as long as no request was sent, and the roots that were seen, in DER.
func (c *Connection) Secrets() (headers map[string]string, roots [][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.headers, c.roots[:len(c.roots):len(c.roots)]
}

// FirstWarning reports whether it is called for the first time.
func (c *Connection) FirstWarning() bool { return !c.warned.Swap(true) }

// Undo repeats a create, given by its request as Guardian got it, on a *cwsandbox.Client until the outcome is known or ctx ends,
// and deletes what it made. Made is false when the service has refused the create. Package cwsandbox sets Undo when it is
// loaded.
var Undo func(ctx context.Context, client any, request []byte) (made bool, err error)

// Stop deletes a sandbox on a *cwsandbox.Client and returns when the service has accepted that or does not know the
// sandbox. Package cwsandbox sets Stop when it is loaded.
var Stop func(ctx context.Context, client any, id string, grace time.Duration) error
