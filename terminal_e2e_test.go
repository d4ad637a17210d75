//go:build linux || darwin

package cwsandbox_test

import (
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
)

// screen is what somebody sees.
type screen struct {
	t    *testing.T
	from io.Reader
	seen strings.Builder
}

// expect waits for text.
func (s *screen) expect(text string) {
	s.t.Helper()
	piece := make([]byte, 1<<10)
	for {
		if _, rest, found := strings.Cut(s.seen.String(), text); found {
			s.seen.Reset()
			s.seen.WriteString(rest)
			return
		}
		n, err := s.from.Read(piece)
		s.seen.Write(piece[:n])
		if n == 0 {
			require.NoError(s.t, err, "no %q in %q", text, s.seen.String())
		}
	}
}

// waiting is a script that says when its traps are set. What a user types comes back as an echo, so it must not be what
// is waited for.
const waiting = `echo rea""dy; while :; do sleep 0.01; done`

// testInteractive drives a shell with a line editor, at a terminal in the sandbox, from a terminal on this machine.
func testInteractive(t *testing.T, w world) {
	sb := w.run(t)
	keyboard, tty, err := pty.Open()
	require.NoError(t, err)
	defer keyboard.Close()
	defer tty.Close()
	resize := func(cols, rows uint16) {
		require.NoError(t, pty.Setsize(keyboard, &pty.Winsize{Cols: cols, Rows: rows}))
	}
	resize(100, 30)
	term, err := sb.Shell(limited(t), []string{"bash", "--norc", "--noprofile"}, cwsandbox.WithEnv("PS1", "at your service$ "))
	require.NoError(t, err)
	session := cwsandbox.Go(func() (*cwsandbox.Result, error) { return term.Interact(tty, tty) })
	press := func(keys string) {
		_, err := io.WriteString(keyboard, keys)
		require.NoError(t, err)
	}
	see := &screen{t: t, from: keyboard}

	see.expect("at your service$ ")
	press("cho $((6 * 7))\x01e\r") // Ctrl+A goes to the begin of the line
	see.expect("42\r\n")

	press(`sh -c 'trap "stty size; exit" WINCH; stty size; ` + waiting + "'\r")
	see.expect("30 100\r\n")
	see.expect("ready\r\n")
	resize(111, 33)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGWINCH)) // this terminal does not control this process
	see.expect("33 111\r\n")

	press(`sh -c 'trap "echo interr""upted; exit" INT; ` + waiting + "'\r")
	see.expect("ready\r\n")
	press("\x03")
	see.expect("interrupted\r\n")

	press("exit 5\r")
	res, err := session.WaitContext(limited(t))
	require.NoError(t, err)
	assert.Equal(t, 5, res.ExitCode)
}

// testTerminal uses a terminal without a user.
func testTerminal(t *testing.T, w world) {
	sb := w.run(t)
	script := `stty -echo; stty size; echo "$TERM $COLOR"; pwd; trap "stty size" WINCH; echo ready
		cat; until [ "$(stty size)" = "50 132" ]; do sleep 0.01; done; echo end >&2; exit 3`
	term, err := sb.Shell(limited(t), []string{"sh", "-c", script}, cwsandbox.WithSize(90, 20),
		cwsandbox.WithEnv("COLOR", "red"), cwsandbox.WithEnv("TERM", "dumb"), cwsandbox.WithDir("/usr"))
	require.NoError(t, err)
	see := &screen{t: t, from: term}
	see.expect("20 90\r\ndumb red\r\n/usr\r\nready\r\n")
	_, err = io.WriteString(term, "half a line")
	require.NoError(t, err)
	require.NoError(t, term.CloseWrite())
	see.expect("half a line")
	require.NoError(t, term.Resize(limited(t), 132, 50), "after the end of the input")
	see.expect("end\r\n")
	res, err := term.Wait()
	require.NoError(t, err)
	assert.Equal(t, 3, res.ExitCode)
	_, err = term.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err)
}

// testTerminalHangsUp closes a session, with all that runs in it.
func testTerminalHangsUp(t *testing.T, w world) {
	sb := w.run(t)
	pipe := directory(t, sb) + "/pipe"
	output(t, sb, `mkfifo "$1"`, pipe)
	witness, err := sb.StartProcess(limited(t), []string{"cat", pipe})
	require.NoError(t, err)
	term, err := sb.Shell(limited(t), []string{"sh", "-c", `exec 3>"$0"; sleep 1000 & echo started; wait`, pipe})
	require.NoError(t, err)
	(&screen{t: t, from: term}).expect("started\r\n")
	require.NoError(t, term.Close())
	_, err = term.Wait()
	assert.ErrorIs(t, err, cwsandbox.ErrClosed)
	res, err := witness.Wait()
	require.NoError(t, err, "some of it lives on")
	require.NoError(t, res.Err())
}
