//go:build linux || darwin

package process

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

func TestExec(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{Env: map[string]string{"COLOR": "red", "SHAPE": "round"}})
		t.Run("C-087", func(t *testing.T) {
			assert.Equal(t, result{stdout: "abc"}, run(t, c, container.ProcessSpec{Argv: []string{"printf", "abc"}}))
		})
		t.Run("C-088", func(t *testing.T) { testExitCodes(t, c) })
		t.Run("C-091", func(t *testing.T) { testEnvironment(t, c) })
		t.Run("C-092", func(t *testing.T) {
			args := []string{`"quotes" 'too'`, "two  spaces", "line\nbreak", "\xff\xfe", "$HOME *", ""}
			got := run(t, c, container.ProcessSpec{Argv: append([]string{"printf", `%s|`}, args...)})
			assert.Equal(t, strings.Join(args, "|")+"|", got.stdout)
		})
		t.Run("C-094", func(t *testing.T) {
			begin := time.Now()
			assert.Equal(t, "done", sh(t, c, "sleep 1000 & echo done"))
			assert.Less(t, time.Since(begin), patience)
		})
		t.Run("C-098", func(t *testing.T) { testClosedInput(t, c) })
		t.Run("C-099", func(t *testing.T) {
			p, err := c.Exec(t.Context(), container.ProcessSpec{
				Argv: []string{"sh", "-c", "printf one; read x; printf two; read x"}, Stdin: true,
			})
			require.NoError(t, err)
			chunk := make([]byte, 100)
			for _, want := range []string{"one", "two"} {
				n, err := p.Stdout().Read(chunk)
				require.NoError(t, err)
				assert.Equal(t, want, string(chunk[:n]))
				_, err = io.WriteString(p.Stdin(), "\n")
				require.NoError(t, err)
			}
			assert.Zero(t, finish(t, p).code)
		})
		t.Run("C-100", func(t *testing.T) {
			assert.Equal(t, result{stdout: "out", stderr: "err"}, shell(t, c, "printf out; printf err >&2"))
		})
		t.Run("C-101", func(t *testing.T) { testLongOutput(t, c) })
		t.Run("C-117", func(t *testing.T) { testManyAtOnce(t, c) })
	})
}

func testExitCodes(t *testing.T, c container.Container) {
	assert.Equal(t, 33, shell(t, c, "exit 33").code)
	assert.Equal(t, 255, shell(t, c, "exit 255").code)
	assert.Equal(t, 137, shell(t, c, "kill -9 $$").code)
	assert.Equal(t, 143, shell(t, c, "kill -15 $$").code)
	for _, row := range []struct {
		command string
		code    int
		text    string
	}{
		{"no-such-command", 127, "no-such-command: command not found"},
		{"/no/such/command", 127, "/no/such/command: no such file or directory"},
		{"/usr", 126, "/usr: is a directory"},
		{"/etc/passwd", 126, "/etc/passwd: permission denied"},
		{"/etc/passwd/x", 127, "/etc/passwd/x: not a directory"},
		{"", 127, ": command not found"},
	} {
		_, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{row.command}})
		var start *container.StartError
		if assert.ErrorAs(t, err, &start, row.command) {
			assert.Equal(t, container.StartError{Code: row.code, Text: row.text}, *start)
		}
	}
}

func testEnvironment(t *testing.T, c container.Container) {
	spec := container.ProcessSpec{
		Argv: []string{"/bin/sh", "-c", "echo $COLOR $SHAPE"},
		Env:  map[string]string{"COLOR": "blue"},
	}
	assert.Equal(t, "blue round\n", run(t, c, spec).stdout)
	assert.Equal(t, "red round", sh(t, c, "echo $COLOR $SHAPE"), "it was for one process")

	dir := sh(t, c, `mkdir -p "$HOME/own" && cd "$HOME/own" && printf '#!/bin/sh\necho mine' >tool && chmod +x tool && pwd`)
	found := run(t, c, container.ProcessSpec{Argv: []string{"tool"}, Env: map[string]string{"PATH": "/none:" + dir}})
	assert.Equal(t, "mine\n", found.stdout)
	_, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"tool"}})
	assert.Error(t, err)
	_, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sh"}, Env: map[string]string{"PATH": ""}})
	assert.Error(t, err)
}

