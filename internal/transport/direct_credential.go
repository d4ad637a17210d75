package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// renewal is how long before its end a credential is not used any more.
	renewal = 30 * time.Second

	// A stream ends with its credential. So it gets one that has at least half of its life, or this, before it.
	longStream = time.Hour
)

// credential is what direct connections with one permission are made with.
type credential struct {
	address     string // host:port
	host        string // the name that the endpoint must prove
	certificate tls.Certificate
	roots       *x509.CertPool
	issued      time.Time
	expires     time.Time
	denied      bool // it does not hold the permission that was asked for
}

// fresh reports whether something, a stream perhaps, may still begin with the credential.
func (c *credential) fresh(now time.Time, stream bool) bool {
	if c == nil {
		return false
	}
	margin := renewal
	if stream {
		margin = max(margin, min(c.expires.Sub(c.issued)/2, longStream))
	}
	return now.Add(margin).Before(c.expires)
}

// errDenied is that a credential does not hold the permission that was asked for.
var errDenied = errors.New("the service does not allow this operation on a direct connection")

// issuance is one key and the request for a certificate of it. The key never leaves memory.
type issuance struct {
	key        *ecdsa.PrivateKey
	permission sandboxv1.SandboxDataPermission
	request    *sandboxv1.ConnectSandboxRequest
}

func newIssuance(sandbox string, permission sandboxv1.SandboxDataPermission) (*issuance, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	return &issuance{key, permission, &sandboxv1.ConnectSandboxRequest{
		SandboxId:            sandbox,
		CsrDer:               csr,
		RequestedPermissions: []sandboxv1.SandboxDataPermission{permission},
	}}, nil
}

// accept checks what the service has issued.
func (i *issuance) accept(c *sandboxv1.SandboxConnection, fallback *x509.CertPool) (*credential, error) {
	if t := c.GetTransport(); t != sandboxv1.SandboxDataTransport_SANDBOX_DATA_TRANSPORT_DIRECT_MTLS {
		return nil, fmt.Errorf("unknown transport %v", t)
	}
	if p := c.GetProtocol(); p != sandboxv1.SandboxDataProtocol_SANDBOX_DATA_PROTOCOL_CONNECT_H2_V1 {
		return nil, fmt.Errorf("unknown protocol %v", p)
	}
	if err := c.GetExpiresAt().CheckValid(); err != nil {
		return nil, fmt.Errorf("no time of expiry: %w", err)
	}
	cred := &credential{
		issued:  time.Now(),
		expires: c.GetExpiresAt().AsTime(),
		denied:  !slices.Contains(c.GetGrantedPermissions(), i.permission),
	}
	if !cred.fresh(cred.issued, false) {
		return nil, fmt.Errorf("the certificate ends too soon, at %v", cred.expires)
	}
	var err error
	if cred.host, cred.address, err = endpointOf(c.GetEndpointUri()); err != nil {
		return nil, err
	}
	if cred.certificate, err = i.certificate(c.GetClientCertificateChainPem()); err != nil {
		return nil, err
	}
	if cred.roots, err = rootsOf(c.GetServerCaBundlePem(), fallback); err != nil {
		return nil, err
	}
	return cred, nil
}

// endpointOf takes an endpoint apart: https, a host, perhaps a port, and nothing else.
func endpointOf(raw string) (host, address string, err error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return "", "", errors.New("the endpoint is no URI")
	case u.Scheme != "https" || u.Hostname() == "" || u.User != nil,
		u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return "", "", fmt.Errorf("the endpoint is not https and a host: %q", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return u.Hostname(), net.JoinHostPort(u.Hostname(), port), nil
}

// certificate reads the chain, leaf first, which must be for our key.
func (i *issuance) certificate(chain []byte) (tls.Certificate, error) {
	cert := tls.Certificate{PrivateKey: i.key}
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			cert.Certificate = append(cert.Certificate, block.Bytes)
		}
	}
	if len(cert.Certificate) == 0 {
		return tls.Certificate{}, errors.New("no certificate was issued")
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("the issued certificate: %w", err)
	}
	if !i.key.PublicKey.Equal(leaf.PublicKey) {
		return tls.Certificate{}, errors.New("the certificate was issued for another key")
	}
	cert.Leaf = leaf
	return cert, nil
}

// rootsOf are the roots of an endpoint: those of the bundle, or without one those that the client trusts anyway.
func rootsOf(bundle []byte, fallback *x509.CertPool) (*x509.CertPool, error) {
	if len(bundle) == 0 {
		return fallback, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return nil, errors.New("the bundle of authorities holds none")
	}
	return pool, nil
}

// dial makes a connection with the credential, without I/O. The certificate alone authenticates it; the client's dial
// options are for the service, and might add a token.
func (c *credential) dial(dialer directDialer, failed func(error)) (*grpc.ClientConn, error) {
	security := credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{c.certificate},
		RootCAs:      c.roots,
		ServerName:   c.host,
		MinVersion:   tls.VersionTLS12,
	})
	target := "dns:///" + c.address
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(handshake{security, failed}),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(reconnect),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessage), grpc.MaxCallRecvMsgSize(maxMessage)),
		grpc.WithChainUnaryInterceptor(refuseOversize),
	}
	if dialer != nil {
		target = "passthrough:///" + c.address
		opts = append(opts, grpc.WithContextDialer(dialer))
	}
	return grpc.NewClient(target, opts...)
}

// directDialer replaces the network.
type directDialer = func(ctx context.Context, address string) (net.Conn, error)

// handshake tells why a handshake failed, which the state of a connection does not.
type handshake struct {
	credentials.TransportCredentials
	failed func(error)
}

func (h handshake) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := h.TransportCredentials.ClientHandshake(ctx, authority, raw)
	if err != nil {
		h.failed(err)
	}
	return conn, info, err
}

func (h handshake) Clone() credentials.TransportCredentials {
	return handshake{h.TransportCredentials.Clone(), h.failed}
}

// anonymous returns ctx without outgoing metadata: what a program sends to the service, a token perhaps, is not for a
// direct connection.
func anonymous(ctx context.Context) context.Context {
	if md, ok := metadata.FromOutgoingContext(ctx); !ok || len(md) == 0 {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, metadata.MD{})
}
