package localserver

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	mayExec       = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_EXEC
	mayStreamExec = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_EXEC
	mayStreamLogs = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_STREAM_LOGS
	mayWriteFile  = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_WRITE_FILE
	mayReadFile   = sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_READ_FILE
)

var everything = []sandboxv1.SandboxDataPermission{mayExec, mayStreamExec, mayStreamLogs, mayWriteFile, mayReadFile}

// directWorld is a world whose server takes direct connections, in memory.
type directWorld struct {
	*world
	direct *bufconn.Listener
}

func inDirectWorld(t *testing.T, o Options, test func(w *directWorld)) {
	t.Helper()
	inWorld(t, o, func(w *world) {
		d := &directWorld{w, bufconn.Listen(1 << 20)}
		require.NoError(t, w.srv.ServeDirect(d.direct))
		test(d)
	})
}

// request is a request for a certificate of the key.
func (w *directWorld) request(id string, key crypto.Signer, permissions ...sandboxv1.SandboxDataPermission) *sandboxv1.ConnectSandboxRequest {
	w.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(w, err)
	return &sandboxv1.ConnectSandboxRequest{SandboxId: id, CsrDer: csr, RequestedPermissions: permissions}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// issued is an answer of ConnectSandbox with the key that it is for.
type issued struct {
	*sandboxv1.SandboxConnection
	key *ecdsa.PrivateKey
}

func (w *directWorld) issue(id string, permissions ...sandboxv1.SandboxDataPermission) issued {
	w.Helper()
	key := newKey(w.T)
	answer, err := w.api.ConnectSandbox(w.ctx, w.request(id, key, permissions...))
	require.NoError(w, err)
	return issued{answer, key}
}

func (i issued) certificate(t *testing.T) tls.Certificate {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(i.GetClientCertificateChainPem(), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	require.NoError(t, err)
	return cert
}

// connect dials the data plane with a certificate, or without one. The connection ends with the bubble.
func (w *directWorld) connect(i issued, certs ...tls.Certificate) *grpc.ClientConn {
	w.Helper()
	roots := x509.NewCertPool()
	require.True(w, roots.AppendCertsFromPEM(i.GetServerCaBundlePem()))
	cc, err := grpc.NewClient("passthrough:///localhost",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return w.direct.DialContext(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{Certificates: certs, RootCAs: roots, ServerName: "localhost"})))
	require.NoError(w, err)
	return cc
}

// data calls the data plane with what was issued, and closes the connection after fn.
func (w *directWorld) data(i issued, fn func(api sandboxv1.SandboxDataPlaneServiceClient)) {
	w.Helper()
	cc := w.connect(i, i.certificate(w.T))
	defer func() { require.NoError(w, cc.Close()) }()
	fn(sandboxv1.NewSandboxDataPlaneServiceClient(cc))
}

// each makes one call of each method, about a sandbox, and returns the errors.
func each(t *testing.T, api sandboxv1.SandboxDataPlaneServiceClient, id string) map[sandboxv1.SandboxDataPermission]error {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	errs := make(map[sandboxv1.SandboxDataPermission]error)
	_, errs[mayExec] = api.Exec(ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"echo", "hello"}})
	_, errs[mayWriteFile] = api.WriteFile(ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/f", Content: []byte("x")})
	_, errs[mayReadFile] = api.ReadFile(ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/f"})
	logs, err := api.StreamLogs(ctx, &sandboxv1.StreamLogsRequest{SandboxId: id})
	require.NoError(t, err)
	errs[mayStreamLogs] = lastError(func() error { _, err := logs.Recv(); return err })
	exec, err := api.StreamExec(ctx)
	require.NoError(t, err)
	init := &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"echo", "hello"}}
	_ = exec.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}) // refused already, perhaps
	_ = exec.CloseSend()
	errs[mayStreamExec] = lastError(func() error { _, err := exec.Recv(); return err })
	return errs
}