func testClosedInput(t *testing.T, c container.Container) {
	parallel(t, 50, func(i int) error {
		p, err := c.Exec(context.Background(), container.ProcessSpec{Argv: []string{"echo", strconv.Itoa(i)}, Stdin: true})
		if err != nil {
			return err
		}
		if err := p.Stdin().Close(); err != nil {
			return err
		}
		return expectOutput(p, fmt.Sprintln(i))
	})
}

func testManyAtOnce(t *testing.T, c container.Container) {
	parallel(t, 200, func(i int) error {
		p, err := c.Exec(context.Background(), container.ProcessSpec{Argv: []string{"echo", strconv.Itoa(i)}})
		if err != nil {
			return err
		}
		return expectOutput(p, fmt.Sprintln(i))
	})
}

func expectOutput(p container.Process, want string) error {
	out, err := io.ReadAll(p.Stdout())
	if err != nil {
		return err
	}
	<-p.Done()
	if string(out) != want || p.ExitCode() != 0 {
		return fmt.Errorf("got %q and code %d, want %q", out, p.ExitCode(), want)
	}
	return nil
}

func parallel(t *testing.T, n int, f func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	for _, err := range errs {
		assert.NoError(t, err)
	}
}

func testLongOutput(t *testing.T, c container.Container) {
	p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"seq", "100000"}})
	require.NoError(t, err)
	lines := bufio.NewScanner(p.Stdout())
	n := 0
	for lines.Scan() {
		n++
		require.Equal(t, strconv.Itoa(n), lines.Text())
	}
	assert.Equal(t, 100000, n)
	awaitDone(t, p)

	p, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"head", "-c", "314572800", "/dev/zero"}})
	require.NoError(t, err)
	size, err := io.Copy(io.Discard, p.Stdout())
	require.NoError(t, err)
	assert.EqualValues(t, 300<<20, size)
	awaitDone(t, p)
}

func TestStdin(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{})
		start := func(t *testing.T, argv ...string) container.Process {
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: argv, Stdin: true})
			require.NoError(t, err)
			return p
		}
		t.Run("C-103", func(t *testing.T) {
			p := start(t, "cat")
			sent := sha256.New()
			go func() {
				for _, size := range []int{1, 64 << 10, 1 << 20, 16 << 20} {
					data := bytes.Repeat([]byte{byte(size >> 10), 7}, (size+1)/2)
					sent.Write(data)
					_, _ = p.Stdin().Write(data)
				}
				p.Stdin().Close()
			}()
			got := sha256.New()
			_, err := io.Copy(got, p.Stdout())
			require.NoError(t, err)
			awaitDone(t, p)
			assert.Equal(t, sent.Sum(nil), got.Sum(nil))
		})
		t.Run("C-104", func(t *testing.T) {
			p := start(t, "sort")
			_, err := io.WriteString(p.Stdin(), "b\na\n")
			require.NoError(t, err)
			require.NoError(t, p.Stdin().Close())
			require.NoError(t, p.Stdin().Close(), "closing again")
			assert.Equal(t, result{stdout: "a\nb\n"}, finish(t, p))
		})
		t.Run("C-106", func(t *testing.T) {
			p := start(t, "sh", "-c", "exec <&-; exit 3")
			_, err := p.Stdin().Write(make([]byte, 1<<20))
			assert.NoError(t, err)
			assert.Equal(t, 3, finish(t, p).code)
			_, err = io.WriteString(p.Stdin(), "too late")
			assert.NoError(t, err)
		})
		t.Run("C-107", func(t *testing.T) {
			p := start(t, "sh", "-c", "seq 50000; exit 0")
			written := make(chan struct{})
			go func() {
				_, _ = p.Stdin().Write(make([]byte, 10<<20))
				close(written)
			}()
			assert.True(t, strings.HasSuffix(finish(t, p).stdout, "\n50000\n"))
			<-written
		})
		t.Run("without a pipe the input is empty", func(t *testing.T) {
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"cat"}})
			require.NoError(t, err)
			assert.Nil(t, p.Stdin())
			assert.Equal(t, result{}, finish(t, p))
		})
	})
}

