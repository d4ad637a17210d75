package cwsandbox

import (
	"bytes"
	"context"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// script is a service of which the test writes the data plane. A call without an answer is UNIMPLEMENTED.
type script struct {
	sandboxv1.UnimplementedSandboxServiceServer
	exec  func(d *dialog) error
	read  func(req *sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error)
	write func(req *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error)
	logs  func(d *logDialog) error

	execs, reads, writes atomic.Int32
}

func (s *script) StreamExec(stream sandboxv1.SandboxService_StreamExecServer) error {
	s.execs.Add(1)
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	return s.exec(&dialog{stream: stream, init: first.GetInit()})
}

func (s *script) ReadFile(_ context.Context, req *sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
	s.reads.Add(1)
	return s.read(req)
}

func (s *script) WriteFile(_ context.Context, req *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
	s.writes.Add(1)
	return s.write(req)
}

// dialog is the service's side of one command.
type dialog struct {
	stream sandboxv1.SandboxService_StreamExecServer
	init   *sandboxv1.ExecStreamInit
}

func (d *dialog) send(frame *sandboxv1.ExecStreamResponse) error { return d.stream.Send(frame) }

func (d *dialog) ready() error {
	return d.send(&sandboxv1.ExecStreamResponse{
		Message: &sandboxv1.ExecStreamResponse_Ready{Ready: &sandboxv1.ExecStreamReady{}},
	})
}

func (d *dialog) print(stream sandboxv1.ExecStreamOutput_Stream, data string) error {
	return d.send(&sandboxv1.ExecStreamResponse{
		Message: &sandboxv1.ExecStreamResponse_Output{
			Output: &sandboxv1.ExecStreamOutput{Stream: stream, Data: []byte(data)},
		},
	})
}

func (d *dialog) out(data string) error {
	return d.print(sandboxv1.ExecStreamOutput_STREAM_STDOUT, data)
}

func (d *dialog) err(data string) error {
	return d.print(sandboxv1.ExecStreamOutput_STREAM_STDERR, data)
}

func (d *dialog) exit(code int32) error {
	return d.send(&sandboxv1.ExecStreamResponse{
		Message: &sandboxv1.ExecStreamResponse_Exit{Exit: &sandboxv1.ExecStreamExit{ExitCode: code}},
	})
}

func (d *dialog) fail(code, message string) error {
	return d.send(&sandboxv1.ExecStreamResponse{
		Message: &sandboxv1.ExecStreamResponse_Error{Error: &sandboxv1.ExecStreamError{Code: code, Message: message}},
	})
}

// hang waits until the client is gone.
func (d *dialog) hang() error {
	<-d.stream.Context().Done()
	return d.stream.Context().Err()
}

// input receives what the client sends until it half-closes.
func (d *dialog) input() (received input, err error) {
	for {
		frame, err := d.stream.Recv()
		if err == io.EOF {
			return received, nil
		}
		if err != nil {
			return received, err
		}
		if frame.GetClose() != nil {
			received.closes++
			continue
		}
		received.frames = append(received.frames, len(frame.GetStdin()))
		received.data = append(received.data, frame.GetStdin()...)
	}
}

// input is what a command was fed.
type input struct {
	data   []byte
	frames []int // sizes
	closes int
}

// scripted starts a script and returns it with a handle of a running sandbox in it. Both end with the test.
func scripted(t *testing.T) (*script, *Sandbox) {
	t.Helper()
	s := &script{}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(100 << 20))
	sandboxv1.RegisterSandboxServiceServer(server, s)
	c := clientOf(t, server)
	sb := &Sandbox{c.stateOf("sb-1")}
	sb.s.info.State = StateRunning
	return s, sb
}

// story runs a test in fake time. Goroutines that it leaves behind fail it.
func story(t *testing.T, name string, test func(t *testing.T, s *script, sb *Sandbox)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s, sb := scripted(t)
			test(t, s, sb)
		})
	})
}

// read returns everything that a reader yields, and its error unless it is io.EOF.
func read(r io.Reader) (string, error) {
	var b bytes.Buffer
	_, err := b.ReadFrom(r)
	return b.String(), err
}

// all asserts that an error matches each of the targets.
func all(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		assert.ErrorIs(t, err, target)
	}
}

// none asserts that an error matches none of the targets.
func none(t *testing.T, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		assert.NotErrorIs(t, err, target)
	}
}
