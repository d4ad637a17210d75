package cwsandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

const (
	firstProbe   = 50 * time.Millisecond
	largestProbe = time.Second
	// probeQuiet is how long a plain port must keep a connection to count as answering: what relays it may take the
	// connection first, and close it when nobody is there.
	probeQuiet = 200 * time.Millisecond
	// probeExtra is what a probe has beside the request timeout of its endpoint.
	probeExtra = 5 * time.Second

	endpointIdle      = 90 * time.Second
	endpointIdleConns = 64 // per endpoint
)

// WaitEndpoint waits until a service of the sandbox can be reached from here, and returns it with its address. The name is
// that of the service, or its port where it has none. Addresses are assigned before anything answers, so it tries: an HTTPS
// endpoint answers when a GET of its URL, with the share token if it needs one, brings anything but the edge's own 502, 503
// or 504; a TLS passthrough endpoint when a TLS handshake, whatever the certificate, succeeds; a plain port when it takes a
// connection and keeps it.
//
// A service that the sandbox does not have, or that never has an address, is [ErrInvalidArgument]; a share token that is
// not known [ErrUnauthenticated]. When the sandbox ends meanwhile, the error matches [ErrNotRunning]. Without a deadline
// on ctx the wait ends after 300 seconds with [ErrTimeout], whose text says what the last try brought.
func (sb *Sandbox) WaitEndpoint(ctx context.Context, name string) (ServiceStatus, error) {
	s, c := sb.s, call{op: "wait endpoint", sandbox: sb.s.id}
	ctx, cancel := limited(ctx, runningLimit)
	defer cancel()
	defer s.client.registry.signals.afterSignal()
	svc, err := s.awaitAddress(ctx, c, name)
	if err != nil {
		return ServiceStatus{}, err
	}
	probe, err := s.probeOf(ctx, c, svc)
	if err != nil {
		return ServiceStatus{}, err
	}
	if err := s.awaitAnswer(ctx, c, probe); err != nil {
		return ServiceStatus{}, err
	}
	return svc, nil
}

// HTTPClient returns a client for a service that has a URL: an HTTPS endpoint, or a plain port whose server speaks HTTP.
// The name is that of the service, or its port where it has none. The client trusts the roots of [WithRootCAs]. Requests to
// the endpoint carry the share token if it needs one, unless they have one already; redirects to elsewhere, and requests
// to other hosts, do not. It has no timeout of its own, keeps connections until [Client.Close], and may be changed.
//
// Before the service has a URL, which [Sandbox.WaitEndpoint] waits for, it is [ErrPrecondition]; errors about the name and
// the token are those of WaitEndpoint.
func (sb *Sandbox) HTTPClient(ctx context.Context, name string) (*http.Client, error) {
	s, c := sb.s, call{op: "http client", sandbox: sb.s.id}
	s.mu.Lock()
	_, err := s.readyNow(c.op)
	var svc ServiceStatus
	if err == nil {
		svc, err = s.info.reachable(c, name)
	}
	s.mu.Unlock()
	switch {
	case err != nil:
		return nil, err
	case svc.Endpoint.Kind == EndpointTLSPassthrough:
		var f faults
		f.add("name", "must be that of a service with a URL: %q has an address only", name)
		return nil, f.err(c)
	case svc.URL == "":
		return nil, c.refuse(fmt.Sprintf("service %q has no URL yet", name), ErrPrecondition)
	}
	return s.httpClient(ctx, c, svc)
}

func (s *shared) httpClient(ctx context.Context, c call, svc ServiceStatus) (*http.Client, error) {
	at, err := url.Parse(svc.URL)
	if err != nil {
		return nil, c.wrap(err)
	}
	t := &endpointTransport{base: s.client.endpoints, at: at}
	if svc.Endpoint.Auth == EndpointAuthShareToken {
		if t.token, err = s.shareToken(ctx, c.op); err != nil {
			return nil, err
		}
	}
	return &http.Client{Transport: t}, nil
}

// endpointTransport adds the share token to requests to one endpoint, and to no other.
type endpointTransport struct {
	base  *http.Transport
	at    *url.URL
	token ShareToken
}

func (t *endpointTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	set, here := req.Header.Get(shareTokenHeader) != "", sameOrigin(t.at, req.URL)
	switch {
	case here && !set && !t.token.IsZero():
		req = req.Clone(req.Context())
		t.token.SetHeader(req.Header)
	case !here && set && req.Response != nil: // a redirect, which takes along what the caller has set
		req = req.Clone(req.Context())
		req.Header.Del(shareTokenHeader)
	}
	return t.base.RoundTrip(req)
}

