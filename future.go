package cwsandbox

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"slices"
	"sync"
)

// Future is the result of work that goes on beside its caller. [Sandbox.Stop] returns a cold one: nothing happens until
// [Future.Start], [Future.Done], [Future.Wait] or [Future.WaitContext] begins the work, once. Any number of goroutines
// may wait; all get the same result.
//
// The work is never bound to a caller's context: who stops waiting does not stop the work.
type Future[T any] struct {
	work    *work[T]
	cleanup runtime.Cleanup
}

// work is what a future begins. It does not know the future, so that a forgotten future can be collected while its work
// goes on.
type work[T any] struct {
	once  sync.Once
	fn    func() (T, error)
	done  chan struct{}
	value T
	err   error
}

func newFuture[T any](fn func() (T, error)) *Future[T] {
	return &Future[T]{work: &work[T]{fn: fn, done: make(chan struct{})}}
}

// Go begins fn in a goroutine of its own and returns the future of its result.
func Go[T any](fn func() (T, error)) *Future[T] {
	return newFuture(fn).Start()
}

// Cold returns a future that runs fn when somebody begins it: for a wrapper whose own Stop is to be deferred like
// [Sandbox.Stop]. Unlike that one it may be dropped without a warning.
func Cold[T any](fn func() (T, error)) *Future[T] {
	return newFuture(fn)
}

// coldWarned is Cold for work that should not be forgotten: warn is called when the future is collected before anybody
// began it. Warn must not refer to the future.
func coldWarned[T any](fn func() (T, error), warn func()) *Future[T] {
	f := newFuture(fn)
	f.cleanup = runtime.AddCleanup(f, func(warn func()) { warn() }, warn)
	return f
}

// finished returns a future that has its result.
func finished[T any](value T, err error) *Future[T] {
	f := newFuture(func() (T, error) { return value, err })
	f.work.once.Do(f.work.run)
	return f
}

// Start begins the work, if nobody has yet, and returns f without waiting.
func (f *Future[T]) Start() *Future[T] {
	f.work.once.Do(func() {
		f.cleanup.Stop()
		go f.work.run()
	})
	return f
}

// Done begins the work and returns a channel that is closed when the result is there.
func (f *Future[T]) Done() <-chan struct{} {
	return f.Start().work.done
}

// Wait begins the work and waits for its result.
func (f *Future[T]) Wait() (T, error) {
	<-f.Done()
	return f.work.value, f.work.err
}

// WaitContext is [Future.Wait] with a limit on the waiting: when ctx ends first, it returns the context's error and the
// work goes on. The work begins even if ctx has ended already, because undoing must not be skipped.
func (f *Future[T]) WaitContext(ctx context.Context) (T, error) { return f.waitContext(ctx, "wait") }

func (f *Future[T]) waitContext(ctx context.Context, op string) (T, error) {
	if f.finished() {
		return f.Wait()
	}
	f.Start()
	if ctx.Err() == nil {
		select {
		case <-f.Done():
			return f.Wait()
		case <-ctx.Done():
		}
	}
	var zero T
	return zero, call{op: op}.wrap(ctxError(ctx))
}

var errExited = errors.New("the function of a future ended its goroutine")

func (w *work[T]) run() {
	defer close(w.done)
	w.err = errExited // stands if fn calls runtime.Goexit
	w.value, w.err = w.fn()
	w.fn = nil
}

// ctxError is the error of a context that has ended, with its cause where that says more.
func ctxError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == err {
		return err
	}
	return errors.Join(err, cause)
}

// WaitAll begins all futures and waits until each has its result or ctx ends. The results stand in the order of the
// arguments, with the zero value where there is none; the errors are joined. When ctx ends, its error is among them, and
// the work goes on. Without futures it returns nil, nil. A nil future is an error before anything begins.
func WaitAll[T any](ctx context.Context, fs ...*Future[T]) ([]T, error) {
	if err := startAll("wait all", fs); err != nil || len(fs) == 0 {
		return nil, err
	}
	values, errs := make([]T, len(fs)), make([]error, 0, len(fs))
	for i, f := range fs {
		select {
		case <-f.Done():
		case <-ctx.Done():
			if !f.finished() {
				continue
			}
		}
		value, err := f.Wait()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		values[i] = value
	}
	if ctx.Err() != nil && slices.ContainsFunc(fs, func(f *Future[T]) bool { return !f.finished() }) {
		errs = append(errs, call{op: "wait all"}.wrap(ctxError(ctx)))
	}
	return values, errors.Join(errs...)
}

// WaitAny begins all futures and waits until n of them have their result; more than there are means all. It returns
// those n in the order in which they finished, and the others, in the order of the arguments; a future that ended with
// an error counts as done. When ctx ends first, fewer than n are done and the context's error is returned. An n below 1
// and a nil future are errors before anything begins.
func WaitAny[T any](ctx context.Context, n int, fs ...*Future[T]) (done, pending []*Future[T], err error) {
	if n < 1 {
		return nil, nil, call{op: "wait any"}.refuse("n must be at least 1", ErrInvalidArgument)
	}
	if err := startAll("wait any", fs); err != nil {
		return nil, nil, err
	}
	taken := make([]bool, len(fs))
	n = min(n, len(fs))
	for i := 0; i < len(fs) && len(done) < n; i++ { // those that were done before, in the order of the arguments
		if fs[i].finished() {
			done, taken[i] = append(done, fs[i]), true
		}
	}
	err = inOrder(ctx, fs, taken, n-len(done), func(i int) {
		done, taken[i] = append(done, fs[i]), true
	})
	for i, f := range fs {
		if !taken[i] {
			pending = append(pending, f)
		}
	}
	return done, pending, err
}

// inOrder calls take with the indexes of the next n futures that finish, skipping those that are taken.
func inOrder[T any](ctx context.Context, fs []*Future[T], taken []bool, n int, take func(int)) error {
	if n <= 0 {
		return nil
	}
	var watchers sync.WaitGroup
	stop, next := make(chan struct{}), make(chan int)
	for i, f := range fs {
		if taken[i] {
			continue
		}
		watchers.Go(func() {
			select {
			case <-f.Done():
			case <-stop:
				return
			}
			select {
			case next <- i:
			case <-stop:
			}
		})
	}
	defer watchers.Wait()
	defer close(stop)
	for ; n > 0; n-- {
		select {
		case i := <-next:
			take(i)
		case <-ctx.Done():
			return call{op: "wait any"}.wrap(ctxError(ctx))
		}
	}
	return nil
}

// finished reports, without beginning the work, whether the result is there.
func (f *Future[T]) finished() bool {
	return isClosed(f.work.done)
}

// failed reports whether the work is over and ended with an error.
func (f *Future[T]) failed() bool { return f.finished() && f.work.err != nil }

func startAll[T any](op string, fs []*Future[T]) error {
	if slices.Contains(fs, nil) {
		return call{op: op}.refuse("a future is nil", ErrInvalidArgument)
	}
	for _, f := range fs {
		f.Start()
	}
	return nil
}

// Collect gathers what an iterator yields, until its error or its end. What came before the error is kept.
func Collect[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var all []T
	for value, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, value)
	}
	return all, nil
}
