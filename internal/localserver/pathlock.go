package localserver

import (
	"context"
	"sync"
)

// pathLocks lets one write at a time happen to a path. The zero value is ready.
type pathLocks struct {
	mu     sync.Mutex
	byPath map[string]*pathLock
}

type pathLock struct {
	turn  chan struct{} // holds a token while the path is locked
	users int
}

// lock waits for the path. It returns false when the context ended first.
func (p *pathLocks) lock(ctx context.Context, path string) (unlock func(), ok bool) {
	p.mu.Lock()
	l := p.byPath[path]
	if l == nil {
		l = &pathLock{turn: make(chan struct{}, 1)}
		if p.byPath == nil {
			p.byPath = make(map[string]*pathLock)
		}
		p.byPath[path] = l
	}
	l.users++
	p.mu.Unlock()

	select {
	case l.turn <- struct{}{}:
		return func() {
			<-l.turn
			p.leave(path, l)
		}, true
	case <-ctx.Done():
		p.leave(path, l)
		return nil, false
	}
}

func (p *pathLocks) leave(path string, l *pathLock) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(p.byPath, path)
	}
}
