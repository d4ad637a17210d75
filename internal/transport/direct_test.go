package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	mayStreamExec = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC
	mayWriteFile  = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_WRITE_FILE
	mayReadFile   = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_READ_FILE
)

// direct is a client of a local server with direct connections, in a bubble of its own.
type direct struct {
	*testing.T
	*faults.Layer
	server    *localserver.Server
	transport *Transport
	path      *Path
	data      sandboxv1.SandboxDataPlaneServiceClient
	sandbox   string
	via       bool // of the last call
}

func directly(t *testing.T, name string, mode Mode, test func(d *direct)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := &direct{T: t, Layer: faults.NewLayer()}
			var err error
			d.server, err = localserver.New(localserver.Options{
				Runtime:            scripted.New(),
				UnaryInterceptors:  []grpc.UnaryServerInterceptor{d.Unary},
				StreamInterceptors: []grpc.StreamServerInterceptor{d.Stream},
			})
			require.NoError(t, err)
			gateway, plane := bufconn.Listen(1<<20), bufconn.Listen(1<<20)
			require.NoError(t, d.server.ServeDirect(faults.Listen(plane)))
			go d.server.Serve(faults.Listen(gateway))
			defer func() {
				d.Release()
				require.NoError(t, d.transport.Close())
				require.NoError(t, d.server.Close())
			}()
			d.transport, err = New(Config{
				Base:        Endpoint{Target: target, Plaintext: true},
				Credentials: bearer("secret"),
				DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
					return gateway.DialContext(ctx)
				})},
				DirectDial:     func(ctx context.Context, _ string) (net.Conn, error) { return plane.DialContext(ctx) },
				RequestTimeout: 300 * time.Second,
				RetryBudget:    30 * time.Second,
				Logger:         slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			d.sandbox = d.create()
			d.open(mode)
			test(d)
		})
	})
}

func (d *direct) open(mode Mode) {
	d.path = d.transport.Path(d.sandbox, mode)
	d.data = sandboxv1.NewSandboxDataPlaneServiceClient(d.path)
}

func (d *direct) create() string {
	d.Helper()
	spec := &sandboxv1.SandboxSpec{
		Containers:         []*sandboxv1.Container{{Name: "main", Image: "any", Command: "sleep", Args: []string{"1000000"}}},
		MaxLifetimeSeconds: 7200,
	}
	sb, err := sandboxv1.NewSandboxServiceClient(d.transport).CreateSandbox(d.Context(),
		&sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: spec}})
	require.NoError(d, err)
	synctest.Wait()
	return sb.GetSandboxId()
}

// write makes a unary call that must not happen twice.
func (d *direct) write() error {
	_, err := d.data.WriteFile(d.Context(), &sandboxv1.WriteFileRequest{SandboxId: d.sandbox, Path: "/f", Content: []byte("x")}, Via(&d.via))
	return err
}

func (d *direct) read() error {
	_, err := d.data.ReadFile(d.Context(), &sandboxv1.ReadFileRequest{SandboxId: d.sandbox, Path: "/f"}, Via(&d.via))
	return err
}

// exec runs a command to its end and returns its output.
func (d *direct) exec(argv ...string) (string, error) {
	stream, err := d.begin(argv...)
	if err != nil {
		return "", err
	}
	return output(stream)
}

type execClient = grpc.BidiStreamingClient[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse]

func (d *direct) begin(argv ...string) (execClient, error) {
	stream, err := d.data.StreamExec(d.Context(), Via(&d.via))
	if err != nil {
		return nil, err
	}
	init := &sandboxv1.ExecStreamInit{SandboxId: d.sandbox, Command: argv}
	if err := stream.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}); err != nil && err != io.EOF {
		return nil, err
	}
	return stream, stream.CloseSend()
}

func output(stream execClient) (out string, err error) {
	for {
		frame, err := stream.Recv()
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
		out += string(frame.GetOutput().GetData())
	}
}

// links counts the direct connections that there are.
func (d *direct) links() int {
	synctest.Wait()
	d.transport.direct.mu.Lock()
	defer d.transport.direct.mu.Unlock()
	return len(d.transport.direct.links)
}

