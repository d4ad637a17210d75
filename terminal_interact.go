package cwsandbox

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync"
)

// Interact connects the session to the user's own terminal until it is over, and returns what [Terminal.Wait] does: keys
// that are pressed at in go to the program, what it prints goes to out, and it learns the size of in's window and every
// change of it. The keys go there as they are, so that Ctrl+C interrupts the program in the sandbox and not this one.
//
// For that in is put into raw mode. It gets its settings back before Interact returns, panics included, and as soon as
// SIGINT, SIGTERM or SIGHUP arrives: that ends the session, and the error has a [*SignalError] in its chain. Only what
// ends the process on the spot can leave the terminal raw: SIGKILL, os.Exit, or a panic elsewhere.
//
// An in that is no terminal is an [ErrInvalidArgument] error, and the session goes on as if nothing had happened: use Read
// and Write. On Windows Interact is [errors.ErrUnsupported]. Nobody else may read in, or the Terminal, meanwhile.
func (t *Terminal) Interact(in, out *os.File) (*Result, error) {
	c := t.p.call
	if in == nil || out == nil {
		return nil, c.refuse("a file of the user's terminal is nil", ErrInvalidArgument)
	}
	tty, err := makeRaw(in)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		return nil, c.refuse("the user's terminal: "+err.Error(), err)
	case err != nil:
		return nil, c.refuse("the input is no terminal: "+err.Error(), ErrInvalidArgument, err)
	}
	if err := t.interact(tty, out); err != nil {
		return nil, c.refuse("the user's terminal: "+err.Error(), err)
	}
	return t.p.outcome() // now that the terminal is itself again: a signal may end the program in there
}

// userTerminal is the terminal of the user while it is in raw mode.
type userTerminal struct {
	in      *os.File
	restore func()   // gives it its settings back; may be called again
	wake    *os.File // has something to read, its end, when nobody shall wait for keys any more
}

// interact returns when the session is over, the terminal is restored, and nothing that was started here is left. Its error
// is that it could not begin.
func (t *Terminal) interact(tty *userTerminal, out *os.File) error {
	defer tty.restore()
	wake, over, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wake.Close()
	tty.wake = wake
	signals, resized := make(chan os.Signal, 1), make(chan os.Signal, 1)
	notifyEnd(signals)
	defer signal.Stop(signals)
	notifyResize(resized)
	defer signal.Stop(resized)

	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer t.Close()
	defer tty.restore() // before anything that waits
	helpers.Go(func() {
		defer over.Close()
		defer tty.restore() // a panic here ends the program
		t.watch(tty, signals)
	})
	helpers.Go(func() {
		defer tty.restore()
		t.followSize(tty, resized)
	})
	helpers.Go(func() {
		defer tty.restore()
		t.tellSize(tty) // a command that is typed finds it
		t.broken(t.pressKeys(tty))
	})
	_, err = io.Copy(out, t.out)
	if own := (*Error)(nil); !errors.As(err, &own) { // else it is why the session is over
		t.broken(err)
	}
	return nil
}

// notifyEnd asks for the signals that end programs, but for those that this one ignores.
func notifyEnd(c chan<- os.Signal) {
	for _, sig := range endingSignals {
		if !signal.Ignored(sig) {
			signal.Notify(c, sig)
		}
	}
}

// watch ends the session on a signal.
func (t *Terminal) watch(tty *userTerminal, signals <-chan os.Signal) {
	select {
	case sig := <-signals:
		tty.restore()
		t.p.cancel(t.p.call.refuse("received signal: "+sig.String(), ErrClosed, &SignalError{sig}))
	case <-t.p.done:
	}
}

// followSize tells the program every change of the window's size, until the session is over.
func (t *Terminal) followSize(tty *userTerminal, resized <-chan os.Signal) {
	for {
		select {
		case <-resized:
			t.tellSize(tty)
		case <-t.p.done:
			return
		}
	}
}

// tellSize tells the program the size of the window, if it has one.
func (t *Terminal) tellSize(tty *userTerminal) {
	if cols, rows, err := tty.size(); err == nil && cols > 0 && rows > 0 {
		_ = t.Resize(context.Background(), cols, rows) // fails only at the end of the session
	}
}

// pressKeys sends what is typed until the session is over. The error is the terminal's.
func (t *Terminal) pressKeys(tty *userTerminal) error {
	keys := make([]byte, 4<<10)
	for {
		typed, err := tty.await()
		if err != nil || !typed {
			return err
		}
		n, err := tty.in.Read(keys)
		if n > 0 {
			if _, err := t.keys.Write(keys[:n]); err != nil {
				return nil // the session is over, or its input
			}
		}
		if err != nil {
			return err // io.EOF too: it has hung up
		}
	}
}

// broken ends the session because of the terminal of its user. Nil does nothing.
func (t *Terminal) broken(err error) {
	if err != nil {
		t.p.cancel(t.p.call.refuse("the user's terminal: "+err.Error(), ErrClosed, err))
	}
}
