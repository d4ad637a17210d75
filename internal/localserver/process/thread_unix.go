//go:build linux || darwin

package process

import (
	"errors"
	"runtime"
	"sync"
)

// A thread runs functions on one operating system thread. Children are started on one, because a child's wish to die
// with its parent is bound to the thread that started it, not to the process.
type thread struct {
	jobs chan func()
	quit chan struct{}
	stop func() // ends the thread; may be called again
}

func newThread() *thread {
	t := &thread{jobs: make(chan func()), quit: make(chan struct{})}
	t.stop = sync.OnceFunc(func() { close(t.quit) })
	go t.run()
	return t
}

// run never unlocks, so that the thread ends with the goroutine and is not given to another one.
func (t *thread) run() {
	runtime.LockOSThread()
	for {
		select {
		case job := <-t.jobs:
			job()
		case <-t.quit:
			return
		}
	}
}

// do runs f on the thread and returns its result.
func (t *thread) do(f func() error) error {
	result := make(chan error, 1)
	select {
	case t.jobs <- func() { result <- f() }:
		return <-result
	case <-t.quit:
		return errors.New("runtime is closed")
	}
}