func TestKill(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{})
		t.Run("C-093", func(t *testing.T) {
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sh", "-c", "sleep 71001 & sleep 71001"}})
			require.NoError(t, err)
			awaitRunning(t, c, "sleep 71001", 2)
			p.Kill()
			awaitDone(t, p)
			assert.Equal(t, 137, p.ExitCode())
			_, err = p.Stdout().Read(make([]byte, 1))
			assert.Equal(t, io.EOF, err)
			awaitRunning(t, c, "sleep 71001", 0)
			assert.Equal(t, "fine", sh(t, c, "echo fine"))
		})
		t.Run("C-109", func(t *testing.T) {
			p, err := c.Exec(t.Context(), container.ProcessSpec{
				Argv: []string{"sh", "-c", "while :; do sh -c 'sleep 71002'; done"},
			})
			require.NoError(t, err)
			awaitRunning(t, c, "sleep 71002", 1)
			p.Kill()
			awaitDone(t, p)
			awaitRunning(t, c, "sleep 71002", 0)
		})
		t.Run("a writer dies of the kill", func(t *testing.T) {
			for range 5 {
				p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"yes"}})
				require.NoError(t, err)
				readUntil(t, p.Stdout(), "y")
				p.Kill()
				awaitDone(t, p)
				assert.Equal(t, 137, p.ExitCode())
			}
		})
		t.Run("what an exec leaves behind ends with it", func(t *testing.T) {
			sh(t, c, "sleep 71003 >/dev/null 2>&1 & sh -c 'sleep 71003 &'")
			awaitRunning(t, c, "sleep 71003", 0)
		})
		t.Run("signals reach the group", func(t *testing.T) {
			p, err := c.Exec(t.Context(), container.ProcessSpec{
				Argv: []string{"sh", "-c", "trap 'echo caught; exit 7' USR1; echo ready; while :; do sleep 71004; done"},
			})
			require.NoError(t, err)
			readUntil(t, p.Stdout(), "ready")
			awaitRunning(t, c, "sleep 71004", 1)
			p.Signal(int(syscall.SIGUSR1))
			assert.Equal(t, result{stdout: "caught\n", code: 7, stderr: ""}, dropStderr(finish(t, p)))
			p.Signal(int(syscall.SIGKILL))
			p.Kill()
		})
	})
}

// dropStderr forgets what a shell says about a child that a signal has ended.
func dropStderr(r result) result {
	r.stderr = ""
	return r
}

// awaitRunning waits until so many processes with this command line run in the container.
func awaitRunning(t *testing.T, c container.Container, command string, want int) {
	t.Helper()
	awaitCount(t, c, "ps -A -o args= 2>/dev/null | grep -c '^"+command+"'", want)
}

// awaitCount waits until a script that prints a number prints this one.
func awaitCount(t *testing.T, c container.Container, script string, want int) {
	t.Helper()
	require.Eventually(t, func() bool {
		p, err := c.Exec(context.Background(), container.ProcessSpec{Argv: []string{"/bin/sh", "-c", script + " || true"}})
		if err != nil {
			return false
		}
		out, _ := io.ReadAll(p.Stdout())
		return strings.TrimSpace(string(out)) == strconv.Itoa(want)
	}, patience, 20*time.Millisecond, "%d from %q", want, script)
}

