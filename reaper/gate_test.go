//go:build linux

package reaper_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// gate stands between clients and a server. It can be shut, and hold back what clients send.
type gate struct {
	listener net.Listener
	server   string
	scheme   string
	root     string // in PEM
	work     sync.WaitGroup

	mu         sync.Mutex
	moved      *sync.Cond
	closed     bool
	conns      map[net.Conn]struct{}
	isShut     bool
	turnedAway int
	pipes      []*pipe
}

// pipe is the direction from a client to the server.
type pipe struct {
	server  net.Conn
	holds   bool
	pending []byte // what it has held back
}

func newGate(t *testing.T, server string) *gate { return gateOn(t, server, "http", nil) }

// newTLSGate takes TLS connections, vouched for by a root of its own.
func newTLSGate(t *testing.T, server string) *gate {
	t.Helper()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root of the test"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	require.NoError(t, err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	require.NoError(t, err)
	g := gateOn(t, server, "https", &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"h2"},
	})
	g.root = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}))
	return g
}

func gateOn(t *testing.T, server, scheme string, config *tls.Config) *gate {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if config != nil {
		listener = tls.NewListener(listener, config)
	}
	g := &gate{listener: listener, server: server, scheme: scheme, conns: make(map[net.Conn]struct{})}
	g.moved = sync.NewCond(&g.mu)
	g.work.Go(g.serve)
	t.Cleanup(func() {
		listener.Close()
		g.mu.Lock()
		g.closed = true
		g.mu.Unlock()
		g.release()
		g.shut()
		g.work.Wait()
	})
	return g
}

func (g *gate) url() string { return g.scheme + "://" + g.listener.Addr().String() }

func (g *gate) serve() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		if g.isShut {
			g.turnedAway++
			g.moved.Broadcast()
			g.mu.Unlock()
			client.Close()
			continue
		}
		g.conns[client] = struct{}{}
		g.mu.Unlock()
		g.work.Go(func() { g.forward(client) })
	}
}

func (g *gate) forward(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return
	}
	p := &pipe{server: server}
	g.mu.Lock()
	g.pipes = append(g.pipes, p)
	g.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() {
		io.Copy(client, server)
		client.Close()
	})
	both.Go(func() {
		g.copy(p, client)
		server.Close()
	})
	both.Wait()
}

// copy is io.Copy for a direction that can be held back, its end included.
func (g *gate) copy(p *pipe, client net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := client.Read(buffer)
		g.mu.Lock()
		if p.holds {
			p.pending = append(p.pending, buffer[:n]...)
			n = 0
			g.moved.Broadcast()
		}
		for p.holds && err != nil {
			g.moved.Wait()
		}
		g.mu.Unlock()
		if _, werr := p.server.Write(buffer[:n]); werr != nil || err != nil {
			return
		}
	}
}

// hold holds back what the connections that are open now send.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.pipes {
		p.holds = true
	}
}

// waitHeld waits until a message with this text is held back.
func (g *gate) waitHeld(t *testing.T, text string) {
	g.wait(t, func() bool {
		return slices.ContainsFunc(g.pipes, func(p *pipe) bool { return bytes.Contains(p.pending, []byte(text)) })
	})
}

// release lets everything go on.
func (g *gate) release() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.pipes {
		p.server.Write(p.pending)
		p.holds, p.pending = false, nil
	}
	g.moved.Broadcast()
}

// shut cuts all connections and turns away new ones.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = true
	for c := range g.conns {
		c.Close()
	}
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.isShut = false
}

// waitTurnedAway waits until n connections were turned away.
func (g *gate) waitTurnedAway(t *testing.T, n int) {
	g.wait(t, func() bool { return g.turnedAway >= n })
}

func (g *gate) wait(t *testing.T, done func() bool) {
	t.Helper()
	late := false
	timer := time.AfterFunc(patience, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		late = true
		g.moved.Broadcast()
	})
	defer timer.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	for !done() && !late {
		g.moved.Wait()
	}
	require.False(t, late, "the clients do not come")
}