// CloseIdleConnections is for that of [http.Client].
func (t *endpointTransport) CloseIdleConnections() { t.base.CloseIdleConnections() }

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// endpointTransport makes the transport that all endpoints of a client share.
func (c *clientConfig) endpointTransport() *http.Transport {
	t := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         c.dialEndpoint,
		TLSClientConfig:     &tls.Config{RootCAs: c.rootCAs},
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: endpointIdleConns,
		IdleConnTimeout:     endpointIdle,
	}
	if c.endpointDial != nil {
		t.Proxy = nil // there is no network at all
	}
	return t
}

func (c *clientConfig) dialEndpoint(ctx context.Context, network, address string) (net.Conn, error) {
	if c.endpointDial != nil {
		return c.endpointDial(ctx, address)
	}
	return new(net.Dialer).DialContext(ctx, network, address)
}

// reachable finds a service that has, or will have, an address.
func (i *Info) reachable(c call, name string) (ServiceStatus, error) {
	var f faults
	svc, ok := i.named(name)
	switch {
	case !ok:
		f.add("name", "must be that of a service of the sandbox, is %q", name)
	case svc.Visibility == VisibilityUnspecified:
		f.add("name", "must be that of a service with a visibility: %q has none", name)
	case svc.Protocol == ProtocolUDP || svc.Protocol == ProtocolSCTP:
		f.add("name", "must be that of a tcp service: %q is %v", name, svc.Protocol)
	}
	return svc, f.err(c)
}

// awaitAddress waits until a service has an address.
func (s *shared) awaitAddress(ctx context.Context, c call, name string) (svc ServiceStatus, err error) {
	err = s.await(ctx, c.op, s.client.closed, func() (bool, error) {
		if _, err := s.readyNow(c.op); err != nil {
			return true, err
		}
		var err error
		svc, err = s.info.reachable(c, name)
		return err != nil || svc.assigned(), err
	})
	return svc, err
}

// awaitAnswer repeats a probe until it succeeds or the sandbox is not to be reached any more.
func (s *shared) awaitAnswer(ctx context.Context, c call, probe func(context.Context) error) error {
	probing, stop := context.WithCancel(ctx)
	var answered bool // guarded by s.mu, as is last
	var last error
	over := make(chan struct{})
	go func() {
		defer close(over)
		for pause := firstProbe; probing.Err() == nil; pause = min(2*pause, largestProbe) {
			err := probe(probing)
			s.mu.Lock()
			if answered = err == nil; answered {
				s.broadcast()
			} else if probing.Err() == nil { // else it is only about the end of the wait
				last = err
			}
			s.mu.Unlock()
			if err == nil {
				return
			}
			select {
			case <-time.After(jitter(pause)):
			case <-probing.Done():
			}
		}
	}()
	err := s.await(ctx, c.op, s.client.closed, func() (bool, error) {
		if answered {
			return true, nil
		}
		_, err := s.readyNow(c.op)
		return err != nil, err
	})
	stop()
	<-over
	if errors.Is(err, ErrTimeout) && last != nil {
		return joined(err, last)
	}
	return err
}

// probeOf returns what tries whether a service answers.
func (s *shared) probeOf(ctx context.Context, c call, svc ServiceStatus) (func(context.Context) error, error) {
	limit := max(svc.Endpoint.RequestTimeout, minEndpointTimeout) + probeExtra
	config := &s.client.config
	if svc.Endpoint.Kind == EndpointHTTPS {
		client, err := s.httpClient(ctx, c, svc)
		if err != nil {
			return nil, err
		}
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		client.Timeout = limit
		return func(ctx context.Context) error { return probeHTTP(ctx, client, svc.URL) }, nil
	}
	address, probe := svc.Address, probeTLS
	if address == "" {
		u, err := url.Parse(svc.URL)
		if err != nil {
			return nil, c.wrap(err)
		}
		address, probe = net.JoinHostPort(u.Hostname(), portOf(u)), probeTCP
	}
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		conn, err := config.dialEndpoint(ctx, "tcp", address)
		if err != nil {
			return err
		}
		defer conn.Close()
		return probe(ctx, conn, address)
	}, nil
}

func probeHTTP(ctx context.Context, client *http.Client, at string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return errors.New("the endpoint answers " + resp.Status)
	}
	return nil
}

// probeTLS looks for a server that speaks TLS. The certificate is the program's own, and nobody here knows whom it trusts.
func probeTLS(ctx context.Context, conn net.Conn, address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return err
	}
	return tls.Client(conn, &tls.Config{ServerName: host, InsecureSkipVerify: true}).HandshakeContext(ctx)
}

// probeTCP looks for a server that keeps the connection, or says something.
func probeTCP(_ context.Context, conn net.Conn, _ string) error {
	if err := conn.SetReadDeadline(time.Now().Add(probeQuiet)); err != nil {
		return err
	}
	n, err := conn.Read(make([]byte, 1))
	switch {
	case n > 0, errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case errors.Is(err, io.EOF):
		return errors.New("the port closes connections at once")
	}
	return err
}
