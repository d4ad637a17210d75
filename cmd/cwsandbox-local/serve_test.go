//go:build unix

package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

func TestProgramServes(t *testing.T) {
	ready := filepath.Join(t.TempDir(), "ready")
	require.NoError(t, os.WriteFile(ready, []byte("http://of.an.earlier.one\n"), 0o600))
	c := start(t, t.TempDir(), "-ready-file", ready)

	t.Run("C-001", func(t *testing.T) {
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			content, err := os.ReadFile(ready)
			require.NoError(t, err)
			assert.Equal(t, c.url+"\n", string(content))
		}, patience, time.Millisecond)
		u, err := url.Parse(c.url)
		require.NoError(t, err)
		assert.Equal(t, "http", u.Scheme)
		assert.True(t, netip.MustParseAddr(u.Hostname()).IsLoopback())
		assert.NotEmpty(t, u.Port())
		assert.Empty(t, u.Path)
		assert.NoError(t, c.api(t).ping())
	})

	t.Run("C-002", func(t *testing.T) {
		_, port, err := net.SplitHostPort(c.address())
		require.NoError(t, err)
		hosts := []string{"localhost", "127.0.0.1"}
		if hasIPv6(t) {
			hosts = append(hosts, "::1")
		}
		for _, host := range hosts {
			err := dial(t, net.JoinHostPort(host, port), c.key, insecure.NewCredentials()).ping()
			assert.NoError(t, err, host)
		}
	})

	t.Run("any key is accepted, and that is said", func(t *testing.T) {
		assert.NoError(t, dial(t, c.address(), "other", insecure.NewCredentials()).ping())
		assert.Contains(t, c.greeting, "Warning: every key is accepted")
		assert.Contains(t, c.greeting, "Isolation: ")
	})

	t.Run("a signal ends it with status 0", func(t *testing.T) {
		c.signal(t, syscall.SIGINT)
		require.NoError(t, c.wait(t))
		assert.NoFileExists(t, ready)
		assert.Empty(t, serverFiles(t, c.dataDir))
	})
}

// hasIPv6 says whether this machine has ::1.
func hasIPv6(t *testing.T) bool {
	lis, err := net.Listen("tcp6", "[::1]:0")
	if err != nil {
		return false
	}
	require.NoError(t, lis.Close())
	return true
}

func TestProgramRefusesToServeOthers(t *testing.T) {
	t.Run("C-003", func(t *testing.T) {
		// The port is taken, so that binding it would fail in another way.
		lis, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer lis.Close()
		_, port, err := net.SplitHostPort(lis.Addr().String())
		require.NoError(t, err)
		out, err := command(t, t.TempDir(), "-listen", "0.0.0.0:"+port).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 1, exit.ExitCode())
		assert.Contains(t, string(out), "-allow-remote")
	})
}

func TestProgramWithKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(file, []byte("second-key user=bob\n"), 0o600))
	c := start(t, t.TempDir(), "-keys", "first-key", "-key-file", file, "-log-level", "debug")
	assert.Equal(t, "first-key", c.key)
	assert.NotContains(t, c.greeting, "second-key")
	assert.NotContains(t, c.greeting, "every key")
	assert.NoError(t, c.api(t).ping())
	assert.NoError(t, dial(t, c.address(), "second-key", insecure.NewCredentials()).ping())
	err := dial(t, c.address(), "third-key", insecure.NewCredentials()).ping()
	assert.Equal(t, codes.Unauthenticated, status.Code(err))
	c.signal(t, syscall.SIGTERM)
	require.NoError(t, c.wait(t))
	assert.NotContains(t, c.stderr.String(), "-key", "a key is logged")
}

func TestProgramWithTLS(t *testing.T) {
	t.Run("C-004", func(t *testing.T) {
		dir := t.TempDir()
		c := start(t, dir, "-tls")
		require.True(t, strings.HasPrefix(c.url, "https://"), c.url)
		authority, err := os.ReadFile(filepath.Join(dir, authorityName))
		require.NoError(t, err)
		pool := x509.NewCertPool()
		require.True(t, pool.AppendCertsFromPEM(authority))
		_, port, err := net.SplitHostPort(c.address())
		require.NoError(t, err)
		for _, host := range []string{"localhost", "127.0.0.1"} {
			address := net.JoinHostPort(host, port)
			assert.NoError(t, dial(t, address, c.key, credentials.NewTLS(&tls.Config{RootCAs: pool})).ping(), host)
			conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, NextProtos: []string{"h2", "http/1.1"}})
			require.NoError(t, err)
			assert.Equal(t, "h2", conn.ConnectionState().NegotiatedProtocol)
			require.NoError(t, conn.Close())
		}
		assert.Error(t, dial(t, c.address(), c.key, credentials.NewTLS(&tls.Config{})).ping(), "an unknown authority")
	})
}
