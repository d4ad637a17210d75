//go:build unix

package reaper

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

// TestCreateWaitsForTheNextHelper has the death of the helper noticed only while a create waits for it.
func TestCreateWaitsForTheNextHelper(t *testing.T) {
	for name, test := range map[string]struct {
		comes bool // another helper
		takes time.Duration
	}{
		"which confirms":               {comes: true, takes: time.Second},
		"or until no other one can be": {takes: time.Second},
		"or as long as creates wait":   {takes: patience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGuard()
				g.supervised = true
				change := func(fn func()) {
					g.mu.Lock()
					fn()
					g.move()
					g.mu.Unlock()
				}
				change(func() { g.helper = newHelper(nil, nil, nil) })
				var log bytes.Buffer
				g.Create("key", &hook.Connection{Logger: slog.New(slog.NewTextHandler(&log, nil))}, []byte("request"))
				begin, waiting := time.Now(), make(chan struct{})
				go func() {
					defer close(waiting)
					g.Await()
				}()
				synctest.Wait()
				change(func() { g.helper = nil })
				synctest.Wait()
				assert.False(t, g.protected())
				next := newHelper(nil, nil, nil)
				if test.comes {
					change(func() {
						g.helper = next
						g.tellAll(next, &hello{})
					})
				}
				time.Sleep(time.Second)
				select {
				case <-waiting:
					t.Error("nothing holds the create back")
				default:
				}
				switch {
				case test.comes:
					g.caughtUp(next, next.queued)
				case test.takes < patience:
					change(func() { g.supervised = false })
				}
				<-waiting
				assert.Equal(t, test.takes, time.Since(begin))
				assert.Equal(t, test.comes, g.protected())
				assert.Equal(t, test.takes == patience, strings.Contains(log.String(), "takes long to start"))
			})
		})
	}
}
