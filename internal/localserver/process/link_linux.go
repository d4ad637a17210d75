package process

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

var errLinkClosed = errors.New("the sandbox process has ended")

// A link is the server's connection to a supervisor or an init.
type link struct {
	conn *conn
	// ended is told of children that ended, in order.
	ended func(id uint64, code int)
	gone  chan struct{} // closed when nothing comes anymore

	mu      sync.Mutex
	lastID  uint64
	waiting map[uint64]chan answer // nil when nothing comes anymore
}

type answer struct {
	reply
	fds []int
}

// descriptor returns the one that came along. The system drops it when this process has too many.
func (a answer) descriptor() (int, error) {
	if len(a.fds) != 1 {
		closeFDs(a.fds)
		return 0, unix.EMFILE
	}
	return a.fds[0], nil
}

// newLink takes over c and starts the goroutine that receives; it ends with the connection.
func newLink(c *conn, ended func(id uint64, code int)) *link {
	l := &link{conn: c, ended: ended, gone: make(chan struct{}), waiting: make(map[uint64]chan answer)}
	go l.receive()
	return l
}

func (l *link) close() {
	l.conn.close()
	<-l.gone
}

// newID returns a number for a request that the caller wants to know before it is sent.
func (l *link) newID() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastID++
	return l.lastID
}

// call sends a request and waits for its answer. Descriptors in the answer are the caller's, also beside an error.
func (l *link) call(ctx context.Context, req *request, files ...*os.File) (answer, error) {
	result := make(chan answer, 1)
	l.mu.Lock()
	if l.waiting == nil {
		l.mu.Unlock()
		return answer{}, errLinkClosed
	}
	l.waiting[req.ID] = result
	l.mu.Unlock()

	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	if err := l.conn.send(req, fds...); err != nil {
		l.abandon(req.ID, result)
		return answer{}, errLinkClosed
	}
	select {
	case a, ok := <-result:
		if !ok {
			return answer{}, errLinkClosed
		}
		return a, a.err()
	case <-ctx.Done():
		l.abandon(req.ID, result)
		return answer{}, ctx.Err()
	}
}

// abandon sees to it that an answer which nobody waits for leaves no descriptors behind.
func (l *link) abandon(id uint64, result <-chan answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.waiting, id)
	select {
	case a := <-result:
		closeFDs(a.fds)
	default:
	}
}

// post sends a request that has no answer. When it cannot be sent there is nobody left whom it would concern.
func (l *link) post(req *request) { _ = l.conn.send(req) }

func (l *link) receive() {
	defer l.hangUp()
	for {
		var r reply
		fds, err := l.conn.receive(&r)
		if err != nil {
			return
		}
		if r.Ended {
			l.ended(r.ID, r.Code)
			continue
		}
		l.deliver(answer{r, fds})
	}
}

func (l *link) deliver(a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	result, ok := l.waiting[a.ID]
	if !ok {
		closeFDs(a.fds)
		return
	}
	delete(l.waiting, a.ID)
	result <- a
}

func (l *link) hangUp() {
	l.conn.close()
	l.mu.Lock()
	for _, result := range l.waiting {
		close(result)
	}
	l.waiting = nil
	l.mu.Unlock()
	close(l.gone)
}