func TestConnectSandbox(t *testing.T) {
	t.Run("C-181", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id, begin := w.run(func(s *sandboxv1.SandboxSpec) { s.MaxLifetimeSeconds = 3600 }), time.Now()
			i := w.issue(id, mayExec, mayReadFile, mayExec)
			assert.Less(t, time.Since(begin), 200*time.Millisecond)
			u, err := url.Parse(i.GetEndpointUri())
			require.NoError(t, err)
			assert.Equal(t, []string{"https", "localhost", ""}, []string{u.Scheme, u.Hostname(), u.Path})
			assert.NotEmpty(t, i.GetEndpointId())
			assert.Equal(t, sandboxv1.SandboxDataTransport_SANDBOX_DATA_TRANSPORT_DIRECT_MTLS, i.GetTransport())
			assert.Equal(t, sandboxv1.SandboxDataProtocol_SANDBOX_DATA_PROTOCOL_CONNECT_H2_V1, i.GetProtocol())
			assert.Equal(t, []sandboxv1.SandboxDataPermission{mayExec, mayReadFile}, i.GetGrantedPermissions())
			leaf := i.certificate(t).Leaf
			assert.Equal(t, leaf.NotAfter, i.GetExpiresAt().AsTime())
			assert.Equal(t, defaultCertLifetime, leaf.NotAfter.Sub(begin))
			assert.Equal(t, begin.Add(-time.Minute), leaf.NotBefore.Local())
			assert.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, leaf.ExtKeyUsage)
			assert.Empty(t, leaf.Subject.String())
		})
	})
	t.Run("C-182", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id, key := w.run(), newKey(t)
			short, err := rsa.GenerateKey(rand.Reader, 1024)
			require.NoError(t, err)
			good := w.request(id, key, mayExec)
			forged := append([]byte(nil), good.GetCsrDer()...)
			forged[len(forged)-1] ^= 1
			for name, row := range map[string]struct {
				change func(*sandboxv1.ConnectSandboxRequest)
				want   refused
			}{
				"no sandbox":    {func(r *sandboxv1.ConnectSandboxRequest) { r.SandboxId = "" }, badField("sandbox_id")},
				"no request":    {func(r *sandboxv1.ConnectSandboxRequest) { r.CsrDer = nil }, badField("csr_der")},
				"broken":        {func(r *sandboxv1.ConnectSandboxRequest) { r.CsrDer = []byte("x") }, badField("csr_der")},
				"trailing data": {func(r *sandboxv1.ConnectSandboxRequest) { r.CsrDer = append(good.GetCsrDer(), 0) }, badField("csr_der")},
				"forged":        {func(r *sandboxv1.ConnectSandboxRequest) { r.CsrDer = forged }, badField("csr_der")},
				"large":         {func(r *sandboxv1.ConnectSandboxRequest) { r.CsrDer = make([]byte, maxRequestDER+1) }, badField("csr_der")},
				"short key": {func(r *sandboxv1.ConnectSandboxRequest) {
					r.CsrDer = w.request(id, short, mayExec).GetCsrDer()
				}, badField("csr_der")},
				"no permission":      {func(r *sandboxv1.ConnectSandboxRequest) { r.RequestedPermissions = nil }, badField("requested_permissions")},
				"unset permission":   {func(r *sandboxv1.ConnectSandboxRequest) { r.RequestedPermissions[0] = 0 }, badField("requested_permissions")},
				"unknown permission": {func(r *sandboxv1.ConnectSandboxRequest) { r.RequestedPermissions[0] = 99 }, badField("requested_permissions")},
				"unknown sandbox":    {func(r *sandboxv1.ConnectSandboxRequest) { r.SandboxId = "none" }, isGone},
			} {
				t.Run(name, func(t *testing.T) {
					req := w.request(id, key, mayExec)
					row.change(req)
					_, err := w.api.ConnectSandbox(w.ctx, req)
					w.requireRefused(row.want, err)
				})
			}
			w.delete(id, 0)
			synctest.Wait()
			_, err = w.api.ConnectSandbox(w.ctx, good)
			w.requireRefused(isNotRunning, err)
		})
		inWorld(t, Options{}, func(w *world) {
			_, err := w.api.ConnectSandbox(w.ctx, &sandboxv1.ConnectSandboxRequest{})
			w.requireRefused(refused{code: codes.Unimplemented, reason: "CWSANDBOX_NOT_IMPLEMENTED"}, err)
		})
	})
	t.Run("C-188", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id := w.run()
			short := w.run(func(s *sandboxv1.SandboxSpec) { s.MaxLifetimeSeconds = 300 })
			one, two := w.issue(id, mayExec), w.issue(short, mayReadFile)
			assert.Equal(t, one.GetEndpointId(), two.GetEndpointId())
			assert.Equal(t, one.GetEndpointUri(), two.GetEndpointUri())
			end := w.get(short).GetStatus().GetCreateTime().AsTime().Add(300 * time.Second)
			assert.False(t, two.GetExpiresAt().AsTime().After(end))
			w.delete(short, 0)
		})
	})
}