func TestTerminal(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{})
		start := func(t *testing.T, size container.Size, script string) container.Process {
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"/bin/sh", "-c", script}, TTY: &size})
			require.NoError(t, err)
			return p
		}
		t.Run("C-110", func(t *testing.T) {
			p := start(t, container.Size{Cols: 100, Rows: 30}, "test -t 0 && test -t 1 && stty size; echo $TERM; ps -o tty= -p $$")
			out := finish(t, p).stdout
			assert.Contains(t, out, "30 100\r\nxterm-256color\r\n")
			assert.NotContains(t, out, "?", "it is the controlling terminal")
			assert.Equal(t, "24 80\r\n", finish(t, start(t, container.Size{}, "stty size")).stdout)
		})
		t.Run("C-111", func(t *testing.T) {
			p := start(t, container.Size{}, "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.01; done")
			readUntil(t, p.Stdout(), "ready\r\n")
			p.Resize(container.Size{})
			require.NoError(t, p.Stdin().Close())
			p.Resize(container.Size{Cols: 132, Rows: 50})
			assert.Contains(t, finish(t, p).stdout, "50 132\r\n")
			p.Resize(container.Size{Cols: 1, Rows: 1})
		})
		t.Run("C-112", func(t *testing.T) {
			p := start(t, container.Size{}, "seq 5000; echo err >&2; exit 5")
			assert.Nil(t, p.Stderr())
			got := finish(t, p)
			assert.Equal(t, 5, got.code)
			assert.True(t, strings.HasSuffix(got.stdout, "5000\r\nerr\r\n"), "all of the output")
		})
		t.Run("C-113", func(t *testing.T) {
			for _, typed := range []string{"", "line\n", "half"} {
				p := start(t, container.Size{}, "stty -echo; echo ready; exec cat")
				readUntil(t, p.Stdout(), "ready\r\n")
				_, err := io.WriteString(p.Stdin(), typed)
				require.NoError(t, err)
				require.NoError(t, p.Stdin().Close())
				require.NoError(t, p.Stdin().Close())
				assert.Equal(t, result{stdout: strings.ReplaceAll(typed, "\n", "\r\n")}, finish(t, p))
			}
		})
		t.Run("an interrupt typed ends the foreground", func(t *testing.T) {
			p := start(t, container.Size{}, "echo ready; sleep 71005")
			readUntil(t, p.Stdout(), "ready\r\n")
			awaitRunning(t, c, "sleep 71005", 1) // a shell that is just starting a command may miss the signal
			_, err := p.Stdin().Write([]byte{3})
			require.NoError(t, err)
			assert.Equal(t, 130, finish(t, p).code)
		})
		t.Run("a kill ends the reading", func(t *testing.T) {
			p := start(t, container.Size{}, "echo ready; sleep 71006")
			readUntil(t, p.Stdout(), "ready\r\n")
			p.Kill()
			assert.Equal(t, 137, finish(t, p).code)
		})
	})
}

func TestMainProcess(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("output and code", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{Command: "/bin/sh", Args: []string{"-c", "echo out; echo err >&2; exit 9"}})
			assert.Equal(t, result{"out\n", "err\n", 9}, finish(t, c.Main()))
		})
		t.Run("C-114", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{})
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sh", "-c", "echo before; sleep 71007"}})
			require.NoError(t, err)
			readUntil(t, p.Stdout(), "before\n")
			c.Main().Signal(int(syscall.SIGTERM))
			awaitDone(t, c.Main())
			assert.Equal(t, 143, c.Main().ExitCode())
			assert.Equal(t, 137, finish(t, p).code)
			_, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"true"}})
			assert.Error(t, err)
		})
		t.Run("a close ends everything and keeps the output", func(t *testing.T) {
			c := newContainer(t, r, container.Spec{Command: "sh", Args: []string{"-c", "echo main; sleep 71008"}})
			p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sh", "-c", "echo exec; sleep 71008"}})
			require.NoError(t, err)
			assert.Equal(t, "main\n", readUntil(t, c.Main().Stdout(), "main\n"))
			awaitRunning(t, c, "sleep 71008", 2)
			require.NoError(t, c.Close())
			assert.Equal(t, result{"exec\n", "", 137}, finish(t, p))
			assert.Equal(t, 137, finish(t, c.Main()).code)
			require.NoError(t, c.Close())
		})
		t.Run("not found", func(t *testing.T) {
			_, err := newSandbox(t, r, container.SandboxSpec{}).Start(t.Context(), container.Spec{Command: "no-such-command"})
			var start *container.StartError
			require.ErrorAs(t, err, &start)
			assert.Equal(t, 127, start.Code)
		})
		t.Run("again in the same sandbox", func(t *testing.T) {
			sb := newSandbox(t, r, container.SandboxSpec{})
			for range 3 {
				c := startContainer(t, sb, container.Spec{Command: "sh", Args: []string{"-c", "ls first; touch first"}})
				got := finish(t, c.Main())
				assert.Contains(t, got.stderr, "first", "each has fresh files")
				require.NoError(t, c.Close())
			}
		})
	})
}
