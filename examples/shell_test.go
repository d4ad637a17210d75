//go:build linux || darwin

package examples

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/ptytest"
)

// terminal is a program at a terminal that controls it, and whoever sits there.
type terminal struct {
	*ptytest.User
	cmd *exec.Cmd
}

func atTerminal(t *testing.T, env []string, name string, args ...string) *terminal {
	t.Helper()
	u := &terminal{ptytest.New(t, 100, 30), command(t, env, name, args...)}
	u.cmd.Stdin, u.cmd.Stdout, u.cmd.Stderr = u.TTY, u.TTY, u.TTY
	u.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, u.cmd.Start())
	t.Cleanup(func() {
		u.cmd.Process.Kill()
		u.cmd.Wait()
	})
	require.NoError(t, u.Keyboard.SetReadDeadline(time.Now().Add(patience)))
	return u
}

// ends waits for the end of the program, and expects that its terminal is as it was.
func (u *terminal) ends() *os.ProcessState {
	u.T.Helper()
	u.cmd.Wait()
	u.Restored()
	return u.cmd.ProcessState
}

func TestShellAtATerminal(t *testing.T) {
	onBothServers(t, func(t *testing.T, env []string) {
		u := atTerminal(t, env, "shell", "/bin/bash", "--norc", "--noprofile")
		u.Expect("bash-")
		assert.NotEqual(t, u.Before, u.Settings(), "it is raw")
		u.Press("cho $((6 * 7))\x01e\r") // Ctrl+A goes to the begin of the line
		u.Expect("42\r\n")
		u.Press(`sh -c 'trap "stty size; exit" WINCH; stty size; echo rea""dy; while :; do sleep 0.01; done'` + "\r")
		u.Expect("30 100\r\nready\r\n")
		u.Resize(111, 33)
		u.Expect("33 111\r\n")
		u.Press(`sh -c 'trap "echo interr""upted; exit" INT; echo rea""dy; while :; do sleep 0.01; done'` + "\r")
		u.Expect("ready\r\n")
		u.Press("\x03")
		u.Expect("interrupted\r\n")
		u.Press("exit 5\r")
		assert.Equal(t, 5, u.ends().ExitCode())
	})
}

// TestShellIsInterrupted: its own signals are still for the program.
func TestShellIsInterrupted(t *testing.T) {
	for name, row := range map[string]struct {
		env  []string
		says string
	}{
		"by a signal":                     {nil, "cwsandbox: stopped "},
		"by a signal that it sees itself": {[]string{"CWSANDBOX_DISABLE_SIGNAL_HANDLING=1"}, "received signal: terminated"},
	} {
		t.Run(name, func(t *testing.T) {
			onBothServers(t, func(t *testing.T, env []string) {
				u := atTerminal(t, append(env[:len(env):len(env)], row.env...), "shell", "/bin/bash", "--norc", "--noprofile")
				u.Expect("bash-")
				require.NoError(t, u.cmd.Process.Signal(syscall.SIGTERM))
				u.Expect(row.says)
				status := u.ends().Sys().(syscall.WaitStatus)
				if row.env == nil {
					assert.True(t, status.Signaled() && status.Signal() == syscall.SIGTERM, "%v", u.cmd.ProcessState)
				} else {
					assert.Equal(t, 1, status.ExitStatus())
				}
			})
		})
	}
}

func TestShellWithoutATerminal(t *testing.T) {
	onBothServers(t, func(t *testing.T, env []string) {
		cmd := command(t, env, "shell", "/bin/sh")
		cmd.Stdin = strings.NewReader("echo $((6 * 7))\nexit 6\n")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.Run()
		assert.Equal(t, 6, cmd.ProcessState.ExitCode(), "%s", out.String())
		assert.Contains(t, out.String(), "the input is no terminal")
		assert.Contains(t, out.String(), "\n42\n")

		cmd = command(t, env, "shell") // the null device is no terminal either
		text, err := cmd.CombinedOutput()
		assert.NoError(t, err, "%s", text)
	})
}
