package localserver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour // longer than any server runs
	// backdate makes a certificate valid for clocks that are a little behind.
	backdate = time.Minute
)

// An authority signs certificates. Its key lives in memory, as long as the server.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := certificateTemplate(time.Now().Add(authorityLife))
	t.Subject = pkix.Name{CommonName: name}
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return &authority{cert, key}, err
}

func certificateTemplate(end time.Time) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // the reader never fails
	return &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-backdate), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func (a *authority) sign(t *x509.Certificate, key any) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, t, a.cert, key, a.key)
}

// server makes the certificate of a server on this machine.
func (a *authority) server() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := certificateTemplate(a.cert.NotAfter)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	der, err := a.sign(t, key.Public())
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func (a *authority) pem() []byte { return certificatePEM(a.cert.Raw) }

func certificatePEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A grant is what the certificate of a client allows: in one sandbox, for one caller. It is the only thing in the
// certificate that is looked at.
type grant struct {
	sandbox     string
	caller      identity
	permissions []sandboxv1.SandboxDataPermission
}

const grantScheme = "cwsandbox-local"

// uri writes the grant for a certificate.
func (g grant) uri() *url.URL {
	q := url.Values{
		"user": {g.caller.user}, "organization": {g.caller.organization},
		"admin": {strconv.FormatBool(g.caller.admin)}, "wandb": {strconv.FormatBool(g.caller.wandb)},
	}
	for _, p := range g.permissions {
		q.Add("permission", strconv.Itoa(int(p)))
	}
	return &url.URL{Scheme: grantScheme, Host: "sandbox", Path: "/" + g.sandbox, RawQuery: q.Encode()}
}

// grantOf reads the grant of a certificate that this server has issued.
func grantOf(cert *x509.Certificate) (grant, error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != grantScheme || len(cert.URIs[0].Path) < 2 {
		return grant{}, errors.New("the certificate names no sandbox")
	}
	u := cert.URIs[0]
	q := u.Query()
	g := grant{sandbox: u.Path[1:], caller: identity{
		user: q.Get("user"), organization: q.Get("organization"),
		admin: q.Get("admin") == "true", wandb: q.Get("wandb") == "true",
	}}
	for _, text := range q["permission"] {
		n, err := strconv.Atoi(text)
		if err != nil {
			return grant{}, err
		}
		g.permissions = append(g.permissions, sandboxv1.SandboxDataPermission(n))
	}
	return g, nil
}

func (g grant) allows(p sandboxv1.SandboxDataPermission) bool {
	return slices.Contains(g.permissions, p)
}
