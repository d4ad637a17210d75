package faults

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestRulesReachConnectionsOfTheNetwork(t *testing.T) {
	lis := loopback(t)
	f := newFixture(t, lis)
	f.dial(t, lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	f.Add(Rule{Method: "GetSandbox", After: 1, Times: 1, Action: CutConnection()})
	f.Add(Rule{Method: "StreamExec", Times: 1, Action: CutStream(Frames(2), EndConnection())})

	require.NoError(t, f.get(t).err)
	assert.Equal(t, codes.Unavailable, status.Code(f.get(t).err))
	require.NoError(t, f.get(t).err)
	got := f.exec(t)
	assert.Equal(t, codes.Unavailable, status.Code(got.err))
	assert.Equal(t, []string{"ready", "one"}, got.frames)

	calls := f.Calls("GetSandbox")
	assert.Equal(t, calls[0].Peer, calls[1].Peer)
	assert.NotEqual(t, calls[1].Peer, calls[2].Peer)
	_, _, err := net.SplitHostPort(calls[0].Peer)
	assert.NoError(t, err, "the peer is an address")
}

func TestRulesReachConnectionsThroughTLS(t *testing.T) {
	cert, pool := certificate(t)
	lis := loopback(t)
	f := newFixture(t, lis, grpc.Creds(credentials.NewServerTLSFromCert(&cert)))
	f.dial(t, lis.Addr().String(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(pool, "localhost")))
	f.Add(Rule{Method: "GetSandbox", Times: 1, Action: GoAway()})
	f.Add(Rule{Method: "GetSandbox", Times: 1, Action: DropResponse()})

	err := f.get(t).err
	assert.Equal(t, codes.Internal, status.Code(err))
	assert.ErrorContains(t, err, "without TLS")
	assert.Equal(t, codes.Unavailable, status.Code(f.get(t).err))
	require.NoError(t, f.get(t).err)
}

func TestCuttingNeedsTheListener(t *testing.T) {
	for _, action := range []Action{CutConnection(), DropResponse(), GoAway()} {
		t.Run(action.name, func(t *testing.T) {
			l := NewLayer()
			l.Add(Rule{Method: "GetSandbox", Action: action})
			handler := func(context.Context, any) (any, error) { return &sandboxv1.Sandbox{}, nil }
			info := &grpc.UnaryServerInfo{FullMethod: sandboxv1.SandboxService_GetSandbox_FullMethodName}
			_, err := l.Unary(t.Context(), &sandboxv1.GetSandboxRequest{}, info, handler)
			assert.ErrorContains(t, err, "faults.Listen")
		})
	}
}

func loopback(t *testing.T) net.Listener {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return lis
}

// certificate makes a certificate for localhost and a pool that trusts it.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
