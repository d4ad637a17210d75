package localserver

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A dataPlane serves direct connections to sandboxes. One authority vouches for it to clients, the other for clients
// to it.
type dataPlane struct {
	// Fixed.
	server  *Server
	grpc    *grpcServer
	clients *authority
	uri, id string
	roots   []byte

	serving sync.WaitGroup

	mu    sync.Mutex
	conns map[string][]*directConn // by sandbox
}

// dataPlaneService serves what the main listener serves too, to those who come with a certificate.
type dataPlaneService struct {
	sandboxv1.UnsafeSandboxDataPlaneServiceServer
	*sandboxService
}

// ServeDirect begins to answer direct connections on the listeners, which have one port and are reachable from this
// machine only. They are the server's from now on: Close closes them. Without ServeDirect there is no ConnectSandbox.
func (s *Server) ServeDirect(listeners ...net.Listener) error {
	uri, err := directURI(listeners)
	if err != nil {
		return err
	}
	own, err := newAuthority("cwsandbox-local data plane")
	if err != nil {
		return err
	}
	cert, err := own.server()
	if err != nil {
		return err
	}
	clients, err := newAuthority("cwsandbox-local clients")
	if err != nil {
		return err
	}
	p := &dataPlane{
		server: s, clients: clients, roots: own.pem(), uri: uri, id: "local-" + rand.Text(),
		conns: make(map[string][]*directConn),
	}
	security := credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{cert},
		ClientCAs:    clients.pool(),
		ClientAuth:   tls.RequireAndVerifyClientCert,
		MinVersion:   tls.VersionTLS12,
		// A resumed session would not look at the certificate again.
		SessionTicketsDisabled: true,
	})
	options := append(s.serverOptions(p.unaryEntry, p.streamEntry), grpc.Creds(directCreds{security, p}))
	p.grpc = newGRPCServer(options)
	sandboxv1.RegisterSandboxDataPlaneServiceServer(p.grpc, dataPlaneService{sandboxService: &sandboxService{Server: s}})
	return p.begin(listeners)
}

// directURI is where clients find the listeners. Those that are no network's have one that nobody can dial.
func directURI(listeners []net.Listener) (string, error) {
	port := 0
	for _, l := range listeners {
		addr, ok := l.Addr().(*net.TCPAddr)
		switch {
		case !ok:
		case !addr.IP.IsLoopback():
			return "", fmt.Errorf("local server: direct connections are for this machine only, not for %v", addr)
		case port != 0 && port != addr.Port:
			return "", errors.New("local server: direct connections need one port")
		default:
			port = addr.Port
		}
	}
	switch {
	case len(listeners) == 0:
		return "", errors.New("local server: no listener for direct connections")
	case port == 0:
		return "https://localhost", nil
	}
	return "https://" + net.JoinHostPort("localhost", strconv.Itoa(port)), nil
}

// begin makes the data plane the server's, unless it has one or is closing.
func (p *dataPlane) begin(listeners []net.Listener) error {
	s := p.server
	s.store.Lock()
	defer s.store.Unlock()
	if s.direct != nil || s.stopping.Err() != nil {
		return errors.New("local server: it serves direct connections already, or no more")
	}
	s.direct = p
	for _, l := range listeners {
		p.serving.Go(func() {
			if err := p.grpc.Serve(l); err != nil {
				s.opt.Logger.Error("direct connections end", "error", err)
			}
		})
	}
	return nil
}

func (s *Server) plane() *dataPlane {
	s.store.Lock()
	defer s.store.Unlock()
	return s.direct
}

// issue makes a certificate for a client. It ends at a whole second.
func (p *dataPlane) issue(g grant, key any, life time.Duration) (chain []byte, end time.Time, err error) {
	end = time.Now().Add(life).Truncate(time.Second)
	t := certificateTemplate(end)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	t.URIs = append(t.URIs, g.uri())
	der, err := p.clients.sign(t, key)
	if err != nil {
		return nil, time.Time{}, err
	}
	return certificatePEM(der), end, nil
}

// ended closes the connections to a sandbox, once its streams have had the time to say so.
func (p *dataPlane) ended(sandbox string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns[sandbox] {
		c.endIn(closeGrace, errConnectionOver)
	}
}

func (p *dataPlane) add(c *directConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c.grant.sandbox] = append(p.conns[c.grant.sandbox], c)
}

func (p *dataPlane) remove(c *directConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left := slices.DeleteFunc(p.conns[c.grant.sandbox], func(other *directConn) bool { return other == c })
	if p.conns[c.grant.sandbox] = left; len(left) == 0 {
		delete(p.conns, c.grant.sandbox)
	}
}
