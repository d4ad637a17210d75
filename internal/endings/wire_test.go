//go:build linux

package endings

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// wire is a network between a program and its service. Once it is cut it takes everything, and delivers nothing.
type wire struct {
	listener net.Listener
	service  string
	work     sync.WaitGroup
	swallows chan struct{} // closed when something is swallowed that came from the program
	first    sync.Once

	mu    sync.Mutex
	isCut bool
	conns []net.Conn
}

func lay(t *testing.T, service string) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: listener, service: service, swallows: make(chan struct{})}
	w.work.Go(w.serve)
	t.Cleanup(w.remove)
	return w
}

func (w *wire) address() string { return w.listener.Addr().String() }

func (w *wire) serve() {
	for {
		program, err := w.listener.Accept()
		if err != nil {
			return
		}
		service, err := net.Dial("tcp", w.service)
		if err != nil {
			program.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, program, service)
		w.mu.Unlock()
		w.work.Go(func() { w.carry(service, program, true) })
		w.work.Go(func() { w.carry(program, service, false) })
	}
}

// carry carries what comes, until its end, which is swallowed too.
func (w *wire) carry(to, from net.Conn, ofProgram bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		isCut := w.isCut
		w.mu.Unlock()
		switch {
		case !isCut && err == nil:
			_, err = to.Write(buffer[:n])
		case ofProgram && n > 0:
			w.first.Do(func() { close(w.swallows) })
		}
		if err != nil {
			if !isCut {
				to.Close()
			}
			return
		}
	}
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.isCut = true
}

// waitSwallowed waits until the program has said something in vain.
func (w *wire) waitSwallowed(t *testing.T) {
	t.Helper()
	select {
	case <-w.swallows:
	case <-time.After(patience):
		require.FailNow(t, "the program says nothing")
	}
}

func (w *wire) remove() {
	w.listener.Close()
	w.mu.Lock()
	for _, c := range w.conns {
		c.Close()
	}
	w.mu.Unlock()
	w.work.Wait()
}
