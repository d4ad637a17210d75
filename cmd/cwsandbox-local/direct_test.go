//go:build unix

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// client is the SDK as programs use it, but for the process-wide registry.
func (c *child) client(t *testing.T, opts ...cwsandbox.ClientOption) *cwsandbox.Client {
	t.Helper()
	client, err := cwsandbox.NewClient(append(opts, cwsandbox.WithBaseURL(c.url), cwsandbox.WithAPIKey(c.key),
		hook.PrivateRegistry().(cwsandbox.ClientOption))...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, hook.CloseWhole(client)) })
	return client
}

func TestProgramServesDirectConnections(t *testing.T) {
	c := start(t, t.TempDir())
	for _, mode := range []cwsandbox.DataPlane{cwsandbox.DataPlaneAuto, cwsandbox.DataPlaneDirect} {
		t.Run(mode.String(), func(t *testing.T) {
			sb, err := c.client(t, cwsandbox.WithDataPlane(mode)).Run(t.Context())
			require.NoError(t, err)
			defer func() {
				_, err := sb.Stop(cwsandbox.WithGrace(0)).Wait()
				require.NoError(t, err)
			}()
			res, err := sb.Exec(t.Context(), []string{"sh", "-c", "cat; exit 3"}, cwsandbox.WithStdin(bytes.NewReader(make([]byte, 3<<20))))
			require.NoError(t, err)
			assert.Equal(t, 3, res.ExitCode)
			assert.Len(t, res.Stdout, 3<<20)
			if mode == cwsandbox.DataPlaneDirect { // a second may be too short for the other one on a busy machine
				assert.Equal(t, cwsandbox.DataPlaneDirect, res.Via)
			}
			require.NoError(t, sb.WriteFile(t.Context(), "/tmp/f", []byte("content")))
			data, err := sb.ReadFile(t.Context(), "/tmp/f")
			require.NoError(t, err)
			assert.Equal(t, "content", string(data))
		})
	}
	t.Run("to this machine", func(t *testing.T) {
		api := c.api(t)
		u, err := url.Parse(api.endpoint(t))
		require.NoError(t, err)
		assert.Equal(t, []string{"https", "localhost"}, []string{u.Scheme, u.Hostname()})
	})
	c.signal(t, syscall.SIGTERM)
	require.NoError(t, c.wait(t))
	assert.Empty(t, serverFiles(t, c.dataDir))
}

func TestProgramWithoutDirectConnections(t *testing.T) {
	api := start(t, t.TempDir(), "-direct=false").api(t)
	_, err := api.ConnectSandbox(api.ctx, connectRequest(t, "any"))
	assert.Equal(t, codes.Unimplemented, status.Code(err))

	others, err := parse([]string{"-listen", "0.0.0.0:1", "-tls", "-keys", "k", "-allow-remote"}, os.Stderr)
	require.NoError(t, err)
	assert.False(t, others.direct)
}

// endpoint asks where the data plane is.
func (a *api) endpoint(t *testing.T) string {
	t.Helper()
	answer, err := a.ConnectSandbox(a.ctx, connectRequest(t, a.running(t, "sleep", "1000")))
	require.NoError(t, err)
	return answer.GetEndpointUri()
}

func connectRequest(t *testing.T, id string) *sandboxv1.ConnectSandboxRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	require.NoError(t, err)
	return &sandboxv1.ConnectSandboxRequest{
		SandboxId: id, CsrDer: csr,
		RequestedPermissions: []sandboxv1.SandboxDataPermission{sandboxv1.SandboxDataPermission_SANDBOX_DATA_PERMISSION_EXEC},
	}
}
