package cwsandbox

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// These tests run in real time: the runtime calls cleanups outside of a test bubble.

// collect lets the runtime find what nobody refers to any more, and report it.
func collect(t *testing.T) {
	t.Helper()
	for range 3 { // what one round lets go may hold something else
		seen := make(chan struct{})
		runtime.AddCleanup(new([16]*int), func(seen chan struct{}) { close(seen) }, seen)
		runtime.GC()
		select {
		case <-seen:
		case <-time.After(10 * time.Second):
			require.Fail(t, "nothing was collected")
		}
	}
}

// warning waits for the first warning.
func (f *fake) warning(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(f.logged(), "level=WARN") {
		require.True(t, time.Now().Before(deadline), "no warning")
		collect(t)
	}
}

func (f *fake) warnings() int { return strings.Count(f.logged(), "level=WARN") }

func TestCollectedSession(t *testing.T) {
	t.Run("L-134", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		session(t, c, 2)
		f.warning(t)
		collect(t)
		assert.Equal(t, 1, f.warnings(), f.logged())
		assert.Contains(t, f.logged(), "count=2")
		assert.Contains(t, f.logged(), "sb-2")
		assert.Zero(t, f.count("DeleteSandbox"))
		require.NoError(t, cleanup(c, 10*time.Second))
		assert.ElementsMatch(t, []string{"sb-1", "sb-2"}, f.deleted())
	})
	t.Run("a long list of ids is cut", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		session(t, c, namedIDs+5)
		f.warning(t)
		assert.Contains(t, f.logged(), "count=15")
		assert.Equal(t, namedIDs, strings.Count(f.logged(), "sb-"))
	})
	for name, end := range map[string]func(t *testing.T, fl *fleet, s *Session, all []*Sandbox){
		"closed": func(t *testing.T, _ *fleet, s *Session, _ []*Sandbox) { require.NoError(t, s.Close()) },
		"closed in vain": func(t *testing.T, fl *fleet, s *Session, all []*Sandbox) {
			fl.set(fl.refused, true, "sb-1")
			require.Error(t, s.Close())
		},
		"empty": func(t *testing.T, _ *fleet, _ *Session, all []*Sandbox) {
			_, err := all[0].Stop().Wait()
			require.NoError(t, err)
		},
		"of nothing but what was detached": func(t *testing.T, _ *fleet, _ *Session, all []*Sandbox) {
			require.NoError(t, all[0].Detach(t.Context()))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, c := fakeClient(t)
			fl := f.fleet()
			func() {
				s, all := session(t, c, 1)
				end(t, fl, s, all)
			}()
			collect(t)
			assert.NotContains(t, f.logged(), "dropped")
		})
	}
}

func TestCollectedHandles(t *testing.T) {
	t.Run("the last one of a sandbox that nobody stops", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		func() {
			second := func() *Sandbox {
				creating(t, c)
				sb, err := c.Attach(t.Context(), "sb-1")
				require.NoError(t, err)
				return sb
			}()
			collect(t)
			assert.Zero(t, f.warnings(), "one is left")
			runtime.KeepAlive(second)
		}()
		f.warning(t)
		assert.Contains(t, f.logged(), "sandbox=sb-1")
		_, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		collect(t)
		assert.Equal(t, 1, f.warnings(), "once")
		assert.Zero(t, f.count("DeleteSandbox"))
		assert.Equal(t, 1, c.registry.count(c), "it stays tracked")
	})
	t.Run("not one that a session owns", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		s, _ := session(t, c, 0)
		func() {
			_, err := s.Attach(t.Context(), "sb-9")
			require.NoError(t, err)
		}()
		collect(t)
		assert.Zero(t, f.warnings(), "it is the session's")
		runtime.KeepAlive(s)
	})
	t.Run("not while a stop is to come", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		stop := creating(t, c).Stop()
		collect(t)
		assert.Zero(t, f.warnings())
		_, err := stop.Wait()
		require.NoError(t, err)
	})
	t.Run("not beside the warning of a forgotten stop", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		creating(t, c).Stop()
		f.warning(t)
		collect(t)
		assert.Equal(t, 1, f.warnings(), f.logged())
		assert.Contains(t, f.logged(), "never waited for")
	})
	t.Run("nor after it", func(t *testing.T) {
		f, c := fakeClient(t)
		f.fleet()
		sb := creating(t, c)
		sb.Stop()
		f.warning(t)
		runtime.KeepAlive(sb)
		collect(t)
		assert.Equal(t, 1, f.warnings(), f.logged())
	})
	t.Run("not beside the warning of a failed stop", func(t *testing.T) {
		f, c := fakeClient(t)
		fl := f.fleet()
		fl.set(fl.refused, true, "sb-1")
		_, err := creating(t, c).Stop().Wait()
		require.Error(t, err)
		collect(t)
		assert.Equal(t, 1, f.warnings(), f.logged())
	})
	for name, use := range map[string]func(t *testing.T, f *fake, fl *fleet, c *Client){
		"stopped": func(t *testing.T, _ *fake, _ *fleet, c *Client) {
			_, err := creating(t, c).Stop().Wait()
			require.NoError(t, err)
		},
		"ended": func(t *testing.T, _ *fake, fl *fleet, c *Client) {
			fl.set(fl.ended, true, "sb-1")
			creating(t, c)
		},
		"cleaned up": func(t *testing.T, _ *fake, _ *fleet, c *Client) {
			sb := creating(t, c)
			require.NoError(t, cleanup(c, 10*time.Second))
			runtime.KeepAlive(sb)
		},
		"detached": func(t *testing.T, _ *fake, _ *fleet, c *Client) {
			require.NoError(t, creating(t, c).Detach(t.Context()))
		},
		"only attached": func(t *testing.T, _ *fake, _ *fleet, c *Client) { c.Attach(t.Context(), "sb-1") },
		"only listed": func(t *testing.T, f *fake, fl *fleet, c *Client) {
			fl.made = 3
			_, err := Collect(c.List(t.Context()))
			require.NoError(t, err)
		},
	} {
		t.Run("not one that was "+name, func(t *testing.T) {
			f, c := fakeClient(t)
			use(t, f, f.fleet(), c)
			collect(t)
			assert.Zero(t, f.warnings(), f.logged())
		})
	}
}
