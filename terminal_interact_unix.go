//go:build unix

package cwsandbox

import (
	"errors"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// notifyResize has changes of the window's size sent to c.
func notifyResize(c chan<- os.Signal) { signal.Notify(c, syscall.SIGWINCH) }

// makeRaw has a terminal deliver every key as it is pressed, without an echo. An error says that f is none.
func makeRaw(f *os.File) (*userTerminal, error) {
	tty := &userTerminal{in: f}
	var saved unix.Termios
	err := tty.control(func(fd int) error {
		settings, err := unix.IoctlGetTermios(fd, getTermios)
		if err != nil {
			return err
		}
		saved = *settings
		cfmakeraw(settings)
		return unix.IoctlSetTermios(fd, setTermios, settings)
	})
	tty.restore = sync.OnceFunc(func() { // fails only when it has hung up
		_ = tty.control(func(fd int) error { return unix.IoctlSetTermios(fd, setTermios, &saved) })
	})
	return tty, err
}

// cfmakeraw is the function of the C library of that name.
func cfmakeraw(t *unix.Termios) {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

func (t *userTerminal) size() (cols, rows int, err error) {
	err = t.control(func(fd int) error {
		size, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err == nil {
			cols, rows = int(size.Col), int(size.Row)
		}
		return err
	})
	return cols, rows, err
}

// await waits for keys, and reports false when it is woken before there are any. A Read could not be given up: it would
// take a key that is for whoever reads the terminal next.
func (t *userTerminal) await() (typed bool, err error) {
	wake, err := t.wake.SyscallConn()
	if err != nil {
		return false, err
	}
	err = t.control(func(fd int) error {
		var failed error
		err := wake.Control(func(wake uintptr) { typed, failed = awaitInput(fd, int(wake)) })
		return errors.Join(err, failed)
	})
	return typed, err
}

// control calls f with the descriptor, which stays open as long.
func (t *userTerminal) control(f func(fd int) error) error {
	raw, err := t.in.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	if err := raw.Control(func(fd uintptr) { result = f(int(fd)) }); err != nil {
		return err
	}
	return result
}
