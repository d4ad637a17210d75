package cwsandbox

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// fake is a service whose every answer is written by the test: the state machine is the test's. It records what it saw.
type fake struct {
	sandboxv1.UnimplementedSandboxServiceServer
	sandboxv1.UnimplementedDiscoveryServiceServer
	sandboxv1.UnimplementedVolumeServiceServer
	sandboxv1.UnimplementedSettingsServiceServer
	sandboxv1.UnimplementedSandboxTemplateServiceServer

	// The answers; n counts the calls of that method from 1.
	create func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error)
	get    func(ctx context.Context, n int, id string) (*sandboxv1.Sandbox, error)
	delete func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error)
	list   func(ctx context.Context, n int, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error)
	purge  func(ctx context.Context, n int, req *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error)
	exec   func(stream sandboxv1.SandboxService_StreamExecServer) error
	write  func(ctx context.Context, n int, req *sandboxv1.WriteFileRequest) error

	snapshot func(ctx context.Context, n int, id string) (*sandboxv1.FileSystemSnapshot, error)

	runners func(ctx context.Context, n int, req *sandboxv1.ListAvailableRunnersRequest) (*sandboxv1.ListAvailableRunnersResponse, error)
	runner  func(ctx context.Context, n int, req *sandboxv1.GetAvailableRunnerRequest) (*sandboxv1.AvailableRunner, error)

	// admin answers every method of the administrative services.
	admin func(ctx context.Context, n int, method string, req proto.Message) (proto.Message, error)

	mu     sync.Mutex
	calls  []seen
	counts map[string]int // by method
	logs   strings.Builder
}

// seen is one call as the service saw it.
type seen struct {
	method   string
	request  proto.Message
	at       time.Time
	deadline time.Duration // from at; 0: none
}

// fakeClient starts a fake and a client of it, with a registry of its own. Both end with the test.
func fakeClient(t *testing.T, opts ...ClientOption) (*fake, *Client) {
	t.Helper()
	f := &fake{}
	f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		return record("sb-1", sandboxv1.State_STATE_CREATING), nil
	}
	f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
		return record("sb-1", sandboxv1.State_STATE_RUNNING), nil
	}
	f.delete = func(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		return &sandboxv1.DeleteSandboxResponse{Sandbox: ended(req.GetSandboxId(), sandboxv1.State_STATE_COMPLETED, 0)}, nil
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(f.administer))
	sandboxv1.RegisterSandboxServiceServer(server, f)
	sandboxv1.RegisterDiscoveryServiceServer(server, f)
	sandboxv1.RegisterVolumeServiceServer(server, f)
	sandboxv1.RegisterSettingsServiceServer(server, f)
	sandboxv1.RegisterSandboxTemplateServiceServer(server, f)
	logger := slog.New(slog.NewTextHandler(lockedWriter{&f.mu, &f.logs}, nil))
	return f, clientOf(t, server, append([]ClientOption{WithLogger(logger)}, opts...)...)
}

// clientOf returns a client of a server that it serves in memory. Both end with the test.
func clientOf(t *testing.T, server *grpc.Server, opts ...ClientOption) *Client {
	t.Helper()
	listener := bufconn.Listen(1 << 20)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	c, err := NewClient(append([]ClientOption{
		WithBaseURL("http://127.0.0.1:1"), WithAPIKey("test-key"),
		WithDialOptions(
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }),
		),
		clientOption(func(c *clientConfig) { c.privateRegistry = true }),
	}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() {
		c.Close()
		c.conn.Close() // also what Close keeps for tracked sandboxes
		server.Stop()
		serving.Wait()
	})
	return c
}

// bubble runs a test in fake time with a fake service. Goroutines that the test leaves behind fail it.
func bubble(t *testing.T, name string, test func(t *testing.T, f *fake, c *Client)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t)
			test(t, f, c)
		})
	})
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *strings.Builder
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// logged returns everything that was logged so far.
func (f *fake) logged() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.logs.String()
}

// note records a call and returns its number among those of its method.
func (f *fake) note(ctx context.Context, method string, req proto.Message) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := seen{method: method, request: proto.Clone(req), at: time.Now()}
	if d, ok := ctx.Deadline(); ok {
		s.deadline = time.Until(d)
	}
	f.calls = append(f.calls, s)
	if f.counts == nil {
		f.counts = make(map[string]int)
	}
	f.counts[method]++
	return f.counts[method]
}

// of returns the calls of one method.
func (f *fake) of(method string) []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	var of []seen
	for _, c := range f.calls {
		if c.method == method {
			of = append(of, c)
		}
	}
	return of
}

func (f *fake) count(method string) int { return len(f.of(method)) }

