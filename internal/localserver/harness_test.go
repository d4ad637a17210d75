package localserver

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A world is a server with the scripted runtime and a connection to it. It lives inside a synctest bubble, so the
// clock moves only while everything waits.
type world struct {
	*testing.T
	srv *Server
	lis *bufconn.Listener
	cc  *grpc.ClientConn
	api sandboxv1.SandboxServiceClient
	ctx context.Context // with a credential
}

// programs are what containers in these tests run.
var programs = []scripted.Option{
	scripted.WithCommand("wait-for-term", scripted.Command{CatchSignals: true, Run: func(ctx context.Context, p *scripted.Proc) int {
		select {
		case <-p.Signals:
		case <-ctx.Done():
		}
		return 0
	}}),
	scripted.WithCommand("ignore-term", scripted.Command{CatchSignals: true, Run: func(ctx context.Context, _ *scripted.Proc) int {
		<-ctx.Done()
		return 0
	}}),
	scripted.WithCommand("fail", scripted.Reply("", "", 3)),
}

// inWorld runs a test in a bubble of its own. Every goroutine of the server and its client must have ended with it.
func inWorld(t *testing.T, o Options, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		defer w.close()
		test(w)
	})
}

func newWorld(t *testing.T, o Options) *world {
	t.Helper()
	if o.Runtime == nil {
		o.Runtime = scripted.New(programs...)
	}
	srv, err := New(o)
	require.NoError(t, err)
	w := &world{T: t, srv: srv, lis: bufconn.Listen(1 << 20), ctx: as(context.Background(), "a-key")}
	go func() { assert.NoError(t, srv.Serve(w.lis)) }()
	w.cc = w.dial()
	w.api = sandboxv1.NewSandboxServiceClient(w.cc)
	return w
}

func (w *world) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	w.Helper()
	opts = append([]grpc.DialOption{
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.lis.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes), grpc.MaxCallSendMsgSize(200<<20)),
	}, opts...)
	cc, err := grpc.NewClient("passthrough:local", opts...)
	require.NoError(w, err)
	return cc
}

func (w *world) close() {
	w.Helper()
	require.NoError(w, w.cc.Close())
	require.NoError(w, w.srv.Close())
}

// as adds a bearer token to the calls made with the context.
func as(ctx context.Context, token string) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
}

// aSpec is the smallest spec, changed by the given functions.
func aSpec(changes ...func(*sandboxv1.SandboxSpec)) *sandboxv1.SandboxSpec {
	spec := &sandboxv1.SandboxSpec{Containers: []*sandboxv1.Container{{Name: "main", Image: "python:3.12", Command: "wait-for-term"}}}
	for _, change := range changes {
		change(spec)
	}
	return spec
}

func tagged(tags ...string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) { s.Tags = tags }
}

func command(argv ...string) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) { s.Containers[0].Command, s.Containers[0].Args = argv[0], argv[1:] }
}

func createOf(spec *sandboxv1.SandboxSpec) *sandboxv1.CreateSandboxRequest {
	return &sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: spec}}
}

func (w *world) create(changes ...func(*sandboxv1.SandboxSpec)) *sandboxv1.Sandbox {
	w.Helper()
	sb, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(changes...)))
	require.NoError(w, err)
	return sb
}

// run creates a sandbox and waits until it has settled in its state.
func (w *world) run(changes ...func(*sandboxv1.SandboxSpec)) string {
	w.Helper()
	id := w.create(changes...).GetSandboxId()
	synctest.Wait()
	require.Equal(w, running, w.get(id).GetStatus().GetState())
	return id
}

func (w *world) get(id string) *sandboxv1.Sandbox {
	w.Helper()
	sb, err := w.api.GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
	require.NoError(w, err)
	return sb
}

func (w *world) state(id string) sandboxv1.State {
	w.Helper()
	return w.get(id).GetStatus().GetState()
}

