//go:build linux

package endings

import (
	"fmt"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const (
	// atOnceLimit is how long after a second signal the program may live.
	atOnceLimit = 50 * time.Millisecond
	// tries is how often that is measured at most: a busy machine may be late, a program that waits for something always is.
	tries = 10
)

// TestSecondSignal: whatever the cleanup hangs in, a second signal ends the program at once.
func TestSecondSignal(t *testing.T) {
	plain := Cell{Interrupted, Plain, Running, Alone}
	for name, how := range map[string]func(*testing.T) (took time.Duration){
		"the service does not answer": func(t *testing.T) time.Duration {
			s := serve(t, plain)
			c := start(t, plain, s.env()...)
			s.holdDeletes()
			return c.second(t, syscall.SIGINT, func() { s.waitArrived(t, 1) })
		},
		"the network swallows everything": func(t *testing.T) time.Duration {
			s := serve(t, plain)
			w := lay(t, s.address)
			s.address = w.address()
			c := start(t, plain, s.env()...)
			w.cut()
			return c.second(t, syscall.SIGTERM, func() { w.waitSwallowed(t) })
		},
		"a stop is stuck": func(t *testing.T) time.Duration {
			cell := Cell{Interrupted, Plain, Stopping, Alone}
			s := serve(t, cell)
			s.holdDeletes()
			c := start(t, cell, s.env()...)
			s.waitArrived(t, 1)
			return c.second(t, syscall.SIGINT, func() { s.waitArrived(t, 2) })
		},
		"the function of Main does not return": func(t *testing.T) time.Duration {
			cell := Cell{Interrupted, InMain, Stopping, Alone} // it waits for its stop
			s := serve(t, cell)
			s.holdDeletes()
			c := start(t, cell, s.env()...)
			s.waitArrived(t, 1)
			return c.second(t, syscall.SIGTERM, func() { s.waitArrived(t, 2) })
		},
		"nobody reads standard error": func(t *testing.T) time.Duration {
			s := serve(t, plain)
			c := launch(t, withSDK, Role{Cell: plain, Noisy: true}, fullPipe(t), s.env())
			s.holdDeletes()
			return c.second(t, syscall.SIGINT, func() { s.waitArrived(t, 1) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			var took time.Duration
			for range tries {
				if took = how(t); took < atOnceLimit {
					return
				}
			}
			assert.Fail(t, "the program lives on", "at best for %v", took)
		})
	}
}

// second sends SIGINT and, when the cleanup hangs, another signal. It returns how long the program lived after that.
func (c *child) second(t *testing.T, sig syscall.Signal, hangs func()) time.Duration {
	t.Helper()
	c.signal(t, syscall.SIGINT)
	hangs()
	time.Sleep(aMoment)
	begin := time.Now()
	c.signal(t, sig)
	c.wait(t, c.ended)
	require.Equal(t, fmt.Sprintf("exit status %d", 128+sig), describe(c.status()))
	return c.at.Sub(begin)
}

// waitArrived waits until n deletes have come.
func (s *service) waitArrived(t *testing.T, n int) {
	t.Helper()
	s.until(t, func() bool {
		_, arrived, _ := s.numbers()
		return arrived >= n
	}, "the deletes do not come")
}

// TestStandardError: whatever has become of it, the program stops its sandboxes and dies of the signal.
func TestStandardError(t *testing.T) {
	for name, tt := range map[string]struct {
		stderr func(*testing.T) *os.File
		noisy  bool
	}{
		"nobody can read it": {stderr: brokenPipe},
		"nobody reads it":    {stderr: fullPipe, noisy: true},
	} {
		t.Run(name, func(t *testing.T) {
			cell := Cell{Terminated, Plain, Running, Alone}
			s := serve(t, cell)
			c := launch(t, withSDK, Role{Cell: cell, Noisy: tt.noisy}, tt.stderr(t), s.env())
			assert.Empty(t, cell.problems(c.die(t, s), control(t, cell)))
		})
	}
}

// brokenPipe returns a pipe that nobody can read.
func brokenPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return w
}

// fullPipe returns a pipe that nobody reads, and that nothing fits in.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	var fds [2]int
	require.NoError(t, unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
	t.Cleanup(func() { unix.Close(fds[0]) })
	var err error
	for err == nil {
		_, err = unix.Write(fds[1], []byte{0})
	}
	require.Equal(t, unix.EAGAIN, err)
	require.NoError(t, unix.SetNonblock(fds[1], false))
	return os.NewFile(uintptr(fds[1]), "full")
}
