//go:build linux || darwin

package process

import (
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// The size of a terminal that was asked for without one.
const (
	defaultCols = 80
	defaultRows = 24
)

// A terminal is the server's side of a pseudo terminal: input and output of a process in one. The descriptor must
// outlive both the reader and the process, because the terminal hangs up with it.
type terminal struct {
	f *os.File

	mu       sync.Mutex
	midLine  bool // the last byte written was not the end of a line
	closed   bool // no more input
	readDone bool
	procDone bool
}

// Read returns what the process wrote; the hang-up is io.EOF.
func (t *terminal) Read(p []byte) (int, error) {
	n, err := t.f.Read(p)
	if err == nil {
		return n, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.readDone = true
	t.release()
	return n, io.EOF
}

func (t *terminal) processEnded() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.procDone = true
	t.release()
}

// release closes the descriptor when nobody needs it anymore.
func (t *terminal) release() {
	if t.readDone && t.procDone {
		t.f.Close()
	}
}

func (t *terminal) resize(s container.Size) {
	if s.Cols == 0 || s.Rows == 0 {
		return
	}
	t.control(func(fd int) {
		_ = setSize(fd, s) // fails only when the terminal has hung up
	})
}

func (t *terminal) control(f func(fd int)) {
	raw, err := t.f.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // an error means that the terminal is closed
}

func setSize(fd int, s container.Size) error {
	return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Col: s.Cols, Row: s.Rows})
}

func sizeOrDefault(s container.Size) container.Size {
	if s.Cols == 0 {
		s.Cols = defaultCols
	}
	if s.Rows == 0 {
		s.Rows = defaultRows
	}
	return s
}

// terminalInput is the writing half.
type terminalInput struct{ t *terminal }

func (i terminalInput) Write(p []byte) (int, error) {
	t := i.t
	t.mu.Lock()
	ignore := t.closed
	if len(p) > 0 && !ignore {
		t.midLine = p[len(p)-1] != '\n'
	}
	t.mu.Unlock()
	if !ignore {
		_, _ = t.f.Write(p) // nobody may be there to read it, which is no error
	}
	return len(p), nil
}

// Close sends the end-of-file character when the terminal collects lines. In the middle of a line the first one only
// delivers what was typed so far, so there it takes two.
func (i terminalInput) Close() error {
	t := i.t
	t.mu.Lock()
	again := t.midLine
	first := !t.closed
	t.closed = true
	t.mu.Unlock()
	if !first {
		return nil
	}
	var eof []byte
	t.control(func(fd int) {
		settings, err := unix.IoctlGetTermios(fd, getTermios)
		if err == nil && settings.Lflag&unix.ICANON != 0 && settings.Cc[unix.VEOF] != disabledChar {
			eof = append(eof, settings.Cc[unix.VEOF])
		}
	})
	if again {
		eof = append(eof, eof...)
	}
	_, _ = t.f.Write(eof)
	return nil
}