func TestDirectConnections(t *testing.T) {
	t.Run("C-183", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id := w.run()
			w.data(w.issue(id, everything...), func(api sandboxv1.SandboxDataPlaneServiceClient) {
				for permission, err := range each(t, api, id) {
					assert.NoError(t, err, permission)
				}
				reply, err := api.Exec(context.Background(), &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"echo", "hello"}, MaxOutputBytes: 2})
				require.NoError(t, err)
				assert.Equal(t, "he", string(reply.GetStdout()))
				assert.True(t, reply.GetStdoutTruncated())
				assert.EqualValues(t, 6, reply.GetStdoutBytesProduced())
			})
		})
	})
	t.Run("C-184", func(t *testing.T) {
		inDirectWorld(t, Options{CertLifetime: time.Minute}, func(w *directWorld) {
			id := w.run()
			i := w.issue(id, everything...)
			other, err := newAuthority("foreign")
			require.NoError(t, err)
			leaf := certificateTemplate(time.Now().Add(time.Hour))
			leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
			leaf.URIs = []*url.URL{grant{sandbox: id, permissions: everything}.uri()}
			der, err := other.sign(leaf, i.key.Public())
			require.NoError(t, err)
			fails := func(name string, certs ...tls.Certificate) {
				cc := w.connect(i, certs...)
				defer cc.Close()
				_, err := sandboxv1.NewSandboxDataPlaneServiceClient(cc).Exec(context.Background(), &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}})
				assert.Equal(t, codes.Unavailable, status.Code(err), name)
			}
			fails("none")
			fails("foreign", tls.Certificate{Certificate: [][]byte{der}, PrivateKey: i.key})
			time.Sleep(time.Minute + time.Second)
			fails("expired", i.certificate(t))
		})
	})
	t.Run("C-185", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			a, b := w.run(), w.run()
			w.data(w.issue(a, everything...), func(api sandboxv1.SandboxDataPlaneServiceClient) {
				for _, err := range each(t, api, b) {
					w.requireRefused(refused{code: codes.PermissionDenied}, err)
				}
			})
			for _, permission := range everything {
				w.data(w.issue(a, permission), func(api sandboxv1.SandboxDataPlaneServiceClient) {
					for tried, err := range each(t, api, a) {
						if tried != permission {
							w.requireRefused(refused{code: codes.PermissionDenied}, err)
						} else {
							assert.NotEqual(t, codes.PermissionDenied, status.Code(err), permission)
						}
					}
				})
			}
		})
	})
	t.Run("C-186", func(t *testing.T) {
		denied := []sandboxv1.SandboxDataPermission{mayReadFile, mayStreamLogs}
		inDirectWorld(t, Options{DeniedDataPermissions: denied}, func(w *directWorld) {
			id := w.run()
			i := w.issue(id, everything...)
			assert.Equal(t, []sandboxv1.SandboxDataPermission{mayExec, mayStreamExec, mayWriteFile}, i.GetGrantedPermissions())
			assert.Empty(t, w.issue(id, denied...).GetGrantedPermissions())
			cc := w.connect(i, i.certificate(t))
			defer cc.Close()
			_, err := sandboxv1.NewSandboxServiceClient(cc).GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			assert.Equal(t, codes.Unimplemented, status.Code(err))
		})
	})
}

func TestDirectConnectionsOfWandB(t *testing.T) {
	inDirectWorld(t, Options{Runtime: withCommand("greet", scripted.Command{CatchSignals: true, Run: func(ctx context.Context, p *scripted.Proc) int {
		fmt.Fprintln(p.Stdout, "hello")
		<-ctx.Done()
		return 0
	}})}, func(w *directWorld) {
		w.ctx = metadata.AppendToOutgoingContext(context.Background(), "x-wandb-api-key", "k", "x-entity-id", "e")
		id := w.run(command("greet"))
		seen := w.logs(&logRequest{SandboxId: id})
		require.Equal(t, "hello\n", seen.text)
		w.data(w.issue(id, mayStreamLogs), func(api sandboxv1.SandboxDataPlaneServiceClient) {
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			stream, err := api.StreamLogs(ctx, &logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: seen.session})
			require.NoError(t, err)
			entry, err := stream.Recv()
			require.NoError(t, err)
			assert.Nil(t, entry.GetError(), "it is the same caller")
			assert.Equal(t, "hello\n", string(entry.GetData()))
		})
	})
}

func TestDirectExecStaysInItsSandbox(t *testing.T) {
	inDirectWorld(t, Options{}, func(w *directWorld) {
		a, b := w.run(), w.run()
		w.data(w.issue(a, everything...), func(api sandboxv1.SandboxDataPlaneServiceClient) {
			stream, err := api.StreamExec(context.Background())
			require.NoError(t, err)
			w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: a, Command: []string{"cat"}})
			w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: b, Command: []string{"cat"}})
			w.requireRefused(refused{code: codes.PermissionDenied}, lastError(func() error { _, err := stream.Recv(); return err }))
		})
	})
}

