package cwsandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The benchmarks do the same once through the package and once through the generated stub, against one server and one
// sandbox, so that the difference is what the package costs.

const (
	benchFile = "/tmp/bench"
	benchSize = 32 << 20
	benchMax  = 100 << 20 // of a message
)

// bench is one running sandbox with a way to it of either kind.
type bench struct {
	sandbox *cwsandbox.Sandbox
	stub    sandboxv1.SandboxServiceClient
}

// overBoth runs a benchmark over loopback TCP and over a pipe in memory, through the stub and through the package.
func overBoth(b *testing.B, raw, api func(b *testing.B, with bench)) {
	overBothWith(b, scripted.New(), nil, raw, api)
}

// overBothWith is overBoth for a runtime and a sandbox of one's own.
func overBothWith(b *testing.B, rt container.Runtime, opts []cwsandbox.Option, raw, api func(b *testing.B, with bench)) {
	for _, way := range []string{"tcp", "bufconn"} {
		b.Run(way, func(b *testing.B) {
			with := newBench(b, way, rt, opts...)
			b.Run("raw", func(b *testing.B) { raw(b, with) })
			b.Run("api", func(b *testing.B) { api(b, with) })
		})
	}
}

func newBench(b *testing.B, way string, rt container.Runtime, opts ...cwsandbox.Option) bench {
	b.Helper()
	server, err := localserver.New(localserver.Options{Runtime: rt})
	if err != nil {
		b.Fatal(err)
	}
	listener, dial := benchListener(b, way)
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(listener) })
	b.Cleanup(func() {
		server.Close()
		serving.Wait()
	})

	target := "127.0.0.1:1" // nobody's: the dialer knows the way
	if way == "tcp" {
		target = listener.Addr().String()
	}
	client, err := cwsandbox.NewClient(cwsandbox.WithBaseURL("http://"+target), cwsandbox.WithAPIKey("key"),
		cwsandbox.WithDialOptions(dial...))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	conn, err := grpc.NewClient("passthrough:///"+target, append([]grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(benchMax), grpc.MaxCallSendMsgSize(benchMax)),
	}, dial...)...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	sb, err := client.Run(b.Context(), opts...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sb.Stop().Wait() })
	return bench{sandbox: sb, stub: sandboxv1.NewSandboxServiceClient(conn)}
}

func benchListener(b *testing.B, way string) (net.Listener, []grpc.DialOption) {
	b.Helper()
	if way == "bufconn" {
		listener := bufconn.Listen(1 << 20)
		return listener, []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		})}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener, nil
}

// benchContext is what a user of the stub sends along.
func benchContext(b *testing.B) context.Context {
	return metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer key")
}

func BenchmarkExec(b *testing.B) {
	argv := []string{"echo", "hello"}
	overBoth(b, func(b *testing.B, with bench) {
		ctx := benchContext(b)
		b.ReportAllocs()
		for b.Loop() {
			out, code, err := rawExec(ctx, with.stub, with.sandbox.ID(), argv)
			if err != nil || code != 0 || string(out) != "hello\n" {
				b.Fatalf("%q, exit %d, error %v", out, code, err)
			}
		}
	}, func(b *testing.B, with bench) {
		b.ReportAllocs()
		for b.Loop() {
			res, err := with.sandbox.Exec(b.Context(), argv)
			if err != nil || res.ExitCode != 0 || string(res.Stdout) != "hello\n" {
				b.Fatalf("%+v, error %v", res, err)
			}
		}
	})
}

// BenchmarkExec1000 runs a thousand commands at once, that many times over.
func BenchmarkExec1000(b *testing.B) {
	argv := []string{"echo", "hello"}
	overBoth(b, func(b *testing.B, with bench) {
		ctx := benchContext(b)
		atOnce(b, 1000, func() error {
			out, code, err := rawExec(ctx, with.stub, with.sandbox.ID(), argv)
			if err != nil || code != 0 || string(out) != "hello\n" {
				return fmt.Errorf("%q, exit %d, error %w", out, code, err)
			}
			return nil
		})
	}, func(b *testing.B, with bench) {
		atOnce(b, 1000, func() error {
			res, err := with.sandbox.Exec(b.Context(), argv)
			if err != nil || res.ExitCode != 0 || string(res.Stdout) != "hello\n" {
				return fmt.Errorf("%+v, error %w", res, err)
			}
			return nil
		})
	})
}

// atOnce measures n calls that begin together.
func atOnce(b *testing.B, n int, do func() error) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		errs := make([]error, n)
		var all sync.WaitGroup
		for i := range errs {
			all.Go(func() { errs[i] = do() })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			b.Fatal(err)
		}
	}
}

// rawExec is the least that runs a command through the stub and gets its output and exit code.
func rawExec(ctx context.Context, stub dataPlaneStub, id string, argv []string) (out []byte, code int32, err error) {
	stream, err := stub.StreamExec(ctx)
	if err != nil {
		return nil, 0, err
	}
	init := &sandboxv1.ExecStreamInit{SandboxId: id, Command: argv}
	err = stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}})
	if err != nil {
		return nil, 0, err
	}
	if err := stream.CloseSend(); err != nil {
		return nil, 0, err
	}
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			return out, code, nil
		}
		if err != nil {
			return nil, 0, err
		}
		switch m := frame.GetMessage().(type) {
		case *sandboxv1.ExecStreamResponse_Output:
			out = append(out, m.Output.GetData()...)
		case *sandboxv1.ExecStreamResponse_Exit:
			code = m.Exit.GetExitCode()
		}
	}
}

func BenchmarkReadFile(b *testing.B) {
	overBoth(b, func(b *testing.B, with bench) {
		writeBenchFile(b, with)
		ctx, req := benchContext(b), &sandboxv1.ReadFileRequest{SandboxId: with.sandbox.ID(), Path: benchFile}
		b.SetBytes(benchSize)
		b.ReportAllocs()
		for b.Loop() {
			reply, err := with.stub.ReadFile(ctx, req)
			if err != nil || len(reply.GetContent()) != benchSize {
				b.Fatalf("%d bytes, error %v", len(reply.GetContent()), err)
			}
		}
	}, func(b *testing.B, with bench) {
		writeBenchFile(b, with)
		b.SetBytes(benchSize)
		b.ReportAllocs()
		for b.Loop() {
			data, err := with.sandbox.ReadFile(b.Context(), benchFile)
			if err != nil || len(data) != benchSize {
				b.Fatalf("%d bytes, error %v", len(data), err)
			}
		}
	})
}

func writeBenchFile(b *testing.B, with bench) {
	b.Helper()
	if err := with.sandbox.WriteFile(b.Context(), benchFile, bytes.Repeat([]byte{'x'}, benchSize)); err != nil {
		b.Fatal(err)
	}
}

func BenchmarkWriteFile(b *testing.B) {
	data := bytes.Repeat([]byte{'x'}, benchSize)
	overBoth(b, func(b *testing.B, with bench) {
		ctx := benchContext(b)
		req := &sandboxv1.WriteFileRequest{SandboxId: with.sandbox.ID(), Path: benchFile, Content: data}
		b.SetBytes(benchSize)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := with.stub.WriteFile(ctx, req); err != nil {
				b.Fatal(err)
			}
		}
	}, func(b *testing.B, with bench) {
		b.SetBytes(benchSize)
		b.ReportAllocs()
		for b.Loop() {
			if err := with.sandbox.WriteFile(b.Context(), benchFile, data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
