package localserver

import (
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// missing answers for a command that cannot be run, as a shell would.
func (x *execStream) missing(e *container.StartError) error {
	if err := x.sendReady(); err != nil {
		return err
	}
	if err := x.sendOutput(sandboxv1.ExecStreamOutput_STREAM_STDERR, []byte(e.Text+"\n")); err != nil {
		return err
	}
	return x.sendExit(e.Code)
}

func (x *execStream) sendReady() error {
	return x.send(&sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Ready{
		Ready: &sandboxv1.ExecStreamReady{ReadyTime: timestamppb.New(x.server.now())},
	}})
}

// sendOutput sends a piece of output, unless the end of the stream was decided on.
func (x *execStream) sendOutput(kind sandboxv1.ExecStreamOutput_Stream, data []byte) error {
	x.sending.Lock()
	defer x.sending.Unlock()
	if err := x.ctx.Err(); err != nil {
		return err
	}
	if limit := x.server.opt.ExecStallTimeout; limit > 0 {
		stop := x.server.opt.Clock.AfterFunc(limit, x.stalled)
		defer stop()
	}
	return x.send(&sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Output{
		Output: &sandboxv1.ExecStreamOutput{Stream: kind, Data: data},
	}})
}

func (x *execStream) stalled() {
	x.cancel(inBandError{"STREAM_BACKPRESSURE", "the client did not take the output in time"})
}

func (x *execStream) sendExit(exit int) error {
	return x.send(&sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Exit{
		Exit: &sandboxv1.ExecStreamExit{ExitCode: int32(exit), CompletedTime: timestamppb.New(x.server.now())},
	}})
}

func (x *execStream) sendError(e inBandError) error {
	return x.send(&sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Error{
		Error: &sandboxv1.ExecStreamError{Code: e.code, Message: e.text},
	}})
}

func (x *execStream) send(m *sandboxv1.ExecStreamResponse) error { return x.stream.Send(m) }