func (d *direct) expectVia(direct bool) {
	d.Helper()
	require.NoError(d, d.write())
	require.Equal(d, direct, d.via)
}

func TestDirect(t *testing.T) {
	directly(t, "one credential for each permission", Auto, func(d *direct) {
		for range 2 {
			out, err := d.exec("echo", "hello")
			require.NoError(d, err)
			assert.Equal(d, "hello\n", out)
			assert.True(d, d.via)
			require.NoError(d, d.write())
			assert.True(d, d.via)
			require.NoError(d, d.read())
			assert.True(d, d.via)
		}
		calls := d.Calls("ConnectSandbox")
		require.Len(d, calls, 3)
		keys := make(map[string]bool)
		for i, want := range []sandboxv1.SandboxDataPermission{mayStreamExec, mayWriteFile, mayReadFile} {
			req := calls[i].Request.(*sandboxv1.ConnectSandboxRequest)
			assert.Equal(d, []sandboxv1.SandboxDataPermission{want}, req.GetRequestedPermissions())
			assert.Equal(d, d.sandbox, req.GetSandboxId())
			csr, err := x509.ParseCertificateRequest(req.GetCsrDer())
			require.NoError(d, err)
			assert.Empty(d, csr.Subject.Names)
			assert.Empty(d, csr.Extensions)
			assert.Equal(d, x509.ECDSAWithSHA256, csr.SignatureAlgorithm)
			assert.Equal(d, elliptic.P256(), csr.PublicKey.(*ecdsa.PublicKey).Curve)
			keys[string(csr.RawSubjectPublicKeyInfo)] = true
			assert.Equal(d, []string{"Bearer secret"}, calls[i].Metadata.Get("authorization"))
		}
		assert.Len(d, keys, 3, "a key for each")
		assert.Equal(d, 3, d.links())
	})
	directly(t, "nothing but the certificate is sent", Auto, func(d *direct) {
		ctx := metadata.AppendToOutgoingContext(d.Context(), "authorization", "Bearer other", "x-mine", "1")
		_, err := d.data.WriteFile(ctx, &sandboxv1.WriteFileRequest{SandboxId: d.sandbox, Path: "/f"}, Via(&d.via))
		require.NoError(d, err)
		stream, err := d.data.StreamLogs(ctx, &sandboxv1.StreamLogsRequest{SandboxId: d.sandbox}, Via(&d.via))
		require.NoError(d, err)
		_, err = stream.Recv()
		require.ErrorIs(d, err, io.EOF)
		assert.True(d, d.via)
		for _, call := range slices.Concat(d.Calls("WriteFile"), d.Calls("StreamLogs")) {
			for key := range call.Metadata {
				assert.Contains(d, []string{":authority", "content-type", "user-agent", "grpc-accept-encoding"}, key)
			}
			assert.Equal(d, []string{"localhost"}, call.Metadata.Get(":authority"))
			assert.NotContains(d, call.Metadata.Get("user-agent")[0], "cwsandbox")
		}
	})
	directly(t, "many at once share one credential", Auto, func(d *direct) {
		results := make(chan error, 50)
		for range cap(results) {
			go func() {
				var direct bool
				_, err := d.data.WriteFile(d.Context(), &sandboxv1.WriteFileRequest{SandboxId: d.sandbox, Path: "/f"}, Via(&direct))
				if err == nil && !direct {
					err = errors.New("by the gateway")
				}
				results <- err
			}()
		}
		for range cap(results) {
			require.NoError(d, <-results)
		}
		assert.Equal(d, 1, d.Received("ConnectSandbox"))
		assert.Equal(d, 1, d.links())
	})
	directly(t, "the gateway when asked", Gateway, func(d *direct) {
		d.expectVia(false)
		assert.Zero(d, d.Received("ConnectSandbox"))
		d.path.SetMode(Direct)
		d.expectVia(true)
	})
	directly(t, "a deadline of the client's", Auto, func(d *direct) {
		d.Add(faults.Rule{Method: "WriteFile", Action: faults.Hang()})
		begin := time.Now()
		assert.Equal(d, codes.DeadlineExceeded, status.Code(d.write()))
		assert.Equal(d, 300*time.Second, time.Since(begin))
		assert.True(d, d.via)
	})
}