func TestCloseAwaitsNoSilentDirectConnection(t *testing.T) {
	for name, speak := range map[string]func(w *directWorld, conn net.Conn){
		"nothing was said": func(*directWorld, net.Conn) {},
		"only TLS": func(w *directWorld, conn net.Conn) {
			i := w.issue(w.run(), everything...)
			roots := x509.NewCertPool()
			require.True(w, roots.AppendCertsFromPEM(i.GetServerCaBundlePem()))
			secure := tls.Client(conn, &tls.Config{
				Certificates: []tls.Certificate{i.certificate(w.T)}, RootCAs: roots, ServerName: "localhost", NextProtos: []string{"h2"},
			})
			require.NoError(w, secure.Handshake())
		},
	} {
		t.Run(name, func(t *testing.T) {
			inDirectWorld(t, Options{}, func(w *directWorld) {
				conn, err := w.direct.Dial()
				require.NoError(t, err)
				defer conn.Close()
				speak(w, conn)
				synctest.Wait()
				began := time.Now()
				require.NoError(t, w.srv.Close())
				assert.LessOrEqual(t, time.Since(began), closeGrace)
			})
		})
	}
}

func TestDirectConnectionsEnd(t *testing.T) {
	// open begins a command that would go on for ever, and returns the rest of it.
	open := func(w *directWorld, cc *grpc.ClientConn, id string) func() error {
		stream, err := sandboxv1.NewSandboxDataPlaneServiceClient(cc).StreamExec(context.Background())
		require.NoError(w, err)
		w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"ignore-term"}})
		frame, err := stream.Recv()
		require.NoError(w, err)
		require.NotNil(w, frame.GetReady())
		return func() error { _, err := stream.Recv(); return err }
	}
	t.Run("C-187", func(t *testing.T) {
		inDirectWorld(t, Options{CertLifetime: time.Minute}, func(w *directWorld) {
			id := w.run()
			i := w.issue(id, everything...)
			cc := w.connect(i, i.certificate(t))
			defer cc.Close()
			next := open(w, cc, id)
			time.Sleep(time.Minute - 2*time.Second)
			synctest.Wait()
			assert.Equal(t, connectivity.Ready, cc.GetState())
			assert.Equal(t, codes.Unavailable, status.Code(next()))
			assert.WithinDuration(t, i.GetExpiresAt().AsTime(), time.Now(), 100*time.Millisecond)
			synctest.Wait()
			assert.NotEqual(t, connectivity.Ready, cc.GetState())
			w.data(w.issue(id, everything...), func(api sandboxv1.SandboxDataPlaneServiceClient) {
				_, err := api.Exec(context.Background(), &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}})
				assert.NoError(t, err)
			})
		})
	})
	t.Run("with the sandbox", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id := w.run()
			i := w.issue(id, everything...)
			cc := w.connect(i, i.certificate(t))
			defer cc.Close()
			stream, err := sandboxv1.NewSandboxDataPlaneServiceClient(cc).StreamExec(context.Background())
			require.NoError(t, err)
			w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"ignore-term"}})
			_, err = stream.Recv()
			require.NoError(t, err)
			w.delete(id, 0)
			frame, err := stream.Recv()
			require.NoError(t, err, "the last words are said")
			assert.EqualValues(t, 137, frame.GetExit().GetExitCode())
			time.Sleep(2 * closeGrace)
			synctest.Wait()
			assert.NotEqual(t, connectivity.Ready, cc.GetState())
			assert.Empty(t, w.srv.plane().conns)
		})
	})
	t.Run("with the server", func(t *testing.T) {
		inDirectWorld(t, Options{}, func(w *directWorld) {
			id := w.run()
			i := w.issue(id, everything...)
			cc := w.connect(i, i.certificate(t))
			defer cc.Close()
			next := open(w, cc, id)
			require.NoError(t, w.srv.Close())
			assert.Equal(t, codes.Unavailable, status.Code(lastError(next)))
		})
	})
}

func TestDirectListeners(t *testing.T) {
	inWorld(t, Options{}, func(w *world) {
		assert.Error(t, w.srv.ServeDirect())
		everywhere := &fixedAddress{bufconn.Listen(1), &net.TCPAddr{IP: net.IPv4zero, Port: 1}}
		assert.ErrorContains(t, w.srv.ServeDirect(everywhere), "this machine only")
		one := &fixedAddress{bufconn.Listen(1), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}}
		two := &fixedAddress{bufconn.Listen(1), &net.TCPAddr{IP: net.IPv6loopback, Port: 2}}
		assert.ErrorContains(t, w.srv.ServeDirect(one, two), "one port")
		require.NoError(t, w.srv.ServeDirect(one))
		assert.Equal(t, "https://localhost:1", w.srv.plane().uri)
		assert.Error(t, w.srv.ServeDirect(bufconn.Listen(1)), "twice")
	})
}

// fixedAddress is a listener that says where it listens.
type fixedAddress struct {
	*bufconn.Listener
	addr net.Addr
}

func (f *fixedAddress) Addr() net.Addr { return f.addr }
