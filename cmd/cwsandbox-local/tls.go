package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

const (
	authorityName   = "ca.pem"
	certificateLife = 365 * 24 * time.Hour
	clockSkew       = time.Hour
)

// serverTLS returns the configuration of the listeners, and, in PEM, the authority that clients have to trust when it is
// our own.
func serverTLS(c *config) (conf *tls.Config, authority []byte, err error) {
	var cert tls.Certificate
	if c.certFile != "" {
		cert, err = tls.LoadX509KeyPair(c.certFile, c.keyFile)
	} else {
		cert, authority, err = issue(c)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("tls: %w", err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12}, authority, nil
}

// issue makes an authority and a certificate of it. Only the authority's certificate is returned, for clients; its key
// is forgotten, so that nobody can issue another certificate.
func issue(c *config) (cert tls.Certificate, authority []byte, err error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	ca := template("cwsandbox-local authority", 1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return cert, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf(c.host), ca, key.Public(), caKey)
	if err != nil {
		return cert, nil, err
	}
	authority = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, authority, nil
}

func template(name string, serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-clockSkew),
		NotAfter:     now.Add(certificateLife),
	}
}

// leaf is valid for this machine's own names and for the host that was asked for.
func leaf(host string) *x509.Certificate {
	t := template("cwsandbox-local", 2)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames = []string{"localhost"}
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	if ip := net.ParseIP(host); ip == nil && host != "" {
		t.DNSNames = append(t.DNSNames, host)
	} else if ip != nil && !ip.IsUnspecified() {
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	return t
}

// writeAuthorities writes the certificates that clients have to trust, in PEM, and returns the file.
func writeAuthorities(dir string, certificates []byte) (string, error) {
	if dir == "" {
		var err error
		if dir, err = stateDir(); err != nil {
			return "", err
		}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, authorityName)
	return file, replaceFile(file, certificates)
}

// stateDir is where programs keep what belongs to this user and machine.
func stateDir() (string, error) {
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "cwsandbox", "local"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the certificate authority, give one with -data-dir: %w", err)
	}
	return filepath.Join(home, ".local", "state", "cwsandbox", "local"), nil
}
