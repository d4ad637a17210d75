package localserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"syscall"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// publishAttempts is how many ports are tried until one is free on both loopback addresses.
const publishAttempts = 20

// A publication is a port of this machine that leads to a port of a sandbox.
type publication struct {
	record    *record
	service   *sandboxv1.Service
	port      int // of this machine
	listeners []net.Listener

	life    context.Context // of what comes in
	end     context.CancelFunc
	mu      sync.Mutex     // orders the end and what is about to begin
	running sync.WaitGroup // its goroutines
}

// published says whether a service has an address here.
func published(svc *sandboxv1.Service) bool {
	switch svc.GetProtocol() {
	case sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UNSPECIFIED, sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_TCP:
	default:
		return false
	}
	return svc.GetVisibility() == public || svc.GetVisibility() == private
}

const (
	public  = sandboxv1.Visibility_VISIBILITY_PUBLIC
	private = sandboxv1.Visibility_VISIBILITY_PRIVATE
)

func needsShareToken(spec *sandboxv1.SandboxSpec) bool {
	return slices.ContainsFunc(spec.GetServices(), func(svc *sandboxv1.Service) bool {
		return svc.GetEndpoint().GetAuth() == sandboxv1.EndpointAuth_ENDPOINT_AUTH_SHARE_TOKEN
	})
}

// publish reserves a port of this machine for every service that has an address, and makes the share token if one is
// needed. The record is not known to anybody yet. After an error, which ends the sandbox, what was reserved stays until
// then.
func (r *record) publish() error {
	if needsShareToken(r.spec) {
		r.shareToken = rand.Text()
	}
	for _, svc := range r.spec.GetServices() {
		if !published(svc) {
			continue
		}
		listeners, port, err := r.server.opt.PublishOn()
		if err != nil {
			return err
		}
		p := &publication{record: r, service: svc, port: port, listeners: listeners}
		p.life, p.end = context.WithCancel(context.Background())
		r.publications = append(r.publications, p)
		if err := p.serve(); err != nil {
			return err
		}
	}
	return nil
}

// unpublish gives the ports back, cuts what goes through them, and returns when nothing of it is left.
func (r *record) unpublish() {
	for _, p := range r.publications {
		p.mu.Lock()
		p.end()
		p.mu.Unlock()
		_ = closeListeners(p.listeners)
	}
	for _, p := range r.publications {
		p.running.Wait()
	}
}

// serve begins to take connections.
func (p *publication) serve() error {
	if p.service.GetEndpoint().GetKind() == sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS {
		return p.serveHTTPS()
	}
	for _, l := range p.listeners {
		p.running.Go(func() { p.relayAll(l) })
	}
	return nil
}

// begin lets something in, unless the publication has ended. What was let in calls done.
func (p *publication) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.life.Err() != nil {
		return false
	}
	p.running.Add(1)
	return true
}

func (p *publication) done() { p.running.Done() }

// dial connects to the service inside, while the sandbox runs.
func (p *publication) dial(ctx context.Context) (net.Conn, error) {
	place, err := p.record.reachable()
	if err != nil {
		return nil, err
	}
	return place.Dial(ctx, int(p.service.GetPort()))
}

// reachable returns the place of a sandbox that runs.
func (r *record) reachable() (container.Sandbox, error) {
	r.server.store.Lock()
	defer r.server.store.Unlock()
	if r.state != running && r.state != paused && r.state != terminating {
		return nil, fmt.Errorf("sandbox is %s", stateWord(r.state))
	}
	if r.start.IsZero() { // from then on the place is there and does not change
		return nil, errors.New("sandbox was never started")
	}
	return r.place, nil
}

// serviceStatuses are the services as they were asked for, with the addresses that they have now. The store's mutex is
// held.
func (r *record) serviceStatuses() []*sandboxv1.ServiceStatus {
	var list []*sandboxv1.ServiceStatus
	for _, svc := range r.spec.GetServices() {
		st := &sandboxv1.ServiceStatus{
			Port: svc.GetPort(), Name: svc.GetName(), Protocol: svc.GetProtocol(), Visibility: svc.GetVisibility(),
		}
		if e := svc.GetEndpoint(); e != nil {
			st.Endpoint = &sandboxv1.EndpointStatus{Kind: e.GetKind(), Auth: e.GetAuth()}
			if e.GetKind() == sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS {
				st.Endpoint.RequestTimeoutSeconds = orDefault(e.GetRequestTimeoutSeconds(), defaultRequestSeconds)
			}
		}
		r.address(st)
		list = append(list, st)
	}
	return list
}

// address adds where the service is. That of an endpoint is known from the first answer on, another one's while the
// sandbox runs.
func (r *record) address(st *sandboxv1.ServiceStatus) {
	p := r.publicationOf(st.GetPort())
	if p == nil || r.state == terminating || terminal(r.state) {
		return
	}
	port := strconv.Itoa(p.port)
	switch {
	case st.GetEndpoint() == nil:
		if r.state == running {
			st.Url = "http://" + net.JoinHostPort("127.0.0.1", port)
		}
	case st.GetEndpoint().GetKind() == sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS:
		scheme := "https://"
		if r.server.opt.PlainEdge {
			scheme = "http://"
		}
		st.Endpoint.Url = scheme + net.JoinHostPort("localhost", port)
	default:
		st.Endpoint.Address = net.JoinHostPort("localhost", port)
	}
}

func (r *record) publicationOf(port int32) *publication {
	for _, p := range r.publications {
		if p.service.GetPort() == port {
			return p
		}
	}
	return nil
}

// publishOnLoopback takes a port that is free on 127.0.0.1 and, where this machine has it, on ::1.
func publishOnLoopback() (listeners []net.Listener, port int, err error) {
	for range publishAttempts {
		if listeners, port, err = publishOnce(); !errors.Is(err, syscall.EADDRINUSE) {
			return listeners, port, err
		}
	}
	return nil, 0, err
}

func publishOnce() ([]net.Listener, int, error) {
	v4, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, 0, err
	}
	port := v4.Addr().(*net.TCPAddr).Port
	v6, err := net.Listen("tcp6", net.JoinHostPort("::1", strconv.Itoa(port)))
	switch {
	case err == nil:
		return []net.Listener{v4, v6}, port, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, 0, errors.Join(err, v4.Close())
	}
	return []net.Listener{v4}, port, nil // a machine without IPv6
}

func closeListeners(listeners []net.Listener) error {
	var errs []error
	for _, l := range listeners {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
