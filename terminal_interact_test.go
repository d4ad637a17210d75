//go:build linux || darwin

package cwsandbox

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/ptytest"
)

// user is somebody at a terminal, who uses the library.
type user struct{ *ptytest.User }

func newUser(t *testing.T) *user { return &user{ptytest.New(t, 5, 3)} }

// ending is what an Interact has returned.
type ending struct {
	res *Result
	err error
}

func (u *user) interact(term *Terminal) *Future[ending] {
	return Go(func() (ending, error) {
		res, err := term.Interact(u.TTY, u.TTY)
		return ending{res, err}, nil
	})
}

// over waits for the end of an Interact.
func over(t *testing.T, f *Future[ending]) ending {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	end, err := f.WaitContext(ctx)
	require.NoError(t, err)
	return end
}

func TestInteract(t *testing.T) {
	begin := func(t *testing.T) (*user, *Terminal, *Future[ending]) {
		s, sb := scripted(t)
		s.exec = echo
		u, term := newUser(t), shell(t, sb)
		f := u.interact(term)
		u.Expect("|||||---")
		return u, term, f
	}

	t.Run("keys, output, sizes, the exit code", func(t *testing.T) {
		u, _, f := begin(t)
		raw := u.Settings()
		assert.Zero(t, raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG))
		u.Press("\x03\x04\r")
		u.Expect("[\x03\x04\r]")
		u.Resize(7, 1)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH))
		u.Expect("|||||||-")
		u.Press("q")
		end := over(t, f)
		require.NoError(t, end.err)
		assert.Equal(t, 7, end.res.ExitCode)
		u.Restored()
	})

	t.Run("what is typed after the end is for the next", func(t *testing.T) {
		u, _, f := begin(t)
		u.Press("q")
		over(t, f)
		u.Press("mine\n")
		line := make([]byte, 16)
		n, err := u.TTY.Read(line)
		require.NoError(t, err)
		assert.Equal(t, "mine\n", string(line[:n]))
	})

	t.Run("all that was printed comes before the end", func(t *testing.T) {
		s, sb := scripted(t)
		s.exec = func(d *dialog) error {
			d.ready()
			for range 100 {
				d.out(strings.Repeat("x", 1<<10))
			}
			d.out("last")
			return d.exit(0)
		}
		u := newUser(t)
		f := u.interact(shell(t, sb))
		u.Expect("last")
		require.NoError(t, over(t, f).err)
		u.Restored()
	})

	for name, row := range map[string]struct {
		end  func(u *user, term *Terminal)
		want []error
	}{
		"Close":               {func(_ *user, term *Terminal) { term.Close() }, []error{ErrClosed}},
		"a stop":              {func(_ *user, term *Terminal) { term.p.cancel(errStopped) }, []error{ErrNotRunning}},
		"the user hangs up":   {func(u *user, _ *Terminal) { u.Keyboard.Close() }, []error{ErrClosed}},
		"the input is closed": {func(_ *user, term *Terminal) { term.CloseWrite(); term.Close() }, []error{ErrClosed}},
	} {
		t.Run(name, func(t *testing.T) {
			u, term, f := begin(t)
			row.end(u, term)
			end := over(t, f)
			assert.Nil(t, end.res)
			all(t, end.err, row.want...)
			if name != "the user hangs up" { // then nothing is left to be restored
				u.Restored()
			}
		})
	}

	t.Run("the context ends", func(t *testing.T) {
		s, sb := scripted(t)
		s.exec = flood
		ctx, cancel := context.WithCancel(t.Context())
		term, err := sb.Shell(ctx, nil)
		require.NoError(t, err)
		u := newUser(t)
		f := u.interact(term)
		u.Expect("xxx")
		cancel()
		go io.Copy(io.Discard, u.Keyboard) // what was printed is still on its way; ends with the terminal
		all(t, over(t, f).err, context.Canceled)
		u.Restored()
	})

	t.Run("the output cannot be written", func(t *testing.T) {
		s, sb := scripted(t)
		s.exec = echo
		u, term := newUser(t), shell(t, sb)
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		require.NoError(t, err)
		require.NoError(t, out.Close())
		_, err = term.Interact(u.TTY, out)
		all(t, err, fs.ErrClosed)
		u.Restored()
	})

	t.Run("a panic", func(t *testing.T) {
		s, sb := scripted(t)
		s.exec = echo
		u, term := newUser(t), shell(t, sb)
		term.out = nil
		assert.Panics(t, func() { term.Interact(u.TTY, u.TTY) })
		u.Restored()
	})

	t.Run("no terminal", func(t *testing.T) {
		s, sb := scripted(t)
		s.exec = echo
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		defer w.Close()
		null, err := os.Open(os.DevNull)
		require.NoError(t, err)
		defer null.Close()
		term := shell(t, sb)
		for _, files := range [][2]*os.File{{r, w}, {null, w}, {nil, w}, {r, nil}} {
			_, err := term.Interact(files[0], files[1])
			all(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "shell sb-1")
		}
		io.WriteString(term, "q")
		res, err := term.Wait()
		require.NoError(t, err)
		assert.Equal(t, 7, res.ExitCode, "the session went on")
		_, err = term.Interact(r, w)
		assert.False(t, errors.Is(err, ErrClosed))
	})
}