func (w *world) delete(id string, grace time.Duration) *sandboxv1.Sandbox {
	w.Helper()
	resp, err := w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{
		SandboxId: id, GracePeriodSeconds: int32(grace / time.Second),
	})
	require.NoError(w, err)
	return resp.GetSandbox()
}

func (w *world) list(req *sandboxv1.ListSandboxesRequest) []string {
	w.Helper()
	resp, err := w.api.ListSandboxes(w.ctx, req)
	require.NoError(w, err)
	var ids []string
	for _, sb := range resp.GetSandboxes() {
		ids = append(ids, sb.GetSandboxId())
	}
	return ids
}

// refused is what a test expects of an error.
type refused struct {
	code   codes.Code
	reason string // empty: a bare status
	fields []string
}

func (w *world) requireRefused(want refused, err error) {
	w.Helper()
	require.Error(w, err)
	st := status.Convert(err)
	got := refused{code: st.Code()}
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			got.reason = d.GetReason()
			require.Equal(w, "cwsandbox.com", d.GetDomain())
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				got.fields = append(got.fields, v.GetField())
				require.NotEmpty(w, v.GetDescription())
			}
		}
	}
	require.Equal(w, want, got, "%v", err)
}

func badField(fields ...string) refused {
	return refused{codes.InvalidArgument, "CWSANDBOX_INVALID_REQUEST", fields}
}

var (
	isGone       = refused{code: codes.NotFound, reason: "CWSANDBOX_SANDBOX_NOT_FOUND"}
	isNotRunning = refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_SANDBOX_NOT_RUNNING"}
)

// info returns the ErrorInfo of an error.
func (w *world) info(err error) *errdetails.ErrorInfo {
	w.Helper()
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	w.Fatalf("no ErrorInfo in %v", err)
	return nil
}

// exec runs a command on a stream to its end and returns the frames after ready.
func (w *world) exec(id string, argv ...string) (stdout, stderr string, exit int32) {
	w.Helper()
	stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: argv})
	require.NoError(w, stream.CloseSend())
	for {
		frame, err := stream.Recv()
		require.NoError(w, err)
		switch m := frame.GetMessage().(type) {
		case *sandboxv1.ExecStreamResponse_Output:
			if m.Output.GetStream() == sandboxv1.ExecStreamOutput_STREAM_STDOUT {
				stdout += string(m.Output.GetData())
			} else {
				stderr += string(m.Output.GetData())
			}
		case *sandboxv1.ExecStreamResponse_Exit:
			_, err := stream.Recv()
			require.ErrorIs(w, err, io.EOF)
			return stdout, stderr, m.Exit.GetExitCode()
		default:
			w.Fatalf("unexpected frame %v", frame)
		}
	}
}

type execStreamClient = grpc.BidiStreamingClient[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse]

// openExec starts a command and takes the ready frame.
func (w *world) openExec(init *sandboxv1.ExecStreamInit) execStreamClient {
	w.Helper()
	stream, err := w.api.StreamExec(w.ctx)
	require.NoError(w, err)
	w.sendInit(stream, init)
	frame, err := stream.Recv()
	require.NoError(w, err)
	require.NotNil(w, frame.GetReady().GetReadyTime(), "the first frame must be ready")
	return stream
}

func (w *world) sendInit(stream execStreamClient, init *sandboxv1.ExecStreamInit) {
	w.Helper()
	require.NoError(w, stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}))
}

func (w *world) sendStdin(stream execStreamClient, data string) {
	w.Helper()
	require.NoError(w, stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Stdin{Stdin: []byte(data)}}))
}

func (w *world) sendClose(stream execStreamClient) {
	w.Helper()
	require.NoError(w, stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Close{Close: &sandboxv1.ExecStreamClose{}}}))
}

// lastError reads a stream to its end and returns the error that it ended with, nil for OK.
func lastError(recv func() error) error {
	for {
		if err := recv(); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}
