package localserver

import (
	"context"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type execServerStream = grpc.BidiStreamingServer[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse]

// The size of a terminal whose client does not say.
const (
	defaultCols = 80
	defaultRows = 24
)

// StreamExec runs a command with live input and output.
func (s *sandboxService) StreamExec(stream execServerStream) error {
	req, err := receiveInit(stream)
	if err != nil {
		return err
	}
	ctx, cancel := s.bind(stream.Context())
	defer cancel(nil)
	_, run, err := s.target(ctx, req.GetSandboxId(), req.GetContainer())
	if err != nil {
		return err
	}
	x := s.newExecStream(stream, ctx, cancel)
	p, err := run.Exec(ctx, processSpec(req))
	if missing := (*container.StartError)(nil); errors.As(err, &missing) {
		return x.missing(missing)
	}
	if err != nil {
		return s.runFault(ctx, req.GetSandboxId(), req.GetContainer(), run, err)
	}
	return x.run(p)
}

func receiveInit(stream execServerStream) (*sandboxv1.ExecStreamInit, error) {
	frame, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return nil, bad("message", "the first frame must be init")
	}
	if err != nil {
		return nil, err
	}
	req := frame.GetInit()
	if req == nil {
		return nil, bad("message", "the first frame must be init")
	}
	var c checker
	c.exec(req.GetSandboxId(), req.GetCommand(), req.GetEnv())
	return req, c.err()
}

func processSpec(req *sandboxv1.ExecStreamInit) container.ProcessSpec {
	spec := container.ProcessSpec{Argv: req.GetCommand(), Env: req.GetEnv(), Stdin: true}
	if req.GetTty() {
		spec.TTY = &container.Size{
			Cols: dimension(orDefault(req.GetTtyWidth(), defaultCols)),
			Rows: dimension(orDefault(req.GetTtyHeight(), defaultRows)),
		}
	}
	return spec
}

// dimension fits a number into what a terminal can have.
func dimension(n uint32) uint16 { return uint16(min(n, 1<<16-1)) }

// An execStream is one command and the call that it is attached to. Its goroutines end with the call: the pumps before
// the handler returns, the receiver with the stream's context.
type execStream struct {
	server *Server
	stream execServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc // with an inBandError or a status as the cause

	process  container.Process
	sending  sync.Mutex // a gRPC stream takes one message at a time
	leftOpen watchdog   // the process has ended, its streams are still open
	silent   watchdog   // the input was closed
}

// An inBandError ends a stream with an error frame.
type inBandError struct{ code, text string }

func (e inBandError) Error() string { return e.text }

func (s *Server) newExecStream(stream execServerStream, ctx context.Context, cancel context.CancelCauseFunc) *execStream {
	return &execStream{
		server: s, stream: stream, ctx: ctx, cancel: cancel,
		leftOpen: watchdog{clock: s.opt.Clock},
		silent:   watchdog{clock: s.opt.Clock},
	}
}

func (x *execStream) run(p container.Process) error {
	x.process = p
	release := context.AfterFunc(x.ctx, p.Kill)
	defer release()
	defer x.silent.stop()
	if err := x.sendReady(); err != nil {
		p.Kill()
		return err
	}
	go x.receive()
	x.pump()
	var inBand inBandError
	switch cause := context.Cause(x.ctx); {
	case cause == nil:
		return x.sendExit(p.ExitCode())
	case errors.As(cause, &inBand):
		return x.sendError(inBand)
	default:
		return endOf(x.ctx)
	}
}

// pump sends all output, and returns when the process has ended too. A descendant that holds the streams of the ended
// process cannot keep the call open; a slow client can.
func (x *execStream) pump() {
	var pumps sync.WaitGroup
	pumps.Go(func() { x.forward(sandboxv1.ExecStreamOutput_STREAM_STDOUT, x.process.Stdout()) })
	if stderr := x.process.Stderr(); stderr != nil {
		pumps.Go(func() { x.forward(sandboxv1.ExecStreamOutput_STREAM_STDERR, stderr) })
	}
	<-x.process.Done()
	x.leftOpen.arm(x.server.opt.PipeDrain, x.process.Kill)
	pumps.Wait()
	x.leftOpen.stop()
}

// forward sends one stream of the process: what one read returns is one frame.
func (x *execStream) forward(kind sandboxv1.ExecStreamOutput_Stream, from io.Reader) {
	frame := frames.Get().(*[frameBytes]byte)
	defer frames.Put(frame)
	for {
		n, readErr := from.Read(frame[:])
		if n > 0 {
			x.leftOpen.pause()
			x.silent.pause()
			err := x.sendOutput(kind, frame[:n])
			x.leftOpen.resume()
			x.silent.resume()
			if err != nil {
				x.process.Kill()
				return
			}
		}
		if readErr != nil {
			return
		}
	}
}

// receive carries out what the client sends, until the end of its side or of the call.
func (x *execStream) receive() {
	stdin, closed := x.process.Stdin(), false
	defer func() { _ = stdin.Close() }()
	for {
		frame, err := x.stream.Recv()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			x.cancel(err)
			return
		}
		switch m := frame.GetMessage().(type) {
		case *sandboxv1.ExecStreamRequest_Stdin:
			if closed {
				x.cancel(bad("message", "no stdin can follow close"))
				return
			}
			_, _ = stdin.Write(m.Stdin)
		case *sandboxv1.ExecStreamRequest_Resize:
			x.resize(m.Resize)
		case *sandboxv1.ExecStreamRequest_Close:
			if !closed {
				closed = true
				_ = stdin.Close()
				x.silent.arm(x.server.opt.StdinCloseGrace, x.silenceExpired)
			}
		case *sandboxv1.ExecStreamRequest_Init:
			x.cancel(bad("message", "init can only be the first frame"))
			return
		default:
			x.cancel(bad("message", "a frame must not be empty"))
			return
		}
	}
}

func (x *execStream) resize(m *sandboxv1.ExecStreamResize) {
	if m.GetWidth() > 0 && m.GetHeight() > 0 {
		x.process.Resize(container.Size{Cols: dimension(m.GetWidth()), Rows: dimension(m.GetHeight())})
	}
}

func (x *execStream) silenceExpired() {
	x.cancel(inBandError{"STDIN_CLOSE_GRACE_EXPIRED", "no output for too long after the input was closed"})
}
