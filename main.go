package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
)

// SignalError is the cause of the context of [Main] once a signal has ended it.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e *SignalError) Error() string { return "cwsandbox: received signal: " + e.Signal.String() }

// mainCall is one running Main.
type mainCall struct {
	cancel   context.CancelCauseFunc
	returned chan struct{} // closed when fn is over, or has called Exit
	over     sync.Once
}

func (m *mainCall) end() { m.over.Do(func() { close(m.returned) }) }

// Main runs fn, the work of a program, and leaves no sandbox behind however it ends:
//
//	func main() { cwsandbox.Main(run) }
//
// When fn returns, everything that the process still tracks is stopped as [Cleanup] does, and Main returns; if fn's error
// is not nil, it is printed on standard error and the program ends with status 1, without running the deferred functions
// of main: put them into fn. When fn panics, the panic goes on after the cleanup. When fn ends its goroutine by
// runtime.Goexit, the program ends with status 2 after the cleanup, as Go does when nothing else is left to run.
//
// On SIGINT, SIGTERM or SIGHUP the context of fn ends, with a [*SignalError] as its cause, while the cleanup runs beside
// it. When both are over, or the cleanup timeout is, the signal takes its course: the process dies of it, as it would have
// without Main. A second SIGINT or SIGTERM ends the process at once. Sandboxes that could not be stopped are named on
// standard error.
//
// In a sandbox, to serve a call of a [Func], it does what [ServeFuncs] does and fn is not called.
//
// Main is called once at a time, from func main. It covers neither os.Exit (see [Exit]) nor a panic in another goroutine,
// nor what kills the process: that is for the helper process of package reaper.
func Main(fn func(ctx context.Context) error) {
	ServeFuncs()
	ctx, cancel := context.WithCancelCause(context.Background())
	m := &mainCall{cancel: cancel, returned: make(chan struct{})}
	processSignals.enter(m)
	defer processSignals.leave()
	defer cancel(nil)
	processSignals.install()

	var err error
	returned := false
	defer func() {
		panicked := recover()
		switch {
		case panicked != nil && ctx.Err() != nil: // a signal may end the program before the panic can
			complain(fmt.Sprintf("panic: %v\n\n%s", panicked, debug.Stack()))
		case err != nil && !endedBy(ctx, err):
			complain(fmt.Sprintln(err))
		}
		m.end() // from here on a signal may end the program
		stopAll()
		switch {
		case panicked != nil:
			panic(panicked)
		case !returned:
			complain("cwsandbox: the function of Main called runtime.Goexit\n")
			os.Exit(2)
		case err != nil:
			os.Exit(1)
		}
	}()
	err = fn(ctx)
	returned = true
}

// endedBy reports whether an error only says that ctx has ended.
func endedBy(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx)))
}

// Exit stops everything that this process tracks, as [Cleanup] does, names on standard error what could not be stopped,
// and ends the program with a status. Unlike os.Exit it leaves nothing running; like os.Exit it runs no deferred function.
// When a signal is being handled, the program ends by that.
func Exit(code int) {
	processSignals.exiting()
	stopAll()
	os.Exit(code)
}

// stopAll is the cleanup at the end of a program that ends by itself. If a signal has arrived, or does so meanwhile, the
// program ends by that, and stopAll does not return, unless the signal is the program's own matter.
func stopAll() {
	processSignals.wait()
	ctx, cancel, longest := ownBudget()
	defer cancel()
	stopped, left := processRegistry.cleanup(ctx, longest)
	processSignals.wait()
	if len(left) > 0 {
		complain(report(stopped, left))
	}
}

// exiting lets a cleanup that waits for the function of Main go on: that function has called Exit.
func (h *signalHook) exiting() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.main != nil {
		h.main.end()
	}
}

func (h *signalHook) enter(m *mainCall) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.main != nil {
		panic("cwsandbox: Main is running already")
	}
	h.main = m
}

func (h *signalHook) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.main = nil
}
