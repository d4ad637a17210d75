//go:build linux || darwin

package cwsandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
)

// commandShape is what the two types have in common.
type commandShape interface {
	Start() error
	Wait() error
	Run() error
	Output() ([]byte, error)
	CombinedOutput() ([]byte, error)
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.ReadCloser, error)
	StderrPipe() (io.ReadCloser, error)
	String() string
}

// either is a command of one of the two types.
type either struct {
	commandShape
	dir            *string
	env            *[]string
	stdin          *io.Reader
	stdout, stderr *io.Writer
}

func (e either) write(stdout, stderr io.Writer) either {
	*e.stdout, *e.stderr = stdout, stderr
	return e
}

func (e either) read(stdin io.Reader) either {
	*e.stdin = stdin
	return e
}

// outcome is what a program can tell of an error of either type.
func outcome(err error) string {
	var local *exec.ExitError
	var remote *cwsandbox.ExitError
	switch {
	case err == nil:
		return "fine"
	case errors.As(err, &local):
		return fmt.Sprintf("exit %d, %q", local.ExitCode(), local.Stderr)
	case errors.As(err, &remote):
		return fmt.Sprintf("exit %d, %q", remote.ExitCode(), remote.Result.Stderr)
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	return "failed"
}

// programs use a command as programs do, and tell what came of it.
var programs = []struct {
	name string
	run  func(sh func(script string, args ...string) either) []any
	want []any
}{
	{"output", func(sh func(string, ...string) either) []any {
		out, err := sh(`printf '%s|' "$@"`, "a b", "", "$HOME", "'").Output()
		return []any{string(out), outcome(err)}
	}, []any{"a b||$HOME|'|", "fine"}},
	{"output of a failure", func(sh func(string, ...string) either) []any {
		out, err := sh("echo some; echo why >&2; exit 3").Output()
		return []any{string(out), outcome(err)}
	}, []any{"some\n", "exit 3, \"why\\n\""}},
	{"output with an own writer for errors", func(sh func(string, ...string) either) []any {
		var stderr bytes.Buffer
		out, err := sh("echo some; echo why >&2; exit 3").write(nil, &stderr).Output()
		return []any{string(out), stderr.String(), outcome(err)}
	}, []any{"some\n", "why\n", `exit 3, ""`}},
	{"combined output", func(sh func(string, ...string) either) []any {
		out, err := sh("for i in 1 2 3; do echo o$i; echo e$i >&2; done; exit 4").CombinedOutput()
		lines := strings.Fields(string(out))
		slices.Sort(lines)
		return []any{lines, outcome(err)}
	}, []any{[]string{"e1", "e2", "e3", "o1", "o2", "o3"}, `exit 4, ""`}},
	{"run drops what nobody takes", func(sh func(string, ...string) either) []any {
		return []any{outcome(sh("echo some; echo why >&2; exit 5").Run())}
	}, []any{`exit 5, ""`}},
	{"one writer for both", func(sh func(string, ...string) either) []any {
		var both bytes.Buffer
		err := sh("seq 20000 & seq 20000 >&2; wait").write(&both, &both).Run()
		return []any{strings.Count(both.String(), "\n"), outcome(err)}
	}, []any{40000, "fine"}},
	{"no input", func(sh func(string, ...string) either) []any {
		out, err := sh("wc -c").Output()
		return []any{strings.TrimSpace(string(out)), outcome(err)}
	}, []any{"0", "fine"}},
	{"input from a reader", func(sh func(string, ...string) either) []any {
		out, err := sh("cat").read(strings.NewReader("text")).Output()
		return []any{string(out), outcome(err)}
	}, []any{"text", "fine"}},
	{"input that is not read", func(sh func(string, ...string) either) []any {
		return []any{outcome(sh("exit 0").read(bytes.NewReader(make([]byte, 1<<20))).Run())}
	}, []any{"fine"}},
	{"an input pipe that is filled before the start", func(sh func(string, ...string) either) []any {
		cmd := sh("tr a-z A-Z")
		in, err := cmd.StdinPipe()
		_, werr := io.WriteString(in, "text")
		cerr := in.Close()
		out, rerr := cmd.Output()
		return []any{outcome(err), outcome(werr), outcome(cerr), string(out), outcome(rerr)}
	}, []any{"fine", "fine", "fine", "TEXT", "fine"}},
	{"an input pipe beside the command", func(sh func(string, ...string) either) []any {
		cmd := sh("wc -c")
		in, err := cmd.StdinPipe()
		go func() {
			defer in.Close()
			in.Write(make([]byte, 1<<20))
		}()
		out, rerr := cmd.CombinedOutput()
		return []any{outcome(err), strings.TrimSpace(string(out)), outcome(rerr)}
	}, []any{"fine", "1048576", "fine"}},
	{"an input pipe after the end", func(sh func(string, ...string) either) []any {
		cmd := sh("exit 0")
		in, _ := cmd.StdinPipe()
		err := cmd.Run()
		_, werr := in.Write([]byte("x"))
		return []any{outcome(err), outcome(werr)}
	}, []any{"fine", "failed"}},
	{"a conversation", func(sh func(string, ...string) either) []any {
		cmd := sh(`while read line; do echo "<$line>"; done; echo end`)
		in, _ := cmd.StdinPipe()
		out, _ := cmd.StdoutPipe()
		told := []any{outcome(cmd.Start())}
		answer := make([]byte, 4)
		for _, word := range []string{"a", "b"} {
			io.WriteString(in, word+"\n")
			io.ReadFull(out, answer)
			told = append(told, string(answer))
		}
		in.Close()
		rest, err := io.ReadAll(out)
		return append(told, string(rest), outcome(err), outcome(cmd.Wait()))
	}, []any{"fine", "<a>\n", "<b>\n", "end\n", "fine", "fine"}},
	{"both output pipes", func(sh func(string, ...string) either) []any {
		cmd := sh("seq 200000; echo why >&2; exit 6")
		stdout, _ := cmd.StdoutPipe()
		stderr, _ := cmd.StderrPipe()
		err := cmd.Start()
		out, oerr := io.ReadAll(stdout)
		why, eerr := io.ReadAll(stderr)
		told := []any{outcome(err), strings.Count(string(out), "\n"), outcome(oerr)}
		return append(told, string(why), outcome(eerr), outcome(cmd.Wait()))
	}, []any{"fine", 200000, "fine", "why\n", "fine", `exit 6, ""`}},
	{"environment", func(sh func(string, ...string) either) []any {
		cmd := sh(`echo "$A, $B, ${PATH:+set}"`)
		*cmd.env = append(*cmd.env, "A=1", "A=2", "B=x=y")
		out, err := cmd.Output()
		return []any{string(out), outcome(err)}
	}, []any{"2, x=y, set\n", "fine"}},
	{"directory", func(sh func(string, ...string) either) []any {
		cmd := sh("pwd; exit 7")
		*cmd.dir = "/usr"
		out, err := cmd.Output()
		return []any{string(out), outcome(err)}
	}, []any{"/usr\n", `exit 7, ""`}},
	{"calls in the wrong order", func(sh func(string, ...string) either) []any {
		cmd := sh("exit 8")
		early := cmd.Wait()
		_, pipe := cmd.StdoutPipe()
		_, twice := cmd.StdoutPipe()
		_, output := cmd.Output()
		_, combined := cmd.CombinedOutput()
		start, again, wait, second := cmd.Start(), cmd.Start(), cmd.Wait(), cmd.Wait()
		_, late := cmd.StderrPipe()
		_, input := cmd.StdinPipe()
		var told []any
		for _, err := range []error{early, pipe, twice, output, combined, start, again, wait, second, late, input} {
			told = append(told, outcome(err))
		}
		return told
	}, []any{"failed", "fine", "failed", "failed", "failed", "fine", "failed", `exit 8, ""`, "failed", "failed", "failed"}},
}

// testCmd uses commands of both types in the same ways.
func testCmd(t *testing.T, w world) {
	sb := w.run(t)
	ctx := limited(t)
	local := func(script string, args ...string) either {
		c := exec.CommandContext(ctx, "sh", append([]string{"-c", script, "sh"}, args...)...)
		c.Env = os.Environ()
		return either{c, &c.Dir, &c.Env, &c.Stdin, &c.Stdout, &c.Stderr}
	}
	remote := func(script string, args ...string) either {
		c := sb.Command(ctx, "sh", append([]string{"-c", script, "sh"}, args...)...)
		return either{c, &c.Dir, &c.Env, &c.Stdin, &c.Stdout, &c.Stderr}
	}
	for _, row := range programs {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.want, row.run(local), "os/exec")
			assert.Equal(t, row.want, row.run(remote), "in a sandbox")
		})
	}

	t.Run("what is different, as the comment says", func(t *testing.T) {
		cmd := sb.Command(ctx, "cwsandbox-no-such-command")
		assert.Contains(t, outcome(second(cmd.Output())), "exit 127")
		assert.Contains(t, outcome(sb.Command(ctx, "sh", "-c", "kill -TERM $$").Run()), "exit 143")

		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		cmd = sb.Command(ctx, "sh", "-c", "echo started; exec sleep 1000")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		_, err = io.ReadFull(out, make([]byte, len("started\n")))
		require.NoError(t, err)
		cancel()
		assert.Equal(t, "canceled", outcome(cmd.Wait()))
	})
}

func second[T any](_ T, err error) error { return err }
