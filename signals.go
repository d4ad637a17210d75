package cwsandbox

import (
	"os"
	"os/signal"
	"sync"
	"time"
)

const (
	// sameSignal is how long an equal signal counts as the one before: timeout(1) and some supervisors signal a process and
	// then its group.
	sameSignal = 100 * time.Millisecond
	// ownSignal is how long after raising a signal again it may come back to us.
	ownSignal = time.Second
)

// processSignals is the hook of the process-wide registry.
var processSignals signalHook

// signalHook stops everything that is tracked when a signal would end the program, and then lets the signal take its
// course. One goroutine owns its state; it lives from the first sandbox on until the hook is disabled.
type signalHook struct {
	mu       sync.Mutex
	disabled bool
	listener *listener     // nil: not installed
	done     chan struct{} // closed to end its goroutine
	main     *mainCall     // the Main that is running, if any
	handling chan struct{} // closed when the signal that is being handled has been dealt with; nil: none
}

// DisableSignalHandling keeps this package from listening for signals, from now on and for good; a signal that has arrived
// before is still dealt with. It is for programs that stop what they made themselves, by [Cleanup] or by closing sessions,
// after they have drained. The environment variable CWSANDBOX_DISABLE_SIGNAL_HANDLING=1 does the same from the start. The
// context of [Main] then does not end on signals either.
func DisableSignalHandling() {
	h := &processSignals
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.disabled && h.listener != nil {
		signal.Stop(h.listener.signals)
		close(h.done)
	}
	h.disabled = true
}

// install begins to listen, unless that is disabled or done already. Signals that the program ignores stay ignored.
func (h *signalHook) install() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.disabled || h.listener != nil || processEnvironment().ignoreSignals {
		return
	}
	h.done = make(chan struct{})
	h.listener = &listener{hook: h, signals: make(chan os.Signal, 8), watch: newNotifyWatch()}
	h.listener.notify()
	go h.listener.run(h.done)
}

// notify asks for the signals that end programs, but for those that this one ignores. The caller holds the hook's mutex.
func (l *listener) notify() {
	for _, sig := range endingSignals {
		if !signal.Ignored(sig) {
			signal.Notify(l.signals, sig)
		}
	}
}

// wait waits until a signal that is being handled has been dealt with. Where that ends the program it never returns.
func (h *signalHook) wait() {
	h.mu.Lock()
	handling := h.handling
	h.mu.Unlock()
	if handling != nil {
		<-handling
	}
}

// afterSignal holds back a caller whose call has ended while a signal is being handled: else main might see its sandbox
// ended by the cleanup, and end the program before the others are. The function of Main is not held back: Main waits for
// it.
func (h *signalHook) afterSignal() {
	if h == nil {
		return
	}
	h.mu.Lock()
	handling := h.handling
	if h.main != nil {
		handling = nil
	}
	h.mu.Unlock()
	if handling != nil {
		<-handling
	}
}

// listener is the goroutine of the hook.
type listener struct {
	hook    *signalHook
	signals chan os.Signal
	watch   *notifyWatch

	last     os.Signal // the last one that counted
	lastAt   time.Time
	raised   os.Signal // what we raised again and may still get back, where that cannot be known; nil: nothing
	raisedAt time.Time
	cleanup  *signalCleanup // nil: none is running
	handled  bool           // the program has shown that it handles signals itself
}

// signalCleanup is what one signal has begun.
type signalCleanup struct {
	signal  os.Signal
	begun   time.Time
	waiting int           // signal.NotifyContexts just before
	done    chan struct{} // closed when everything is stopped or the budget is over
}

