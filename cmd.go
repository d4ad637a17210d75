package cwsandbox

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
)

// Cmd is a command with the shape of the type of this name in [os/exec], so that a program moves into a sandbox by
// changing [os/exec.CommandContext] into [Sandbox.Command]. For new code [Sandbox.Exec] and [Sandbox.StartProcess] are
// simpler. It runs once, and like its model it is not safe for concurrent use.
//
// Where it has to, it differs:
//
//   - Path is looked up in the container, when the command starts there. One that is missing is exit code 127 from Wait,
//     with a line on standard error, and no error of Start; one that cannot be executed is 126.
//   - A command that a signal has ended has the exit code 128 plus its number, as in a shell, and not -1.
//   - When the context has ended the command, the error is the context's and not that of an exit. The end of the context
//     cuts the stream, and it is for the service to end the command with it. Process has Cancel, and no signals.
//   - The command's own name is always Path: Args[0] is not sent.
//   - Env adds to the container's environment, and takes nothing away. Do not add os.Environ(): it would hand the
//     environment of this machine, with all its secrets, to the sandbox.
//   - Dir is an absolute path in the container, and needs a /bin/sh there. Empty is the container's own.
//   - Files are not handed over: this program reads Stdin and writes Stdout and Stderr. Wait does not wait for a Read of
//     Stdin that is in progress. One goroutine writes to Stdout and Stderr, which may be the same writer; while it has to
//     wait for one of them, both wait.
//   - An error of Stdin, Stdout or Stderr ends the command's stream, and is in the chain of the error of Wait.
//   - Output and CombinedOutput keep 16 MiB. With more, they return that much and [ErrTruncated].
//   - Closing a pipe of StdoutPipe or StderrPipe does not signal the command; what it prints from then on is dropped. What
//     was in a pipe when Wait returned can still be read.
//   - The exit code is that of the [*ExitError], whose Result stands for ProcessState and has what Output keeps of standard
//     error. There is no ExtraFiles, SysProcAttr, Cancel, WaitDelay, Environ or Err.
type Cmd struct {
	Path      string    // the program
	Args      []string  // the arguments, beginning with the program's name; none: only Path
	Env       []string  // in the form "key=value", on top of the container's; the last one of a name counts
	Dir       string    // working directory; empty: the container's
	Container string    // name; empty: the primary one
	Stdin     io.Reader // nil: empty
	Stdout    io.Writer // nil: dropped
	Stderr    io.Writer // nil: dropped; Output keeps it in the ExitError
	Process   *Process  // once it has started

	ctx     context.Context // of the whole command, as in os/exec
	sandbox *Sandbox
	begun   bool  // by Start
	waited  bool  // by Wait
	keep    bool  // for the result: what nobody else takes
	limit   int64 // how much of it
	pipes   pipes // that were asked for
}

// pipes are the ends of a command's pipes that the command uses.
type pipes struct{ stdin, stdout, stderr *pipe }

func (p pipes) all() []*pipe {
	return slices.DeleteFunc([]*pipe{p.stdin, p.stdout, p.stderr}, func(p *pipe) bool { return p == nil })
}

// Command returns a command that is to run in the sandbox. Only Path and Args are set. The context is the life of the
// command once it has started, as in [os/exec.CommandContext].
func (sb *Sandbox) Command(ctx context.Context, name string, args ...string) *Cmd {
	if ctx == nil {
		panic("cwsandbox: nil Context")
	}
	return &Cmd{Path: name, Args: append([]string{name}, args...), ctx: ctx, sandbox: sb, limit: defaultOutputLimit}
}

// String is Path and the arguments, for people.
func (c *Cmd) String() string { return strings.Join(c.argv(), " ") }

func (c *Cmd) argv() []string {
	return append([]string{c.Path}, c.Args[min(1, len(c.Args)):]...)
}

func (c *Cmd) call() call { return call{op: "exec", sandbox: c.sandbox.s.id} }

// misuse is the error of calls in the wrong order.
func (c *Cmd) misuse(text string) error { return c.call().refuse(text, ErrInvalidArgument) }

// Run starts the command and waits for its end. It returns nil for exit code 0, an [*ExitError] for another one, and the
// error of Start or Wait otherwise.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Start starts the command and returns without waiting for its end. In a sandbox that is still starting it waits until
// commands can run. The error is that of [Sandbox.StartProcess].
func (c *Cmd) Start() error {
	if c.begun {
		return c.misuse("the command was started already")
	}
	c.begun = true
	p, err := c.start()
	if err != nil {
		for _, pipe := range c.pipes.all() {
			pipe.close(ErrClosed)
			pipe.stop(ErrClosed)
		}
		return err
	}
	c.Process = p
	return nil
}

func (c *Cmd) start() (*Process, error) {
	cfg, err := c.config()
	if err != nil {
		return nil, err
	}
	p, receive, err := c.sandbox.s.open(c.ctx, c.call(), cfg, c.sandbox.s.tally())
	if err != nil {
		return nil, err
	}
	go receive()
	return p, nil
}

