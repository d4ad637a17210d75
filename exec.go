package cwsandbox

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// timeoutSlack is how much longer than the command's own limit its stream may live, so that the service can still
	// report how the command ended.
	timeoutSlack = 5 * time.Second

	// closingLimit bounds the wait for the service to close a stream whose outcome is known. It closes at once, as a
	// rule; a stream that the client abandons instead is a reset, which proxies count against it.
	closingLimit = 200 * time.Millisecond
)

// Exec runs a command in the sandbox and waits for its end. An exit code other than 0 is a result, not an error: see
// [Result.Err]. In a sandbox that is still starting it waits until commands can run, as
// [Sandbox.WaitRunning] does, for at most 300 seconds without a deadline on ctx.
//
// The context is the life of the command's stream, as in [os/exec.CommandContext]: when it ends, the stream is cut and
// the service usually ends the command. Without a deadline and without [WithTimeout] there is no limit. argv[0] is looked up
// in the PATH of the container; there is no shell in between. Standard input is empty unless [WithStdin] gives one, and
// what the command prints is kept up to [WithOutputLimit] or goes to [WithStdout] and [WithStderr]. A Read of the reader
// given with WithStdin that is in progress when the command ends is not waited for, and what it returns is lost.
//
// A command is never sent twice: after an error that matches [ErrUnavailable] it may or may not have run. The errors
// are those of [Process.Wait], and [ErrNotRunning] for a sandbox that has ended or is ending.
func (sb *Sandbox) Exec(ctx context.Context, argv []string, opts ...ExecOption) (*Result, error) {
	c := call{op: "exec", sandbox: sb.s.id}
	cfg, _ := newExecConfig(argv, opts) // reported below, with what is wrong here
	if cfg.stdinPipe {
		cfg.faults.add("stdin", "a pipe needs StartProcess: nobody could write to it")
	}
	if err := cfg.faults.err(c); err != nil {
		return nil, err
	}
	return sb.s.exec(ctx, c, cfg, sb.s.tally())
}

// StartProcess starts a command in the sandbox and returns without waiting for it. In a sandbox that is still starting
// it waits until commands can run. The context is the life of the process, not only of the start: see [Sandbox.Exec].
//
// The returned error says that the command could not be sent. A refusal by the service, such as a sandbox that it does
// not know, comes from [Process.Wait].
func (sb *Sandbox) StartProcess(ctx context.Context, argv []string, opts ...ExecOption) (*Process, error) {
	c := call{op: "exec", sandbox: sb.s.id}
	cfg, err := newExecConfig(argv, opts)
	if err != nil {
		return nil, cfg.faults.err(c)
	}
	p, receive, err := sb.s.open(ctx, c, cfg, sb.s.tally())
	if err != nil {
		return nil, err
	}
	go receive()
	return p, nil
}

// Output runs a command and returns what it printed on standard output. An exit code other than 0 is an [*ExitError],
// whose Result has the standard error stream too; output beyond the default limit of 16 MiB is [ErrTruncated]. With
// both, what was kept of the output is returned beside the error.
func (sb *Sandbox) Output(ctx context.Context, argv ...string) ([]byte, error) {
	res, err := sb.Exec(ctx, argv)
	if err != nil {
		return nil, err
	}
	if err := res.Err(); err != nil {
		return res.Stdout, err
	}
	if kept := int64(len(res.Stdout)); kept < res.StdoutSize {
		return res.Stdout, cutError(call{op: "exec", sandbox: sb.s.id}, kept)
	}
	return res.Stdout, nil
}

// exec runs a command to its end on the caller's goroutine.
func (s *shared) exec(ctx context.Context, c call, cfg *execConfig, t tally) (*Result, error) {
	p, receive, err := s.open(ctx, c, cfg, t)
	if err != nil {
		return nil, err
	}
	receive()
	return p.outcome()
}

// open sends the command as soon as the sandbox is ready for it. The function that it returns receives what comes back
// and must be called; it returns when the process is done and the stream is released.
func (s *shared) open(ctx context.Context, c call, cfg *execConfig, t tally) (p *Process, receive func(), err error) {
	if err := s.ready(ctx, c.op); err != nil {
		return nil, nil, err
	}
	p = newProcess(c, cfg, t)
	p.signals = s.client.registry.signals
	life, release := p.live(ctx, s, cfg.timeout)
	release = p.cutWith(life, release)
	stream, err := s.data.StreamExec(life, transport.Via(&p.direct))
	if err == nil {
		err = p.send(stream, s.id, cfg)
	}
	if err != nil {
		p.finish(0, p.explain(ctx, life, c.wrap(err)))
		release()
		return nil, nil, p.err
	}
	p.attach(stream, cfg)
	return p, func() {
		defer release()
		p.run(ctx, life, stream)
	}, nil
}

// live returns the context of the process's stream. It ends with ctx, by Cancel, with a stop of the sandbox, and when
// the command's limit is over; of the last three its cause is the error to report.
func (p *Process) live(ctx context.Context, s *shared, timeout time.Duration) (_ context.Context, release func()) {
	ctx, unbind := s.stream(ctx)
	ctx, p.cancel = context.WithCancelCause(ctx)
	limit := timeout + timeoutSlack
	if timeout <= 0 || limit < 0 { // none, or longer than time itself
		return ctx, unbind
	}
	over := p.call.refuse(fmt.Sprintf("the command did not end within %v", timeout), ErrCommandTimeout)
	ctx, stop := context.WithTimeoutCause(ctx, limit, over)
	return ctx, func() {
		stop()
		unbind()
	}
}

// cutWith keeps the pipes of the process from holding back its receiver when life ends.
func (p *Process) cutWith(life context.Context, release func()) func() {
	if len(p.pipes) == 0 {
		return release
	}
	unbind := context.AfterFunc(life, func() {
		for _, pipe := range p.pipes {
			pipe.stop(errCut)
		}
	})
	return func() {
		unbind()
		release()
	}
}

// send opens the conversation. Without input the client's side ends right there: a close frame at this point can kill
// the command.
func (p *Process) send(stream execStream, id string, cfg *execConfig) error {
	init := &sandboxv1.ExecStreamInit{
		SandboxId: id,
		Command:   cfg.command(),
		Env:       cfg.env,
		Container: cfg.container,
	}
	if cfg.terminal != nil {
		init.Tty, init.TtyWidth, init.TtyHeight = true, cfg.terminal.cols, cfg.terminal.rows
	}
	err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}})
	if err == io.EOF { // refused already: the receiver learns why, and the stream may be opened once more
		err = nil
	}
	if err != nil || cfg.stdin != nil || cfg.stdinPipe {
		return err
	}
	return stream.CloseSend()
}

// attach connects the input of the process, if it has any.
func (p *Process) attach(stream execStream, cfg *execConfig) {
	if cfg.stdin == nil && !cfg.stdinPipe {
		return
	}
	wait := readyLimit
	if cfg.timeout > 0 {
		wait = min(wait, cfg.timeout)
	}
	p.stdin = newStdin(p.call, stream, p.done, wait, func() {
		p.cancel(p.call.refuse(fmt.Sprintf("the service was not ready for standard input within %v", wait), ErrTimeout))
	})
	p.stdin.resizable = cfg.terminal != nil
	if cfg.stdinPipe {
		p.pipe = &stdinPipe{p: p, closed: make(chan struct{})}
		return
	}
	go func() {
		if err := p.stdin.feed(cfg.stdin); err != nil {
			p.cancel(err)
		}
	}()
}
