//go:build linux || darwin

package cwsandbox_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const streamSize = 64 << 20

// newProcessBench is a bench whose commands are real processes, with the context for its stub.
func newProcessBench(b *testing.B) (bench, context.Context) {
	b.Helper()
	server := cwsandboxtest.NewServer(b, cwsandboxtest.Processes())
	conn, err := grpc.NewClient(server.Address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	sb, err := server.Client().Run(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sb.Stop().Wait() })
	ctx := metadata.AppendToOutgoingContext(b.Context(), "authorization", "Bearer "+server.APIKey())
	return bench{sandbox: sb, stub: sandboxv1.NewSandboxServiceClient(conn)}, ctx
}

func BenchmarkUpload(b *testing.B) {
	with, ctx := newProcessBench(b)
	data := bytes.Repeat([]byte{'x'}, streamSize)
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(streamSize)
		b.ReportAllocs()
		for b.Loop() {
			if err := rawUpload(ctx, with, data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("api", func(b *testing.B) {
		b.SetBytes(streamSize)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := with.sandbox.Upload(b.Context(), benchFile, bytes.NewReader(data)); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// rawUpload is the least that writes a file through the stub: not counted, and in place.
func rawUpload(ctx context.Context, with bench, data []byte) error {
	stream, err := with.stub.StreamExec(ctx)
	if err != nil {
		return err
	}
	init := &sandboxv1.ExecStreamInit{SandboxId: with.sandbox.ID(), Command: []string{"sh", "-c", `cat >"$0"`, benchFile}}
	if err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}); err != nil {
		return err
	}
	if _, err := stream.Recv(); err != nil { // ready
		return err
	}
	for len(data) > 0 {
		frame := data[:min(len(data), 64<<10)]
		data = data[len(frame):]
		if err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Stdin{Stdin: frame}}); err != nil {
			return err
		}
	}
	closing := &sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Close{Close: &sandboxv1.ExecStreamClose{}}}
	if err := stream.Send(closing); err != nil {
		return err
	}
	for {
		if _, err := stream.Recv(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func BenchmarkDownload(b *testing.B) {
	with, ctx := newProcessBench(b)
	if _, err := with.sandbox.Upload(b.Context(), benchFile, bytes.NewReader(make([]byte, streamSize))); err != nil {
		b.Fatal(err)
	}
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(streamSize)
		b.ReportAllocs()
		for b.Loop() {
			if n, err := rawDownload(ctx, with); err != nil || n != streamSize {
				b.Fatalf("%d bytes, error %v", n, err)
			}
		}
	})
	b.Run("api", func(b *testing.B) {
		b.SetBytes(streamSize)
		b.ReportAllocs()
		for b.Loop() {
			if n, err := with.sandbox.Download(b.Context(), benchFile, io.Discard); err != nil || n != streamSize {
				b.Fatalf("%d bytes, error %v", n, err)
			}
		}
	})
}

// rawDownload is the least that reads a file through the stub, and does not look for what may be missing.
func rawDownload(ctx context.Context, with bench) (n int, err error) {
	stream, err := with.stub.StreamExec(ctx)
	if err != nil {
		return 0, err
	}
	init := &sandboxv1.ExecStreamInit{SandboxId: with.sandbox.ID(), Command: []string{"cat", benchFile}}
	if err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}); err != nil {
		return 0, err
	}
	if err := stream.CloseSend(); err != nil {
		return 0, err
	}
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		n += len(frame.GetOutput().GetData())
	}
}
