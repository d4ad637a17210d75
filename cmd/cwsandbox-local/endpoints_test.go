//go:build unix

package main

import (
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
)

func TestProgramServesEndpoints(t *testing.T) {
	for name, row := range map[string]struct {
		args   []string
		scheme string
	}{
		"plaintext API": {nil, "https://"},
		"TLS":           {[]string{"-tls"}, "https://"},
		"plain edge":    {[]string{"-plain-edge"}, "http://"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := start(t, dir, row.args...)
			file := filepath.Join(dir, authorityName)
			assert.Contains(t, c.greeting, "trust the certificates in "+file)
			for _, variable := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"} {
				assert.Contains(t, c.greeting, "export "+variable+"="+quote(file)+"\n")
			}
			certificates, err := os.ReadFile(file)
			require.NoError(t, err)
			pool := x509.NewCertPool()
			require.True(t, pool.AppendCertsFromPEM(certificates))

			sb, err := c.client(t, cwsandbox.WithRootCAs(pool)).Run(t.Context(), cwsandbox.WithServices(cwsandbox.Service{
				Port: 1, Name: "web", Visibility: cwsandbox.VisibilityPublic, Endpoint: cwsandbox.HTTPSEndpoint(cwsandbox.EndpointAuthShareToken),
			}))
			require.NoError(t, err)
			defer func() {
				_, err := sb.Stop(cwsandbox.WithGrace(0)).Wait()
				require.NoError(t, err)
			}()
			at := sb.Info().Services[0].URL
			assert.Regexp(t, "^"+row.scheme+`localhost:\d+$`, at)
			client, err := sb.HTTPClient(t.Context(), "web")
			require.NoError(t, err)
			resp, err := client.Get(at)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, http.StatusBadGateway, resp.StatusCode, "nobody listens on port 1")
		})
	}
}
