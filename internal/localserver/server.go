// Package localserver serves coreweave.sandbox.v1 on the developer's own machine. It knows the API and the state
// machine of sandboxes; a [container.Runtime] runs what is in them.
package localserver

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // clients may compress
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The one runner that this server claims to have.
const (
	runnerID      = "local-runner"
	runnerGroupID = "local"
)

// minPing is how often a client may ping: every 5 s, and pings that the network has pushed together.
const minPing = 4 * time.Second

var errShuttingDown = status.Error(codes.Unavailable, "the server is shutting down")

// A Server serves the API for any number of listeners. Its methods are safe for concurrent use.
type Server struct {
	opt     *settings
	started time.Time
	store   *store
	grpc    *grpcServer
	health  *health.Server
	tokens  pageTokens
	drivers sync.WaitGroup
	edge    edge

	// stopping ends, with errShuttingDown as its cause, when Close begins.
	stopping context.Context
	stop     context.CancelCauseFunc
	closing  sync.Once
	closeErr error

	// Guarded by the store's mutex.
	hooks   hooks
	resumed chan struct{} // PauseServer; nil: not paused
	direct  *dataPlane    // nil: no direct connections
	// What organizations administrate; guarded by the store's mutex, too.
	templates     catalog[*sandboxv1.SandboxTemplate]
	secretStores  catalog[*sandboxv1.SecretStore]
	volumes       catalog[*sandboxv1.Volume]
	organizations map[string]*organizationSettings // by name
}

// New returns a server that listens nowhere yet.
func New(o Options) (*Server, error) {
	opt, err := o.settle()
	if err != nil {
		return nil, err
	}
	s := &Server{
		opt:     opt,
		started: opt.Clock.Now(),
		store:   newStore(opt.Clock, opt.Retention),
		health:  health.NewServer(),
		tokens:  newPageTokens(),
		hooks:   hooks{changed: make(chan struct{})},
	}
	s.stopping, s.stop = context.WithCancelCause(context.Background())
	s.grpc = newGRPCServer(s.serverOptions(s.unaryEntry, s.streamEntry))
	s.register()
	if err := s.checkDisabled(); err != nil {
		return nil, err
	}
	return s, nil
}

// checkDisabled finds out whether every disabled method exists.
func (s *Server) checkDisabled() error {
	known := make(map[string]bool)
	for name, service := range s.grpc.GetServiceInfo() {
		if open("/" + name) {
			continue
		}
		for _, m := range service.Methods {
			known[m.Name] = true
		}
	}
	for m := range s.opt.disabled {
		if !known[m] {
			return fmt.Errorf("local server: no method %q to disable", m)
		}
	}
	return nil
}

func (s *Server) serverOptions(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor) []grpc.ServerOption {
	options := []grpc.ServerOption{
		grpc.MaxRecvMsgSize(maxMessageBytes),
		grpc.MaxSendMsgSize(maxMessageBytes),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minPing, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.ChainUnaryInterceptor(append(slices.Clone(s.opt.UnaryInterceptors), unary)...),
		grpc.ChainStreamInterceptor(append(slices.Clone(s.opt.StreamInterceptors), stream)...),
	}
	if s.opt.MaxConcurrentStreams > 0 {
		options = append(options, grpc.MaxConcurrentStreams(s.opt.MaxConcurrentStreams))
	}
	return append(options, s.opt.ServerOptions...)
}

func (s *Server) register() {
	sandboxv1.RegisterSandboxServiceServer(s.grpc, &sandboxService{Server: s})
	sandboxv1.RegisterSandboxTemplateServiceServer(s.grpc, &templateService{Server: s})
	sandboxv1.RegisterVolumeServiceServer(s.grpc, &volumeService{Server: s})
	sandboxv1.RegisterDiscoveryServiceServer(s.grpc, &discoveryService{Server: s})
	sandboxv1.RegisterSettingsServiceServer(s.grpc, &settingsService{Server: s})
	for name := range s.grpc.GetServiceInfo() {
		s.health.SetServingStatus(name, healthv1.HealthCheckResponse_SERVING)
	}
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
}

// Serve answers calls from the listener until Close, which closes the listener too.
func (s *Server) Serve(l net.Listener) error { return s.grpc.Serve(l) }

// Close ends the server: new calls are refused, open ones end, every sandbox gets SIGTERM and, after the shutdown
// grace, SIGKILL. When it returns nothing of the server is left, the runtime included.
func (s *Server) Close() error {
	s.closing.Do(func() { s.closeErr = s.shutDown() })
	return s.closeErr
}

func (s *Server) shutDown() error {
	s.health.Shutdown()
	s.store.Lock()
	s.stop(errShuttingDown) // under the mutex: a create is either refused or found by the deletes below
	s.hooks.holds = nil
	s.hooks.notify()
	s.store.Unlock()
	s.deleteAll(maxGrace)
	// The grace is real time even where the server's clock is not: nobody moves a manual clock during Close.
	hurry := time.AfterFunc(s.opt.ShutdownGrace, func() { s.deleteAll(0) })
	s.drivers.Wait()
	hurry.Stop()
	err := s.opt.Runtime.Close()
	if p := s.plane(); p != nil {
		p.grpc.end()
		p.serving.Wait()
	}
	s.grpc.end()
	return err
}

func (s *Server) deleteAll(grace time.Duration) {
	s.all(func(r *record) { r.delete(grace) })
}

func (s *Server) now() time.Time { return s.opt.Clock.Now() }

// bind returns a context that also ends with the server.
func (s *Server) bind(parent context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(parent)
	release := context.AfterFunc(s.stopping, func() { cancel(errShuttingDown) })
	return ctx, func(cause error) {
		release()
		cancel(cause)
	}
}

// enter is what every call passes before its handler: the server's own state, then the credential, then whether the
// method is served at all.
func (s *Server) enter(ctx context.Context, fullMethod string) (context.Context, error) {
	if open(fullMethod) {
		return ctx, nil
	}
	if err := s.awaitResume(ctx); err != nil {
		return nil, err
	}
	method := fullMethod[strings.LastIndexByte(fullMethod, '/')+1:]
	ctx, err := s.authenticate(ctx, method)
	if err == nil && s.opt.disabled[method] {
		err = notServedMethod(method)
	}
	return ctx, err
}

func (s *Server) awaitResume(ctx context.Context) error {
	s.store.Lock()
	resumed := s.resumed
	s.store.Unlock()
	if resumed != nil {
		select {
		case <-resumed:
		case <-s.stopping.Done():
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
	if s.stopping.Err() != nil {
		return errShuttingDown
	}
	return nil
}

func (s *Server) unaryEntry(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, err := s.enter(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) streamEntry(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, err := s.enter(stream.Context(), info.FullMethod)
	if err != nil {
		return err
	}
	return next(srv, &knownStream{stream, ctx})
}

// knownStream is a stream whose caller is known.
type knownStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *knownStream) Context() context.Context { return s.ctx }
