package cwsandbox

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	stdinFrame = 64 << 10

	// readyLimit bounds the wait for the service's word that it takes input. Bytes that are sent earlier can be lost.
	readyLimit = 5 * time.Second
)

// execStream is the client's side of one StreamExec call.
type execStream = grpc.BidiStreamingClient[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse]

// errEnded says that input has come too late. It never leaves this package.
var errEnded = errors.New("the process has ended")

// stdin sends the input of a command, frame by frame, once the service is ready for it.
type stdin struct {
	call   call
	stream execStream
	done   <-chan struct{} // the outcome is known
	ready  chan struct{}
	limit  *time.Timer   // of the wait for ready
	opened bool          // ready is closed; owned by the receiver
	turn   chan struct{} // holds something while a message is being sent: a stream takes one at a time

	resizable bool // a terminal's: sizes may follow the end of the input
}

func newStdin(c call, stream execStream, done <-chan struct{}, wait time.Duration, late func()) *stdin {
	return &stdin{
		call:   c,
		stream: stream,
		done:   done,
		ready:  make(chan struct{}),
		limit:  time.AfterFunc(wait, late),
		turn:   make(chan struct{}, 1),
	}
}

// open lets the input flow. Only the receiver calls it.
func (in *stdin) open() {
	if in.opened {
		return
	}
	in.opened = true
	in.limit.Stop()
	close(in.ready)
}

// await waits until input may be sent. A closed channel, unless it is nil, ends the wait with ErrClosed.
func (in *stdin) await(closed <-chan struct{}) error {
	select {
	case <-in.done:
		return errEnded
	case <-closed:
		return ErrClosed
	default:
	}
	select {
	case <-in.ready:
		return nil
	case <-in.done:
		return errEnded
	case <-in.stream.Context().Done():
		return errEnded
	case <-closed:
		return ErrClosed
	}
}

// send sends one frame. The service takes its time when the command does not read.
func (in *stdin) send(data []byte) error {
	in.turn <- struct{}{}
	defer func() { <-in.turn }()
	return in.sent(in.stream.Send(&sandboxv1.ExecStreamRequest{
		Message: &sandboxv1.ExecStreamRequest_Stdin{Stdin: data},
	}))
}

// finish ends the input.
func (in *stdin) finish() error {
	in.turn <- struct{}{}
	defer func() { <-in.turn }()
	err := in.sent(in.stream.Send(&sandboxv1.ExecStreamRequest{
		Message: &sandboxv1.ExecStreamRequest_Close{Close: &sandboxv1.ExecStreamClose{}},
	}))
	if err != nil || in.resizable {
		return err
	}
	return in.sent(in.stream.CloseSend())
}

// resize sends a new size of the terminal, and waits no longer than ctx for that. What has begun goes on: the stream ends
// it, should the service not take it.
func (in *stdin) resize(ctx context.Context, size termSize) error {
	if err := in.await(ctx.Done()); err != nil {
		return err
	}
	select {
	case in.turn <- struct{}{}:
	case <-ctx.Done():
		return ErrClosed
	case <-in.done:
		return errEnded
	}
	sent := make(chan error, 1)
	go func() {
		defer func() { <-in.turn }()
		sent <- in.sent(in.stream.Send(&sandboxv1.ExecStreamRequest{
			Message: &sandboxv1.ExecStreamRequest_Resize{
				Resize: &sandboxv1.ExecStreamResize{Width: size.cols, Height: size.rows},
			},
		}))
	}()
	select {
	case err := <-sent:
		return err
	case <-ctx.Done():
		return ErrClosed
	}
}

// sent translates what the stream says to a message: that it is over is for the receiver to explain.
func (in *stdin) sent(err error) error {
	if err == io.EOF {
		return errEnded
	}
	return in.call.wrap(err)
}

// feed sends all of r, then the end of the input. It returns nil when the process has ended before.
func (in *stdin) feed(r io.Reader) error {
	err := in.copy(r)
	if err == errEnded {
		return nil
	}
	return err
}

func (in *stdin) copy(r io.Reader) error {
	buf := make([]byte, stdinFrame)
	for {
		if err := in.await(nil); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if err := in.send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case err == io.EOF:
			return in.finish()
		case err != nil:
			return in.call.refuse("read standard input: "+err.Error(), err)
		}
	}
}

// stdinPipe is what Process.Stdin returns of a process with WithStdinPipe.
type stdinPipe struct {
	p       *Process
	closing sync.Once
	closed  chan struct{}
	sending sync.Mutex // one frame at a time
}

// Write sends b as input of the command. It waits until the service is ready for input, and as long as the command does
// not read.
func (w *stdinPipe) Write(b []byte) (n int, err error) {
	w.sending.Lock()
	defer w.sending.Unlock()
	for len(b) > 0 {
		if err := w.p.stdin.await(w.closed); err != nil {
			return n, w.error(err)
		}
		frame := b[:min(len(b), stdinFrame)]
		if err := w.p.stdin.send(frame); err != nil {
			return n, w.error(err)
		}
		n += len(frame)
		b = b[len(frame):]
	}
	return n, nil
}

// Close ends the input of the command, after what a Write in progress has begun to send. Closing again, or when the
// process has ended, does nothing.
func (w *stdinPipe) Close() (err error) {
	w.closing.Do(func() {
		close(w.closed)
		w.sending.Lock()
		defer w.sending.Unlock()
		if err = w.p.stdin.await(nil); err == nil {
			err = w.p.stdin.finish()
		}
		if err == errEnded {
			err = nil
		}
	})
	return err
}

// error says why input could not be written.
func (w *stdinPipe) error(err error) error {
	switch err {
	case ErrClosed:
		return w.p.call.refuse("standard input is closed", ErrClosed)
	case errEnded:
		return w.p.ended("write standard input")
	}
	return err
}

// ended is the error of what comes too late for the process.
func (p *Process) ended(what string) error {
	causes := []error{ErrClosed}
	if end := p.failure(); end != nil {
		causes = append(causes, end)
	}
	return p.call.refuse(what+": the process has ended", causes...)
}

// noStdin is the input of a process that has none to write to.
type noStdin struct{ call call }

func (w noStdin) Write([]byte) (int, error) {
	return 0, w.call.refuse("standard input was not asked for: use WithStdinPipe", ErrClosed)
}

func (w noStdin) Close() error { return nil }
