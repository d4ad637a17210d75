package transport

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// benchServer serves the calls that are measured.
type benchServer struct {
	sandboxv1.UnimplementedSandboxServiceServer
	content []byte
}

func (*benchServer) GetSandbox(context.Context, *sandboxv1.GetSandboxRequest) (*sandboxv1.Sandbox, error) {
	return &sandboxv1.Sandbox{SandboxId: "sb-1"}, nil
}

func (s *benchServer) ReadFile(context.Context, *sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
	return &sandboxv1.ReadFileResponse{Content: s.content}, nil
}

func (*benchServer) WriteFile(context.Context, *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
	return &sandboxv1.WriteFileResponse{}, nil
}

func (*benchServer) StreamExec(stream grpc.BidiStreamingServer[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse]) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	return stream.Send(&sandboxv1.ExecStreamResponse{})
}

// BenchmarkCalls measures each kind of call over the raw connection and over the transport, side by side.
func BenchmarkCalls(b *testing.B) {
	listener := bufconn.Listen(4 << 20)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage))
	sandboxv1.RegisterSandboxServiceServer(server, &benchServer{content: make([]byte, 32<<20)})
	go server.Serve(listener)
	b.Cleanup(server.Stop)

	dialer := grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) })
	raw, err := grpc.NewClient("dns:///"+target, dialer, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)))
	require.NoError(b, err)
	b.Cleanup(func() { raw.Close() })
	ours := open(b, Config{
		Base: Endpoint{Target: target, Plaintext: true}, Credentials: bearer("k"), DialOptions: []grpc.DialOption{dialer},
		RequestTimeout: 5 * time.Minute, RetryBudget: 30 * time.Second,
	})

	content := make([]byte, 32<<20)
	for _, kind := range []struct {
		name  string
		bytes int64
		call  func(context.Context, sandboxv1.SandboxServiceClient) error
	}{
		{"GetSandbox", 0, func(ctx context.Context, c sandboxv1.SandboxServiceClient) error {
			_, err := c.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"})
			return err
		}},
		{"StreamExec", 0, streamOnce},
		{"ReadFile32MiB", 32 << 20, func(ctx context.Context, c sandboxv1.SandboxServiceClient) error {
			_, err := c.ReadFile(ctx, &sandboxv1.ReadFileRequest{})
			return err
		}},
		{"WriteFile32MiB", 32 << 20, func(ctx context.Context, c sandboxv1.SandboxServiceClient) error {
			_, err := c.WriteFile(ctx, &sandboxv1.WriteFileRequest{Content: content})
			return err
		}},
	} {
		for name, conn := range map[string]grpc.ClientConnInterface{"raw": raw, "transport": ours} {
			b.Run(kind.name+"/"+name, func(b *testing.B) {
				client := sandboxv1.NewSandboxServiceClient(conn)
				b.SetBytes(kind.bytes)
				b.ReportAllocs()
				for b.Loop() {
					if err := kind.call(b.Context(), client); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// streamOnce is one round trip over a stream of its own.
func streamOnce(ctx context.Context, c sandboxv1.SandboxServiceClient) error {
	stream, err := c.StreamExec(ctx)
	if err != nil {
		return err
	}
	if err := stream.Send(&sandboxv1.ExecStreamRequest{}); err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err != nil {
			return stream.CloseSend()
		}
	}
}
