package cwsandbox_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// BenchmarkDataPlane does the same by the gateway and directly, each through the stub and through the package. On one
// machine the gateway is no detour, and is spoken to without TLS: what it costs directly is the encryption.
func BenchmarkDataPlane(b *testing.B) {
	server, err := localserver.New(localserver.Options{Runtime: scripted.New()})
	if err != nil {
		b.Fatal(err)
	}
	gateway, plane := loopback(b), loopback(b)
	if err := server.ServeDirect(plane); err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { server.Serve(gateway) })
	b.Cleanup(func() {
		server.Close()
		serving.Wait()
	})
	client, err := cwsandbox.NewClient(cwsandbox.WithBaseURL("http://"+gateway.Addr().String()), cwsandbox.WithAPIKey("key"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	sb, err := client.Run(b.Context(), cwsandbox.WithDataPlane(cwsandbox.DataPlaneDirect))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { sb.Stop().Wait() })
	conn := benchConn(b, gateway.Addr().String(), insecure.NewCredentials())
	stub := sandboxv1.NewSandboxServiceClient(conn)
	direct := sandboxv1.NewSandboxDataPlaneServiceClient(directConn(b, stub, sb.ID()))

	choose := func(b *testing.B, mode cwsandbox.DataPlane) {
		b.Helper()
		if _, err := client.Attach(b.Context(), sb.ID(), cwsandbox.WithDataPlane(mode)); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("exec", func(b *testing.B) {
		argv := []string{"echo", "hello"}
		raw := func(stub dataPlaneStub) func(b *testing.B) {
			return func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					out, _, err := rawExec(benchContext(b), stub, sb.ID(), argv)
					if err != nil || string(out) != "hello\n" {
						b.Fatalf("%q, error %v", out, err)
					}
				}
			}
		}
		api := func(mode cwsandbox.DataPlane) func(b *testing.B) {
			return func(b *testing.B) {
				choose(b, mode)
				b.ReportAllocs()
				for b.Loop() {
					res, err := sb.Exec(b.Context(), argv)
					if err != nil || string(res.Stdout) != "hello\n" || res.Via != mode {
						b.Fatalf("%+v, error %v", res, err)
					}
				}
			}
		}
		b.Run("gateway/raw", raw(stub))
		b.Run("gateway/api", api(cwsandbox.DataPlaneGateway))
		b.Run("direct/raw", raw(direct))
		b.Run("direct/api", api(cwsandbox.DataPlaneDirect))
	})
	b.Run("read", func(b *testing.B) {
		if err := sb.WriteFile(b.Context(), benchFile, []byte(strings.Repeat("x", benchSize))); err != nil {
			b.Fatal(err)
		}
		raw := func(stub dataPlaneStub) func(b *testing.B) {
			return func(b *testing.B) {
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					reply, err := stub.ReadFile(benchContext(b), &sandboxv1.ReadFileRequest{SandboxId: sb.ID(), Path: benchFile})
					if err != nil || len(reply.GetContent()) != benchSize {
						b.Fatalf("%d bytes, error %v", len(reply.GetContent()), err)
					}
				}
			}
		}
		api := func(mode cwsandbox.DataPlane) func(b *testing.B) {
			return func(b *testing.B) {
				choose(b, mode)
				b.SetBytes(benchSize)
				b.ReportAllocs()
				for b.Loop() {
					data, err := sb.ReadFile(b.Context(), benchFile)
					if err != nil || len(data) != benchSize {
						b.Fatalf("%d bytes, error %v", len(data), err)
					}
				}
			}
		}
		b.Run("gateway/raw", raw(stub))
		b.Run("gateway/api", api(cwsandbox.DataPlaneGateway))
		b.Run("direct/raw", raw(direct))
		b.Run("direct/api", api(cwsandbox.DataPlaneDirect))
	})
}

// dataPlaneStub is what the stubs of both services have in common.
type dataPlaneStub = sandboxv1.SandboxDataPlaneServiceClient

func loopback(b *testing.B) net.Listener {
	b.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	return listener
}

func benchConn(b *testing.B, target string, security credentials.TransportCredentials) *grpc.ClientConn {
	b.Helper()
	conn, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(benchMax), grpc.MaxCallSendMsgSize(benchMax)))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	return conn
}

// directConn is the least that connects the stub directly.
func directConn(b *testing.B, stub sandboxv1.SandboxServiceClient, id string) *grpc.ClientConn {
	b.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		b.Fatal(err)
	}
	answer, err := stub.ConnectSandbox(benchContext(b), &sandboxv1.ConnectSandboxRequest{
		SandboxId: id, CsrDer: csr, RequestedPermissions: []sandboxv1.SandboxDataPermission{
			sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC,
			sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_READ_FILE,
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	leaf, _ := pem.Decode(answer.GetClientCertificateChainPem())
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(answer.GetServerCaBundlePem())
	return benchConn(b, strings.TrimPrefix(answer.GetEndpointUri(), "https://"), credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Bytes}, PrivateKey: key}}, RootCAs: roots, ServerName: "localhost",
	}))
}