// gaps returns the times between the calls of one method.
func (f *fake) gaps(method string) []time.Duration {
	calls := f.of(method)
	var gaps []time.Duration
	for i := 1; i < len(calls); i++ {
		gaps = append(gaps, calls[i].at.Sub(calls[i-1].at))
	}
	return gaps
}

func (f *fake) CreateSandbox(ctx context.Context, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
	return f.create(ctx, f.note(ctx, "CreateSandbox", req), req)
}

func (f *fake) GetSandbox(ctx context.Context, req *sandboxv1.GetSandboxRequest) (*sandboxv1.Sandbox, error) {
	n := f.note(ctx, "GetSandbox", req)
	f.mu.Lock()
	get := f.get
	f.mu.Unlock()
	return get(ctx, n, req.GetSandboxId())
}

// nowGet changes the answers of Get while somebody may be asking.
func (f *fake) nowGet(get func(ctx context.Context, n int, id string) (*sandboxv1.Sandbox, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.get = get
}

func (f *fake) DeleteSandbox(ctx context.Context, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
	return f.delete(ctx, f.note(ctx, "DeleteSandbox", req), req)
}

func (f *fake) GetFileSystemSnapshot(ctx context.Context, req *sandboxv1.GetFileSystemSnapshotRequest) (*sandboxv1.FileSystemSnapshot, error) {
	return f.snapshot(ctx, f.note(ctx, "GetFileSystemSnapshot", req), req.GetFileSystemSnapshotId())
}

func (f *fake) ListSandboxes(ctx context.Context, req *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
	return f.list(ctx, f.note(ctx, "ListSandboxes", req), req)
}

func (f *fake) PurgeSandboxes(ctx context.Context, req *sandboxv1.PurgeSandboxesRequest) (*sandboxv1.PurgeSandboxesResponse, error) {
	return f.purge(ctx, f.note(ctx, "PurgeSandboxes", req), req)
}

func (f *fake) StreamExec(stream sandboxv1.SandboxService_StreamExecServer) error {
	f.note(stream.Context(), "StreamExec", &sandboxv1.ExecStreamRequest{})
	return f.exec(stream)
}

// states makes Get answer one state after the other; the last one stays.
func (f *fake) states(states ...sandboxv1.State) {
	f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
		return record(id, states[min(n, len(states))-1]), nil
	}
}

// record is a sandbox in a state, without an exit code.
func record(id string, state sandboxv1.State) *sandboxv1.Sandbox {
	return &sandboxv1.Sandbox{
		SandboxId: id,
		Spec:      &sandboxv1.SandboxSpec{Containers: []*sandboxv1.Container{{Name: "main", Image: "python:3.11"}}},
		Status:    &sandboxv1.SandboxStatus{State: state, CreateTime: timestamppb.Now()},
	}
}

// ended is a sandbox that has ended with an exit code.
func ended(id string, state sandboxv1.State, code int32) *sandboxv1.Sandbox {
	sb := record(id, state)
	sb.Status.ExitCode = &code
	sb.Status.EndTime = timestamppb.Now()
	return sb
}

// failure is a status with the service's details.
func failure(code codes.Code, reason string, details ...proto.Message) error {
	st := status.New(code, "made by the test")
	var all []protoadapt.MessageV1
	if reason != "" {
		all = append(all, protoadapt.MessageV1Of(&errdetails.ErrorInfo{Reason: reason, Domain: "cwsandbox.com"}))
	}
	for _, d := range details {
		all = append(all, protoadapt.MessageV1Of(d))
	}
	st, err := st.WithDetails(all...)
	if err != nil {
		panic(err)
	}
	return st.Err()
}

// retryAfter is the service's wish for the next attempt.
func retryAfter(d time.Duration) proto.Message {
	return &errdetails.RetryInfo{RetryDelay: durationpb.New(d)}
}

// administer has the calls of administrative services answered.
func (f *fake) administer(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	service, method, _ := strings.Cut(strings.TrimPrefix(info.FullMethod, "/coreweave.sandbox.v1."), "/")
	switch service {
	case "VolumeService", "SettingsService", "SandboxTemplateService":
		return f.admin(ctx, f.note(ctx, method, req.(proto.Message)), method, req.(proto.Message))
	}
	return next(ctx, req)
}

// running returns a handle that is known to run.
func running(t *testing.T, f *fake, c *Client) *Sandbox {
	t.Helper()
	created := f.create
	f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		return record("sb-1", sandboxv1.State_STATE_RUNNING), nil
	}
	sb, err := c.Create(t.Context())
	require.NoError(t, err)
	f.create = created
	return sb
}

// creating returns a handle that was accepted and is not known to run.
func creating(t *testing.T, c *Client) *Sandbox {
	t.Helper()
	sb, err := c.Create(t.Context())
	require.NoError(t, err)
	return sb
}
