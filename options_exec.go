package cwsandbox

import (
	"io"
	"slices"
	"time"
)

// defaultOutputLimit is how much of each output stream of a command is kept.
const defaultOutputLimit = 16 << 20

// ExecOption is an option of [Sandbox.Exec] and [Sandbox.StartProcess].
type ExecOption interface{ applyExec(*execConfig) }

// ContainerOption is an option of what works in one container of a sandbox.
type ContainerOption interface {
	ExecOption
	ShellOption
	FileOption
	LogOption
	FuncOption
}

// TimeoutOption is an option of a command and of a call of a function.
type TimeoutOption interface {
	ExecOption
	FuncOption
}

// execConfig is the configuration of a command.
type execConfig struct {
	faults      faults
	argv        []string // as given
	dir         string
	env         map[string]string
	container   string
	timeout     time.Duration // zero: none
	stdin       io.Reader
	stdinPipe   bool
	stdout      io.Writer
	stderr      io.Writer
	outputLimit int64
	pipes       []*pipe   // those of the three above that end with the process
	terminal    *termSize // nil: none
}

func newExecConfig(argv []string, opts []ExecOption) (*execConfig, error) {
	c := &execConfig{argv: slices.Clone(argv), outputLimit: defaultOutputLimit}
	c.checkArgv()
	applyAll(&c.faults, opts, func(o ExecOption) { o.applyExec(c) })
	if c.stdin != nil && c.stdinPipe {
		c.faults.add("stdin", "must be a reader or a pipe, not both")
	}
	return c, c.faults.err(call{op: "exec"})
}

func (c *execConfig) checkArgv() {
	if len(c.argv) == 0 {
		c.faults.add("command", "must not be empty")
		return
	}
	checkFilled(&c.faults, "command[0]", c.argv[0])
	for _, arg := range c.argv {
		checkText(&c.faults, "command", arg)
	}
}

// command is the argument list to send. The directory and the caller's words are parameters of the shell's script, so
// that none of them needs quoting; exec makes signals and exit code the command's own.
func (c *execConfig) command() []string {
	if c.dir == "" {
		return c.argv
	}
	return append([]string{"/bin/sh", "-c", `cd -- "$0" && exec "$@"`, c.dir}, c.argv...)
}

type execOption func(*execConfig)

func (o execOption) applyExec(c *execConfig) { o(c) }

// WithStdin feeds the command from r, and closes its input at the end of r. An error of r ends the command's stream. Nil
// is an empty input, as in os/exec.
func WithStdin(r io.Reader) ExecOption { return execOption(func(c *execConfig) { c.stdin = r }) }

// WithStdinPipe gives the process an input that [Process.Stdin] writes to. Without it the command's input is empty.
func WithStdinPipe() ExecOption { return execOption(func(c *execConfig) { c.stdinPipe = true }) }

// WithStdout has the command's standard output written to w as it appears, all of it, instead of keeping it. While a Write
// of w takes its time, the command may have to wait: standard error comes over the same stream. Its error ends the stream.
// With nil the output is kept.
func WithStdout(w io.Writer) ExecOption { return execOption(func(c *execConfig) { c.stdout = w }) }

// WithStderr is [WithStdout] for the standard error stream.
func WithStderr(w io.Writer) ExecOption { return execOption(func(c *execConfig) { c.stderr = w }) }

// WithOutputLimit sets how many bytes of each output stream are kept: the first n, 16 MiB by default. The rest is counted
// and dropped, visibly: see [Result.Truncated].
func WithOutputLimit(n int64) ExecOption {
	return execOption(func(c *execConfig) {
		if n < 0 {
			c.faults.add("output limit", "must not be negative, is %d", n)
		}
		c.outputLimit = n
	})
}

type timeoutOption time.Duration

// WithTimeout bounds a command: when it is over, the stream is cut, which usually ends the command, and the error matches
// [ErrCommandTimeout]. The service has no such limit, so it is kept here, with five seconds of patience for an exit that
// is on its way. Waiting for the sandbox to run does not count.
func WithTimeout(d time.Duration) TimeoutOption { return timeoutOption(d) }

func (o timeoutOption) applyExec(c *execConfig) {
	if o <= 0 {
		c.faults.add("timeout", "must be above zero, is %v", time.Duration(o))
	}
	c.timeout = time.Duration(o)
}

type containerOption string

// WithContainer chooses a container by its name; by default, and with an empty name, it is the primary one.
func WithContainer(name string) ContainerOption { return containerOption(name) }

func (o containerOption) applyExec(c *execConfig) {
	checkText(&c.faults, "container", string(o))
	c.container = string(o)
}

func (o containerOption) applyShell(c *execConfig) { o.applyExec(c) }
