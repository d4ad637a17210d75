package cwsandbox

import (
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ours counts the goroutines that methods of this package have started.
func ours() (n int) {
	stacks := make([]byte, 1<<20)
	for {
		if size := runtime.Stack(stacks, true); size < len(stacks) {
			return strings.Count(string(stacks[:size]), "\ncreated by github.com/cwsandbox/cwsandbox-go.(*")
		}
		stacks = make([]byte, 2*len(stacks))
	}
}

// The bubble itself fails when any goroutine is left, also of gRPC.
func TestGoroutines(t *testing.T) {
	story(t, "a process has one while it runs, and none afterwards", func(t *testing.T, s *script, sb *Sandbox) {
		const n = 1000
		exits := make(chan struct{})
		s.exec = func(d *dialog) error {
			d.ready()
			d.out("text")
			select {
			case <-exits:
				return d.exit(0)
			case <-d.stream.Context().Done():
				return nil
			}
		}
		before := ours()
		var canceled []*Process
		for i := range n {
			p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
			require.NoError(t, err)
			if i%2 == 0 {
				canceled = append(canceled, p) // the others are abandoned
			}
		}
		synctest.Wait()
		assert.Equal(t, before+n, ours())
		for _, p := range canceled {
			p.Cancel()
		}
		synctest.Wait()
		assert.Equal(t, before+n/2, ours())
		close(exits)
		synctest.Wait()
		assert.Equal(t, before, ours())
		assert.Equal(t, Stats{Commands: n, OK: n / 2, Failed: n / 2}, sb.Stats())
	})

	story(t, "a terminal and a command likewise", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = flood
		before := ours()
		term := shell(t, sb)
		shell(t, sb) // which nobody closes
		cmd := sb.Command(t.Context(), "x")
		_, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		synctest.Wait()
		assert.Equal(t, before+3, ours(), "all of them are held back")
		require.NoError(t, term.Close())
		cmd.Process.Cancel()
		synctest.Wait()
		assert.Equal(t, before+1, ours())
		sb.s.endLife(errStopped)
		synctest.Wait()
		assert.Equal(t, before, ours())
	})

	story(t, "many readers and waiters of one process need none of ours", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.hang() }
		before := ours()
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { io.Copy(io.Discard, p.Stdout()) })
			all.Go(func() { p.Wait() })
		}
		synctest.Wait()
		assert.Equal(t, before+1, ours())
		p.Cancel()
		all.Wait()
	})
}
