package cwsandbox

import (
	"context"
	"io"
	"sync"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Process is a command that [Sandbox.StartProcess] has started. All methods are safe for concurrent use.
//
// A process needs nobody to read its output or to wait for it: what it prints is kept up to [WithOutputLimit], and all
// that it occupies here is released when it ends. Dropping the handle does not end the command.
type Process struct {
	call   call
	argv   []string // the result's
	stdout output
	stderr output
	stdin  *stdin         // nil: the command has no input
	pipe   io.WriteCloser // what Stdin returns
	pipes  []*pipe        // end with the process
	merged bool           // both outputs are the first one: that of a terminal
	cancel context.CancelCauseFunc
	tally  tally // also keeps alive what is known of the sandbox, so that a stop finds the stream

	signals *signalHook // nil: none
	direct  bool        // the way of the stream, once it is done

	done chan struct{} // closed when the two below stand
	code int
	err  error

	collect sync.Once // result, when it is first asked for
	result  *Result
}

func newProcess(c call, cfg *execConfig, t tally) *Process {
	t.begin()
	p := &Process{call: c, argv: cfg.argv, pipe: noStdin{c}, pipes: cfg.pipes, tally: t, done: make(chan struct{})}
	p.merged = cfg.terminal != nil
	p.stdout.init("standard output", cfg.stdout, cfg.outputLimit)
	p.stderr.init("standard error", cfg.stderr, cfg.outputLimit)
	return p
}

// Result is the outcome of a command that has exited.
//
// All who wait for a process get the same Result, and its output is not copied: do not change it.
type Result struct {
	Argv       []string // as given
	ExitCode   int      // 128 plus the number of a signal that ended the command, as in a shell
	Stdout     []byte   // the first bytes, up to WithOutputLimit; nil with WithStdout
	Stderr     []byte   // likewise, and nil with WithStderr
	StdoutSize int64    // bytes as produced, kept or not
	StderrSize int64
	Via        DataPlane // the way that the command took: DataPlaneDirect or DataPlaneGateway

	sandbox   string
	truncated bool
}

// Err returns nil for a command that exited with 0, and an [*ExitError] that holds r otherwise. Of a nil Result it
// returns nil.
func (r *Result) Err() error {
	if r == nil || r.ExitCode == 0 {
		return nil
	}
	return &ExitError{SandboxID: r.sandbox, Code: r.ExitCode, Result: r}
}

// Truncated reports whether Stdout or Stderr lacks some of the output, because it was more than [WithOutputLimit]
// allows. Of a nil Result it is false.
func (r *Result) Truncated() bool { return r != nil && r.truncated }

// Stdin returns the command's standard input, for a process that was started with [WithStdinPipe]. Without, a Write is
// [ErrClosed]. Close it to let a command go on that reads its input to the end.
//
// A Write waits until the service is ready for input, and while the command does not read. When the process ends, or
// the pipe is closed, it returns an error that matches [ErrClosed], and the process's own failure, if there was one.
// Close ends the input behind the piece of up to 64 KiB that a Write has begun to send, and waits for that one: of a
// command that reads no more it is [Process.Cancel] that releases both. Bytes that were written are on their way: nothing
// says that the command has read them.
//
// The service may end a command that stays silent for some five seconds after its input was closed, which is an error
// that matches [ErrStream]. A filter that computes for long does better with a file as its input.
func (p *Process) Stdin() io.WriteCloser { return p.pipe }

// Stdout returns a reader of the command's standard output, from its first byte. Each call returns another one; they
// may be used in any order, by different goroutines, and after the end. A Read waits for more output. It ends with
// io.EOF when the command has exited, with the error of [Process.Wait] when the process failed, and with
// [ErrTruncated] where output was dropped because of [WithOutputLimit]. With [WithStdout] there is nothing to read,
// and a Read is ErrClosed.
func (p *Process) Stdout() io.Reader { return p.reader(&p.stdout) }

// Stderr is [Process.Stdout] for the standard error stream.
func (p *Process) Stderr() io.Reader { return p.reader(&p.stderr) }

func (p *Process) reader(o *output) io.Reader {
	if o.w != nil {
		return failedReader{p.call.refuse(o.name+" goes to a writer", ErrClosed)}
	}
	return &bufferReader{b: &o.kept, call: p.call}
}

// Done returns a channel that is closed when the process has ended, well or not.
func (p *Process) Done() <-chan struct{} { return p.done }

// Wait waits for the end of the process. It may be called any number of times, by any number of goroutines, and needs
// no reader.
//
// The error says that the end of the command was not seen: it is nil for any exit code. It matches [ErrCommandTimeout]
// when the limit of [WithTimeout] is over, the context's error when the context of the process ended, [ErrClosed] after
// [Process.Cancel], [ErrNotRunning] when the sandbox was stopped before the service had reported an exit code, and
// [ErrStream] when the service ended the stream without telling the exit code. Whether the command itself has ended is
// unknown then. Errors of the writers given with [WithStdout] and [WithStderr] and of the reader of [WithStdin] are in its
// chain.
func (p *Process) Wait() (*Result, error) {
	<-p.done
	return p.outcome()
}

// WaitContext is [Process.Wait] with a limit on the waiting: when ctx ends first, it returns the context's error, and
// the process goes on.
func (p *Process) WaitContext(ctx context.Context) (*Result, error) {
	select {
	case <-p.done:
		return p.outcome()
	default:
	}
	select {
	case <-p.done:
		return p.outcome()
	case <-ctx.Done():
		return nil, p.call.wrap(ctxError(ctx))
	}
}

// Cancel ends the stream of the process, and with it perhaps the command: that is for the service to decide. Wait then
// returns an error that matches [ErrClosed], as soon as a Write to a writer of [WithStdout] or [WithStderr] that is in
// progress has returned. Of a process that has ended it changes nothing.
func (p *Process) Cancel() {
	select {
	case <-p.done: // the stream is about to be closed by the service, which is better than a reset
	default:
		p.cancel(p.call.refuse("the process was canceled", ErrClosed))
	}
}

// outcome is the result or the error of a process that is done.
func (p *Process) outcome() (*Result, error) {
	p.signals.afterSignal()
	if p.err != nil {
		return nil, p.err
	}
	p.collect.Do(func() {
		p.result = &Result{Argv: p.argv, ExitCode: p.code, Via: via(p.direct), sandbox: p.call.sandbox}
		p.stdout.report(&p.result.Stdout, &p.result.StdoutSize, &p.result.truncated)
		p.stderr.report(&p.result.Stderr, &p.result.StderrSize, &p.result.truncated)
	})
	return p.result, nil
}

// failure is the error of a process with an input that has failed, or is about to: a writer of the caller's may still hold
// up its end. It is nil while it runs.
func (p *Process) failure() error {
	select {
	case <-p.done:
		return p.err
	default:
	}
	ctx := p.stdin.stream.Context()
	cause := context.Cause(ctx)
	switch _, ours := cause.(*Error); {
	case cause == nil:
		return nil
	case ours, cause == errStopped:
		return p.explain(context.Background(), ctx, cause)
	}
	return p.call.wrap(ctxError(ctx))
}

// run receives the stream to its end.
func (p *Process) run(caller, ctx context.Context, stream execStream) {
	last, err := p.receive(stream)
	if err != nil {
		p.finish(0, p.explain(caller, ctx, err))
		return
	}
	if failed := last.GetError(); failed != nil {
		p.finish(0, p.call.inBand(failed.GetCode(), failed.GetMessage()))
	} else {
		p.finish(int(last.GetExit().GetExitCode()), nil)
	}
	timer := time.AfterFunc(closingLimit, func() { p.cancel(nil) })
	defer timer.Stop()
	_, _ = stream.Recv() // whatever it says, the outcome stands
}

// receive reads the stream up to the frame that tells the end of the command, and returns that one.
func (p *Process) receive(stream execStream) (*sandboxv1.ExecStreamResponse, error) {
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			return nil, p.call.refuse("the stream ended without an exit status", ErrStream)
		}
		if err != nil {
			return nil, p.call.wrap(err)
		}
		switch m := frame.GetMessage().(type) {
		case *sandboxv1.ExecStreamResponse_Ready:
			if p.stdin != nil {
				p.stdin.open()
			}
		case *sandboxv1.ExecStreamResponse_Output:
			out := p.output(m.Output.GetStream())
			switch err := out.take(m.Output.GetData()); err {
			case nil:
			case errCut:
				return nil, err
			default:
				return nil, p.call.refuse("write "+out.name+": "+err.Error(), err)
			}
		case *sandboxv1.ExecStreamResponse_Exit, *sandboxv1.ExecStreamResponse_Error:
			return frame, nil
		}
	}
}

// output returns where frames of a stream go. One that this version does not know counts as standard output, so that
// nothing is lost.
func (p *Process) output(stream sandboxv1.ExecStreamOutput_Stream) *output {
	if stream == sandboxv1.ExecStreamOutput_STREAM_STDERR && !p.merged {
		return &p.stderr
	}
	return &p.stdout
}

// explain says why the stream failed: when its context ended for a reason of ours, for that one.
func (p *Process) explain(caller, ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case err == errCut && caller.Err() != nil:
		return p.call.wrap(ctxError(caller))
	case cause == nil, caller.Err() != nil:
		return err
	case cause == errStopped:
		return p.call.refuse("the sandbox was stopped", ErrNotRunning, ErrTerminated)
	}
	return cause
}

// finish makes the outcome known.
func (p *Process) finish(code int, err error) {
	p.code, p.err = code, err
	p.tally.end(code, err)
	if p.stdin != nil {
		p.stdin.limit.Stop()
	}
	close(p.done)
	p.stdout.kept.close(err)
	p.stderr.kept.close(err)
	for _, pipe := range p.pipes {
		pipe.close(err)
	}
}
