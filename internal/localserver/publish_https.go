package localserver

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	shareTokenHeader      = "X-Sandbox-Share-Token"
	defaultRequestSeconds = 15
	edgeHeaderTimeout     = 30 * time.Second // for a client to say what it wants
)

var errRequestTime = errors.New("the request time of the endpoint is over")

// An edge is the authority of HTTPS endpoints and the certificate that they all have. It is made when it is first needed.
type edge struct {
	once      sync.Once
	authority *authority
	cert      tls.Certificate
	err       error
}

func (s *Server) edgeReady() (*edge, error) {
	e := &s.edge
	e.once.Do(func() {
		if e.authority, e.err = newAuthority("cwsandbox-local endpoints"); e.err == nil {
			e.cert, e.err = e.authority.server()
		}
	})
	return e, e.err
}

// EdgeCA returns the certificate, in PEM, of the authority that vouches for HTTPS endpoints.
func (s *Server) EdgeCA() ([]byte, error) {
	e, err := s.edgeReady()
	if err != nil {
		return nil, err
	}
	return e.authority.pem(), nil
}

// EdgePool is EdgeCA for Go.
func (s *Server) EdgePool() (*x509.CertPool, error) {
	e, err := s.edgeReady()
	if err != nil {
		return nil, err
	}
	return e.authority.pool(), nil
}

// serveHTTPS serves an HTTPS endpoint on the listeners, until the publication ends.
func (p *publication) serveHTTPS() error {
	s := p.record.server
	e, err := s.edgeReady()
	if err != nil {
		return err
	}
	quiet := slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug)
	transport := &http.Transport{
		DialContext:        p.dialForAll,
		DisableCompression: true, // bodies are passed on as they are
		MaxIdleConns:       16,
		IdleConnTimeout:    time.Minute,
	}
	proxy := &httputil.ReverseProxy{
		Transport:      transport,
		Rewrite:        p.rewrite,
		FlushInterval:  -1,
		ModifyResponse: stopClockOfUpgrade,
		ErrorHandler:   answerFailure,
		ErrorLog:       quiet,
	}
	server := &http.Server{
		Handler:           p.guard(proxy),
		ReadHeaderTimeout: edgeHeaderTimeout,
		BaseContext:       func(net.Listener) context.Context { return p.life },
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, clientKey{}, c) },
		ErrorLog:          quiet,
		Protocols:         new(http.Protocols),
	}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetHTTP2(true)
	server.TLSConfig = &tls.Config{Certificates: []tls.Certificate{e.cert}, MinVersion: tls.VersionTLS12}
	serve := func(l net.Listener) error { return server.ServeTLS(l, "", "") }
	if s.opt.PlainEdge {
		server.Protocols.SetUnencryptedHTTP2(true)
		serve = server.Serve
	}
	for _, l := range p.listeners {
		p.running.Go(func() {
			if err := serve(l); p.life.Err() == nil {
				s.opt.Logger.Error("an endpoint ends", "sandbox", p.record.id, "error", err)
			}
		})
	}
	p.running.Go(func() {
		<-p.life.Done()
		_ = server.Close()
		transport.CloseIdleConnections()
	})
	return nil
}

// dialForAll is dial for a transport, whose context outlives the request: another one may take the connection.
func (p *publication) dialForAll(context.Context, string, string) (net.Conn, error) {
	if !p.begin() {
		return nil, net.ErrClosed
	}
	defer p.done()
	return p.dial(p.life)
}

// rewrite addresses a request to the service inside. The host stays what the client has asked for, and the query too, be
// it well-formed or not.
func (p *publication) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(&url.URL{Scheme: "http", Host: "sandbox"})
	r.Out.URL.RawQuery = r.In.URL.RawQuery
	r.Out.Host = r.In.Host
	r.SetXForwarded()
	r.Out.Header.Del(shareTokenHeader)
}

// guard lets requests in that may come in, and gives each its time.
func (p *publication) guard(next http.Handler) http.Handler {
	e := p.service.GetEndpoint()
	limit := time.Duration(orDefault(e.GetRequestTimeoutSeconds(), defaultRequestSeconds)) * time.Second
	secret := e.GetAuth() == sandboxv1.EndpointAuth_ENDPOINT_AUTH_SHARE_TOKEN
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.begin() {
			panic(http.ErrAbortHandler) // the connection is being closed
		}
		defer p.done()
		// The server does not close what was upgraded, and a client that reads nothing would hold it for ever.
		client := r.Context().Value(clientKey{}).(net.Conn)
		defer context.AfterFunc(p.life, func() { _ = client.Close() })()
		if secret && subtle.ConstantTimeCompare([]byte(r.Header.Get(shareTokenHeader)), []byte(p.record.shareToken)) != 1 {
			http.Error(w, "this endpoint needs the share token of the sandbox", http.StatusUnauthorized)
			return
		}
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		stop := p.record.server.opt.Clock.AfterFunc(limit, func() { cancel(errRequestTime) })
		defer stop()
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 has it anyway
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, stopClockKey{}, stop)))
	})
}

// clientKey leads to the connection that a request came in on.
type clientKey struct{}

// stopClockKey leads to the function that ends the request time.
type stopClockKey struct{}

// stopClockOfUpgrade lets a connection that is no request any more, such as a WebSocket, live on.
func stopClockOfUpgrade(resp *http.Response) error {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Request.Context().Value(stopClockKey{}).(func() bool)()
	}
	return nil
}

func answerFailure(w http.ResponseWriter, r *http.Request, _ error) {
	if errors.Is(context.Cause(r.Context()), errRequestTime) {
		http.Error(w, "the sandbox did not answer within the endpoint's request timeout", http.StatusGatewayTimeout)
		return
	}
	http.Error(w, "nothing in the sandbox answers on this port", http.StatusBadGateway)
}
