package cwsandbox

import (
	"context"
	"io"
)

// Terminal is a program that [Sandbox.Shell] has started at a terminal of its own: an [io.ReadWriteCloser] of what the
// program prints and of the keys that are pressed. All methods are safe for concurrent use.
//
// Both sides are bytes as the terminal has them: lines end in "\r\n" on the way out and with "\r" on the way in, what is
// written comes back as an echo while the program wants that, and Ctrl+C is the byte 3. Standard output and standard error
// are one.
//
// Like at a real terminal, output that nobody reads holds the program back, beyond some 256 KiB. Read to the end, or close:
// a session that is forgotten lasts as long as its program, and one that is held back as long as its context and sandbox.
type Terminal struct {
	p    *Process
	keys *stdinPipe
	out  *pipeReader
}

var _ io.ReadWriteCloser = (*Terminal)(nil)

// Shell starts a program at a terminal in the sandbox: /bin/bash when argv is nil. An image may have no bash; then the
// exit code is 127, and "/bin/sh" is the one to ask for. In a sandbox that is still starting it waits until commands can
// run.
//
// The context is the life of the session, not only of its start: when it ends, the session does, with its error. There is
// no other limit. The error is as with [Sandbox.StartProcess]: a refusal by the service comes from Read and
// [Terminal.Wait]. A session is never begun twice, and counts as a command in [Sandbox.Stats].
//
// The program's TERM is for the service to choose, unless [WithEnv] sets it.
func (sb *Sandbox) Shell(ctx context.Context, argv []string, opts ...ShellOption) (*Terminal, error) {
	c := call{op: "shell", sandbox: sb.s.id}
	cfg, err := newShellConfig(c, argv, opts)
	if err != nil {
		return nil, err
	}
	out := newPipe()
	cfg.stdout, cfg.pipes = out, []*pipe{out}
	p, receive, err := sb.s.open(ctx, c, cfg, sb.s.tally())
	if err != nil {
		return nil, err
	}
	go receive()
	return &Terminal{p: p, keys: p.pipe.(*stdinPipe), out: &pipeReader{out, c, "the terminal"}}, nil
}

// Read waits for output. After all of it, it returns io.EOF when the program has exited, the error of [Terminal.Wait] when
// the session has failed, and [ErrClosed] after Close.
func (t *Terminal) Read(b []byte) (int, error) { return t.out.Read(b) }

// Write presses keys. It waits until the service is ready for input, and while the program does not read. After Close and
// CloseWrite, and when the session is over, it returns an error that matches [ErrClosed], and the session's own failure, if
// there was one.
func (t *Terminal) Write(b []byte) (int, error) { return t.keys.Write(b) }

// CloseWrite says that no more keys will come, as Ctrl+D at the begin of a line does: programs that read lines see the end
// of their input; those that watch single keys, such as a shell at its prompt, need not notice. The session goes on until
// the program exits, and can still be resized. Where a Write waits, so does CloseWrite: Close releases both.
func (t *Terminal) CloseWrite() error { return t.keys.Close() }

// Close ends the session, and what was not read is gone. Whether the program dies is for the service to decide; it usually
// does. Wait then returns an error that matches [ErrClosed], unless the program had exited before. Closing again does
// nothing.
func (t *Terminal) Close() error {
	t.p.Cancel()
	t.out.Close() // lets the receiver go on
	<-t.p.done
	return nil
}

// Resize tells the program that the terminal has another size. It waits until the service is ready for that, no longer than
// ctx. When the session is over, it returns an error that matches [ErrClosed].
func (t *Terminal) Resize(ctx context.Context, cols, rows int) error {
	var f faults
	size := newTermSize(&f, cols, rows)
	if err := f.err(t.p.call); err != nil {
		return err
	}
	switch err := t.p.stdin.resize(ctx, size); err {
	case ErrClosed:
		return t.p.call.wrap(ctxError(ctx))
	case errEnded:
		return t.p.ended("resize")
	default:
		return err
	}
}

// Wait waits for the end of the session. It may be called any number of times. The result has no output; the error is as
// with [Process.Wait]: nil for any exit code.
//
// It returns only when the output was read, or the terminal closed: see [Terminal].
func (t *Terminal) Wait() (*Result, error) { return t.p.Wait() }
