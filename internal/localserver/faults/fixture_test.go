package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// service is a small server: enough to see what a rule does to a call.
type service struct {
	sandboxv1.UnimplementedSandboxServiceServer
}

func (service) CreateSandbox(_ context.Context, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
	req.RequestId = "changed by the handler"
	return &sandboxv1.Sandbox{SandboxId: "sb-1"}, nil
}

func (service) GetSandbox(_ context.Context, req *sandboxv1.GetSandboxRequest) (*sandboxv1.Sandbox, error) {
	return &sandboxv1.Sandbox{SandboxId: req.GetSandboxId()}, nil
}

// StreamExec answers with ready, two outputs and an exit, and echoes what it gets on standard input before the exit.
func (service) StreamExec(s sandboxv1.SandboxService_StreamExecServer) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	for _, m := range []*sandboxv1.ExecStreamResponse{readyFrame(), outputFrame("one"), outputFrame("two")} {
		if err := s.Send(m); err != nil {
			return err
		}
	}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return s.Send(exitFrame())
		}
		if err != nil {
			return err
		}
		if err := s.Send(outputFrame(string(m.GetStdin()))); err != nil {
			return err
		}
	}
}

// StreamLogs sends one entry and then nothing until the client goes.
func (service) StreamLogs(_ *sandboxv1.StreamLogsRequest, s sandboxv1.SandboxService_StreamLogsServer) error {
	if err := s.Send(&sandboxv1.LogEntry{Data: []byte("line\n"), NextLogOffset: 5}); err != nil {
		return err
	}
	<-s.Context().Done()
	return s.Context().Err()
}

func readyFrame() *sandboxv1.ExecStreamResponse {
	return &sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Ready{Ready: &sandboxv1.ExecStreamReady{}}}
}

func outputFrame(data string) *sandboxv1.ExecStreamResponse {
	out := &sandboxv1.ExecStreamOutput{Data: []byte(data)}
	return &sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Output{Output: out}}
}

func exitFrame() *sandboxv1.ExecStreamResponse {
	return &sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Exit{Exit: &sandboxv1.ExecStreamExit{}}}
}

// fixture is a server with a layer, and a client of it.
type fixture struct {
	*Layer
	cc     *grpc.ClientConn
	client sandboxv1.SandboxServiceClient
}

// bubble runs a test on a server in memory and in fake time.
func bubble(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		lis := bufconn.Listen(64 << 10)
		f := newFixture(t, lis)
		f.dial(t, "passthrough:///memory", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
		test(t, f)
	})
}

func newFixture(t *testing.T, lis net.Listener, opts ...grpc.ServerOption) *fixture {
	t.Helper()
	f := &fixture{Layer: NewLayer()}
	srv := grpc.NewServer(append(opts, grpc.UnaryInterceptor(f.Unary), grpc.StreamInterceptor(f.Stream))...)
	sandboxv1.RegisterSandboxServiceServer(srv, service{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(Listen(lis)) }()
	t.Cleanup(func() {
		f.Release()
		srv.Stop()
		require.NoError(t, <-served)
	})
	return f
}

func (f *fixture) dial(t *testing.T, target string, opts ...grpc.DialOption) {
	t.Helper()
	cc, err := grpc.NewClient(target, opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cc.Close()) })
	f.cc = cc
	f.client = sandboxv1.NewSandboxServiceClient(cc)
}

// outcome is what a client sees of one call.
type outcome struct {
	err    error
	took   time.Duration
	id     string   // of a unary call
	frames []string // of a stream
}

// patience is when the clients of these tests give up.
const patience = time.Minute

func (f *fixture) get(t *testing.T) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	sb, err := f.client.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"})
	return outcome{err: err, took: time.Since(start), id: sb.GetSandboxId()}
}

func (f *fixture) exec(t *testing.T) outcome {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	start := time.Now()
	s, err := f.client.StreamExec(ctx)
	require.NoError(t, err)
	init := &sandboxv1.ExecStreamInit{SandboxId: "sb-1", Command: []string{"true"}}
	// A send that fails is no news: Recv has the reason.
	_ = s.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}})
	_ = s.CloseSend()
	var frames []string
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return outcome{took: time.Since(start), frames: frames}
		}
		if err != nil {
			return outcome{err: err, took: time.Since(start), frames: frames}
		}
		frames = append(frames, name(m))
	}
}

// name describes a message of StreamExec in one word.
func name(m *sandboxv1.ExecStreamResponse) string {
	switch {
	case m.GetReady() != nil:
		return "ready"
	case m.GetOutput() != nil:
		return string(m.GetOutput().GetData())
	case m.GetExit() != nil:
		return "exit"
	case m.GetError() != nil:
		return m.GetError().GetCode() + ": " + m.GetError().GetMessage()
	}
	return "unknown"
}

func (f *fixture) logs(t *testing.T) ([]*sandboxv1.LogEntry, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s, err := f.client.StreamLogs(ctx, &sandboxv1.StreamLogsRequest{SandboxId: "sb-1", Follow: true})
	require.NoError(t, err)
	var entries []*sandboxv1.LogEntry
	for {
		e, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return entries, err
		}
		entries = append(entries, e)
	}
}

// invoke calls any method with an empty message.
func (f *fixture) invoke(t *testing.T, method string) error {
	return f.cc.Invoke(t.Context(), method, &sandboxv1.GetSandboxRequest{}, &sandboxv1.Sandbox{})
}