func (c *Cmd) config() (*execConfig, error) {
	opts := []ExecOption{WithStdin(c.Stdin), WithContainer(c.Container), WithStdout(c.Stdout), WithStderr(c.Stderr)}
	if c.Dir != "" {
		opts = append(opts, WithDir(c.Dir))
	}
	cfg, _ := newExecConfig(c.argv(), opts) // reported below, with what is wrong with the environment
	for _, pair := range c.Env {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			cfg.faults.add("env", "must have the form key=value, has an entry without =") // it may be a secret
			continue
		}
		envOption{name, value}.applyExec(cfg)
	}
	for _, out := range []*io.Writer{&cfg.stdout, &cfg.stderr} {
		if *out == nil && !c.keep {
			*out = io.Discard
		}
	}
	cfg.outputLimit, cfg.pipes = c.limit, c.pipes.all()
	return cfg, cfg.faults.err(c.call())
}

// Wait waits for the end of a command that Start has started: once. It returns nil for exit code 0, an [*ExitError] for
// another one, and otherwise the error of [Process.Wait].
func (c *Cmd) Wait() error {
	switch {
	case c.Process == nil:
		return c.misuse("the command was not started")
	case c.waited:
		return c.misuse("Wait was called already")
	}
	c.waited = true
	res, err := c.Process.Wait()
	if err != nil {
		return err
	}
	return res.Err()
}

// Output runs the command and returns what it printed on standard output, also beside an error. Without a Stderr, the
// Result of an [*ExitError] has what it printed on standard error. Beyond 16 MiB it is [ErrTruncated].
func (c *Cmd) Output() ([]byte, error) {
	if err := c.unset("Stdout", c.Stdout != nil); err != nil {
		return nil, err
	}
	c.keep = true
	err := c.Run()
	if c.Process == nil {
		return nil, err
	}
	return c.kept(&c.Process.stdout.kept, err)
}

// CombinedOutput runs the command and returns what it printed on standard output and standard error, in the order in which
// it arrived, also beside an error. Beyond 16 MiB it is [ErrTruncated].
func (c *Cmd) CombinedOutput() ([]byte, error) {
	err := errors.Join(c.unset("Stdout", c.Stdout != nil), c.unset("Stderr", c.Stderr != nil))
	if err != nil {
		return nil, err
	}
	both := &buffer{limit: c.limit}
	both.more.L = &both.mu
	c.Stdout, c.Stderr = keeping{both}, keeping{both}
	return c.kept(both, c.Run())
}

// kept is what was kept of the output, with an error where that is not all.
func (c *Cmd) kept(b *buffer, err error) ([]byte, error) {
	out := b.bytes()
	if kept := int64(len(out)); err == nil && kept < b.size {
		err = cutError(c.call(), kept)
	}
	return out, err
}

// keeping writes to a buffer. Only the receiver of a process may use it, because the buffer keeps what it is given.
type keeping struct{ b *buffer }

func (k keeping) Write(frame []byte) (int, error) {
	k.b.add(frame)
	return len(frame), nil
}

func (c *Cmd) unset(name string, set bool) error {
	switch {
	case set:
		return c.misuse(name + " is set already")
	case c.begun:
		return c.misuse("the command was started already")
	}
	return nil
}

// StdinPipe returns a pipe to the command's standard input, to be asked for before Start. It holds some 256 KiB; beyond
// that a Write waits until the command has started, and while it does not read. Close it to end the input; the end of the
// command closes it too, and a Write is [ErrClosed] from then on.
func (c *Cmd) StdinPipe() (io.WriteCloser, error) {
	if err := c.unset("Stdin", c.Stdin != nil); err != nil {
		return nil, err
	}
	c.pipes.stdin = newPipe()
	c.Stdin = c.pipes.stdin
	return &pipeWriter{c.pipes.stdin, c.call()}, nil
}

// StdoutPipe returns a pipe from the command's standard output, to be asked for before Start. After all of the output a
// Read returns io.EOF, or the error of Wait when the end of the command was not seen. Read all of it before you call Wait:
// output beyond some 256 KiB that nobody reads holds the command back, standard error included. Close it to drop the rest.
func (c *Cmd) StdoutPipe() (io.ReadCloser, error) {
	return c.outputPipe("Stdout", "standard output", &c.Stdout, &c.pipes.stdout)
}

// StderrPipe is [Cmd.StdoutPipe] for the standard error stream.
func (c *Cmd) StderrPipe() (io.ReadCloser, error) {
	return c.outputPipe("Stderr", "standard error", &c.Stderr, &c.pipes.stderr)
}

func (c *Cmd) outputPipe(field, name string, to *io.Writer, end **pipe) (io.ReadCloser, error) {
	if err := c.unset(field, *to != nil); err != nil {
		return nil, err
	}
	*end = newPipe()
	*to = *end
	return &pipeReader{*end, c.call(), name}, nil
}

// pipeWriter is the writing end of a pipe in the hands of a caller.
type pipeWriter struct {
	pipe *pipe
	call call
}

func (w *pipeWriter) Write(b []byte) (int, error) {
	n, err := w.pipe.Write(b)
	if err != nil {
		err = w.call.refuse("write standard input: it is closed, or the process has ended", ErrClosed)
	}
	return n, err
}

func (w *pipeWriter) Close() error {
	w.pipe.close(nil)
	return nil
}
