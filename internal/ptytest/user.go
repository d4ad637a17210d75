//go:build linux || darwin

package ptytest

import (
	"io"
	"os"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// User is somebody at a terminal. Both ends of it are closed with the test.
type User struct {
	T        *testing.T
	Keyboard *os.File // and screen
	TTY      *os.File // what a program has as its standard streams
	Before   unix.Termios

	screen strings.Builder // what is not expected yet
}

// New opens a terminal of a size.
func New(t *testing.T, cols, rows uint16) *User {
	t.Helper()
	keyboard, tty, err := pty.Open()
	require.NoError(t, err)
	t.Cleanup(func() {
		keyboard.Close()
		tty.Close()
	})
	u := &User{T: t, Keyboard: keyboard, TTY: tty}
	u.Resize(cols, rows)
	u.Before = u.Settings()
	require.NotZero(t, u.Before.Lflag&unix.ICANON)
	return u
}

// Settings are those of the terminal now.
func (u *User) Settings() unix.Termios {
	u.T.Helper()
	settings, err := unix.IoctlGetTermios(int(u.TTY.Fd()), getTermios)
	require.NoError(u.T, err)
	return *settings
}

// Restored expects the terminal to be as it was.
func (u *User) Restored() {
	u.T.Helper()
	assert.Equal(u.T, u.Before, u.Settings(), "the terminal")
}

// Resize changes the size of the terminal.
func (u *User) Resize(cols, rows uint16) {
	u.T.Helper()
	require.NoError(u.T, pty.Setsize(u.Keyboard, &pty.Winsize{Cols: cols, Rows: rows}))
}

// Press types.
func (u *User) Press(keys string) {
	u.T.Helper()
	_, err := io.WriteString(u.Keyboard, keys)
	require.NoError(u.T, err)
}

// Expect waits for text on the screen.
func (u *User) Expect(text string) {
	u.T.Helper()
	piece := make([]byte, 1<<10)
	for {
		if _, rest, found := strings.Cut(u.screen.String(), text); found {
			u.screen.Reset()
			u.screen.WriteString(rest)
			return
		}
		n, err := u.Keyboard.Read(piece)
		require.NoError(u.T, err, "no %q in %q", text, u.screen.String())
		u.screen.Write(piece[:n])
	}
}
