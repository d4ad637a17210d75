package cwsandboxtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
)

const (
	scheme = "http://"
	// memoryAddress stands for a server in memory. Nothing listens there, so that a client which dials it fails.
	memoryAddress = "127.0.0.1:1"
	memoryBuffer  = 1 << 20
)

// A Server serves the sandbox API until it is closed. Servers share nothing, so that tests with one each may run in
// parallel. The methods are safe for concurrent use.
type Server struct {
	core    *localserver.Server
	runtime container.Runtime
	layer   *faults.Layer
	memory  *bufconn.Listener // nil on the network
	address string
	key     string

	// dialDirect reaches the endpoint of direct connections; nil: there is none.
	dialDirect func(ctx context.Context, address string) (net.Conn, error)

	ports     *localserver.MemoryPorts // of services; nil on the network
	authority []byte                   // of HTTPS endpoints, in PEM

	tb             testing.TB // nil without a test
	allowLeftovers bool

	served  chan struct{} // closed when serving has ended
	serving error         // why, valid after served

	mu      sync.Mutex
	clients []*cwsandbox.Client

	closing  sync.Once
	closeErr error
}

// NewServer starts a server on a free port of the loopback interface and closes it when the test ends. A server that
// cannot start ends the test.
func NewServer(tb testing.TB, opts ...Option) *Server {
	tb.Helper()
	s, err := start(tb.Context(), tb, opts)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s
}

// Start starts a server for a program that is not a test, which must close it. The context bounds the start only.
func Start(ctx context.Context, opts ...Option) (*Server, error) {
	return start(ctx, nil, opts)
}

func start(ctx context.Context, tb testing.TB, opts []Option) (*Server, error) {
	cfg, err := newConfig(opts)
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("cwsandboxtest: %w", err)
	}
	s := &Server{
		layer: faults.NewLayer(), key: "local-" + rand.Text(),
		tb: tb, allowLeftovers: cfg.allowLeftovers, served: make(chan struct{}),
	}
	lis, err := s.listen(ctx, cfg.inMemory)
	if err != nil {
		return nil, fmt.Errorf("cwsandboxtest: %w", err)
	}
	if err := s.build(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("cwsandboxtest: %w", err), lis.Close())
	}
	if cfg.direct {
		if err := s.serveDirect(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("cwsandboxtest: %w", err), s.core.Close(), lis.Close())
		}
	}
	go func() {
		defer close(s.served)
		s.serving = s.core.Serve(faults.Listen(lis))
	}()
	return s, nil
}

func (s *Server) listen(ctx context.Context, inMemory bool) (net.Listener, error) {
	if inMemory {
		s.memory, s.address = bufconn.Listen(memoryBuffer), memoryAddress
		return s.memory, nil
	}
	lis, err := listenLoopback(ctx)
	if err != nil {
		return nil, err
	}
	s.address = lis.Addr().String()
	return lis, nil
}

func listenLoopback(ctx context.Context) (net.Listener, error) {
	return new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
}

// serveDirect serves direct connections where the server is served, on a listener of their own.
func (s *Server) serveDirect(ctx context.Context) error {
	if s.memory != nil {
		memory := bufconn.Listen(memoryBuffer)
		s.dialDirect = func(ctx context.Context, _ string) (net.Conn, error) { return memory.DialContext(ctx) }
		return s.core.ServeDirect(faults.Listen(memory))
	}
	lis, err := listenLoopback(ctx)
	if err != nil {
		return err
	}
	s.dialDirect = func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}
	if err := s.core.ServeDirect(faults.Listen(lis)); err != nil {
		return errors.Join(err, lis.Close())
	}
	return nil
}

func (s *Server) build(cfg *config) error {
	rt, err := cfg.runtime()
	if err != nil {
		return err
	}
	s.runtime = rt
	options := localserver.Options{
		Runtime:              rt,
		Logger:               cfg.logger,
		Claims:               cfg.claims,
		Keys:                 []localserver.Key{{Token: s.key, Admin: true}},
		UnenforcedEgress:     cfg.unenforced,
		NoServerless:         cfg.noServerless,
		NoShareTokens:        cfg.noShareTokens,
		PrepareDelay:         cfg.prepareDelay,
		MaxSnapshotBytes:     cfg.snapshots.Bytes,
		MaxSnapshots:         cfg.snapshots.Count,
		MaxSnapshotsInFlight: cfg.snapshots.InFlight,
		Secrets:              cfg.secrets,
		ObjectStorageEnv:     cfg.objectStorageEnv,
		RuntimeClasses:       cfg.runtimeClasses,
		InstanceTypes:        cfg.instanceTypes,
		UnaryInterceptors:    []grpc.UnaryServerInterceptor{s.layer.Unary},
		StreamInterceptors:   []grpc.StreamServerInterceptor{s.layer.Stream},
	}
	if s.memory != nil {
		s.ports = new(localserver.MemoryPorts)
		options.PublishOn = s.ports.Publish
	}
	if s.core, err = localserver.New(options); err != nil {
		return errors.Join(err, rt.Close())
	}
	if s.authority, err = s.core.EdgeCA(); err != nil {
		return errors.Join(err, s.core.Close())
	}
	return nil
}

// URL is the base URL for clients, see [cwsandbox.WithBaseURL]. With [InMemory] clients need [Server.DialOptions] too.
func (s *Server) URL() string { return scheme + s.address }

// Address is the host and port of the server, for gRPC clients that know no URL.
func (s *Server) Address() string { return s.address }

// APIKey is the only API key that the server accepts. It is an administrator's. As a key of W&B's it accepts any, see
// [cwsandbox.WithWandB].
func (s *Server) APIKey() string { return s.key }

// DialOptions are what a gRPC client needs to reach [Server.Address], and a [cwsandbox.Client] to reach [Server.URL]: it
// passes them to [cwsandbox.WithDialOptions].
func (s *Server) DialOptions() []grpc.DialOption {
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if s.memory != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return s.memory.DialContext(ctx)
		}))
	}
	return opts
}

// CertificatePEM is the certificate of the authority that HTTPS endpoints of sandboxes have theirs from, in PEM. A program
// that shall reach them without [Server.Client] finds it through a file, for example of SSL_CERT_FILE.
func (s *Server) CertificatePEM() []byte { return bytes.Clone(s.authority) }

// RootCAs trusts the HTTPS endpoints of sandboxes, see [cwsandbox.WithRootCAs]. Clients made by [Server.Client] do so
// already.
func (s *Server) RootCAs() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.authority)
	return pool
}

// Env is the environment, as in [os.Environ], that leads the default client of a program to the server. A server in
// memory cannot be reached that way.
func (s *Server) Env() []string {
	return []string{"CWSANDBOX_BASE_URL=" + s.URL(), "CWSANDBOX_API_KEY=" + s.key}
}

// Setenv sets the variables of [Server.Env] until the test ends.
func (s *Server) Setenv(tb testing.TB) {
	tb.Helper()
	for _, pair := range s.Env() {
		name, value, _ := strings.Cut(pair, "=")
		tb.Setenv(name, value)
	}
}

// Isolation names what separates the sandboxes from this machine and from each other: "isolated", "rootless", "plain"
// (nothing does), or "scripted" without [Processes].
func (s *Server) Isolation() string { return s.runtime.Isolation() }

// Warnings are sentences about what this machine does not allow. They matter to who starts a server with [Processes].
func (s *Server) Warnings() []string { return s.runtime.Warnings() }