// run is the goroutine. When it is disabled it ends, but not before it has dealt with what came before.
func (l *listener) run(disabled <-chan struct{}) {
	defer l.watch.stop()
	for disabled != nil || l.cleanup != nil {
		var done <-chan struct{}
		if l.cleanup != nil {
			done = l.cleanup.done
		}
		select {
		case sig := <-l.signals:
			l.received(sig)
		case <-l.watch.due():
			l.watch.look()
			l.listen() // the program may have called signal.Reset
		case <-done:
			l.drain() // what has come meanwhile is about this cleanup; afterwards the program may have given its handler back
			l.finish()
		case <-disabled:
			disabled = nil
			l.drain() // nothing comes after it
		}
	}
}

// listen is notify, unless the hook is disabled.
func (l *listener) listen() {
	l.hook.mu.Lock()
	defer l.hook.mu.Unlock()
	if !l.hook.disabled {
		l.notify()
	}
}

// drain deals with what is in the channel.
func (l *listener) drain() {
	for {
		select {
		case sig := <-l.signals:
			l.received(sig)
		default:
			return
		}
	}
}

// received decides what a signal means: the first one begins a cleanup, a second one ends the program at once, without
// any network or output.
func (l *listener) received(sig os.Signal) {
	now := time.Now()
	if sig == l.raised && now.Sub(l.raisedAt) < ownSignal {
		l.raised = nil
		return
	}
	if sig == l.last && now.Sub(l.lastAt) < sameSignal {
		return
	}
	defer func() { l.last, l.lastAt = sig, time.Now() }() // one that comes while this one is dealt with is not late
	switch {
	case l.cleanup == nil:
		l.begin(sig)
	case now.Sub(l.cleanup.begun) < sameSignal || !forces(sig):
	case l.handled || l.othersHandled(): // the program may have given its handler back since; then this is the end
		l.raise(sig)
	default:
		exitAtOnce(sig)
	}
}

// begin starts the cleanup for a signal.
func (l *listener) begin(sig os.Signal) {
	before := l.watch.known
	waiting := max(before, l.watch.look())
	l.cleanup = &signalCleanup{signal: sig, begun: time.Now(), waiting: waiting, done: make(chan struct{})}
	h := l.hook
	h.mu.Lock()
	main := h.main
	h.handling = make(chan struct{})
	h.mu.Unlock()
	go l.cleanup.run(main)
}

// othersHandled reports whether the signal has ended a signal.NotifyContext of the program.
func (l *listener) othersHandled() bool {
	return l.cleanup.waiting > 0 && l.watch.count() < l.cleanup.waiting
}

// run stops everything, while the function of a running Main ends beside it, and says what came of it. It takes no longer
// than the cleanup timeout, and a moment for the report.
func (c *signalCleanup) run(main *mainCall) {
	defer close(c.done)
	ctx, cancel, longest := ownBudget()
	defer cancel()
	round := processRegistry.enter(longest)
	defer processRegistry.leave()
	var returned <-chan struct{}
	if main != nil {
		main.cancel(&SignalError{c.signal})
		returned = main.returned
	}
	round.wait(ctx, returned)
	stopped, left := round.verdict(ctx)
	if stopped > 0 || len(left) > 0 {
		complain(report(stopped, left))
	}
}

// finish lets the signal take its course, unless the program handles it itself. Where the program survives, protection
// goes on.
func (l *listener) finish() {
	if l.othersHandled() {
		l.handled = true
	} else {
		l.raise(l.cleanup.signal)
	}
	l.cleanup = nil
	l.watch.look()
	h := l.hook
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.handling)
	h.handling = nil
}

// raise sends the process the signal once more, with our own channel out of the way. If nobody else listens the process
// dies of it, as it would have without us.
func (l *listener) raise(sig os.Signal) {
	signal.Stop(l.signals)
	if raise(sig) {
		handOut(sig)
	} else {
		l.raised, l.raisedAt = sig, time.Now()
	}
	l.listen()
}

// handOut returns when the handlers of the program have got every sig that has arrived, as signal.Stop promises, so that
// none of those comes to a channel that is added later.
func handOut(sig os.Signal) {
	handler := make(chan os.Signal, 1)
	signal.Notify(handler, sig)
	signal.Stop(handler)
}
