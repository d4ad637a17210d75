//go:build linux

package reaper_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// The program dies at once of what its terminal does; the helper has nothing to do with that terminal.
func TestTerminal(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(t *testing.T, terminal *os.File){
		"Ctrl+C": func(t *testing.T, terminal *os.File) {
			_, err := terminal.Write([]byte{3})
			require.NoError(t, err)
		},
		"Ctrl+\\": func(t *testing.T, terminal *os.File) {
			_, err := terminal.Write([]byte{28})
			require.NoError(t, err)
		},
		"its end": func(t *testing.T, terminal *os.File) { require.NoError(t, terminal.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			terminal, tty, err := pty.Open()
			require.NoError(t, err)
			defer terminal.Close()
			c := launch(t, srv.URL(), srv.APIKey(), with("CWSANDBOX_DISABLE_SIGNAL_HANDLING", "1"), func(cmd *exec.Cmd) {
				cmd.ExtraFiles = []*os.File{tty}
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 3}
			})
			require.NoError(t, tty.Close())
			c.create(t, 2)
			h := c.helper(t)
			act(t, terminal)
			require.Error(t, c.cmd.Wait())
			h.wait(t)
			assert.Len(t, deletes(t, srv), 2)
			srv.AssertNoneLeft(t)
		})
	}
}

// The program's executable goes away, or becomes another one, while it runs.
func TestExecutable(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"deleted": os.Remove,
		"replaced": func(path string) error {
			other := path + ".new"
			if err := os.WriteFile(other, []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
				return err
			}
			return os.Rename(other, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			copied := copyOfSelf(t)
			c := launch(t, srv.URL(), srv.APIKey(), func(cmd *exec.Cmd) { cmd.Path = copied })
			require.NoError(t, change(copied))
			c.create(t, 1)
			h := c.helper(t)
			require.Error(t, c.kill())
			h.wait(t)
			assert.Len(t, deletes(t, srv), 1)
		})
	}
}

// copyOfSelf returns the path of a copy of the test binary.
func copyOfSelf(t *testing.T) string {
	t.Helper()
	syscall.ForkLock.RLock() // a file that a child has inherited for writing cannot be executed
	defer syscall.ForkLock.RUnlock()
	self, err := os.Open(os.Args[0])
	require.NoError(t, err)
	defer self.Close()
	path := filepath.Join(t.TempDir(), "program")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o700)
	require.NoError(t, err)
	_, err = io.Copy(file, self)
	require.NoError(t, err)
	require.NoError(t, file.Close())
	return path
}

// TestInsideATest has the program as a test that runs, with the flags that go test gives it.
func TestInsideATest(t *testing.T) {
	if os.Getenv(insideATest) != "" {
		runProgram()
		return
	}
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey(), with(asProgram, ""), with(insideATest, "1"), func(cmd *exec.Cmd) {
		cmd.Args = append(cmd.Args, "-test.run=^TestInsideATest$", "-test.paniconexit0", "-test.timeout=10m")
	})
	c.create(t, 2)
	h := c.helper(t)
	require.Error(t, c.kill())
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
}
