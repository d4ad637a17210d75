//go:build linux || darwin

package cwsandbox_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// perlSite greets whoever sends a request to port 8080.
const perlSite = `use strict; use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8080, ReuseAddr => 1, Listen => 16) or die "listen: $!";
while (my $client = $server->accept) {
	my $token = "none";
	while (defined(my $line = <$client>)) { last if $line =~ /^\s*$/; $token = "some" if $line =~ /^x-sandbox-share-token/i }
	print $client "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello, token: $token";
	close $client;
}`

// TestEndpointsOfProcesses runs a server that is a real process, in a network of its own: its port is nobody else's.
func TestEndpointsOfProcesses(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	if server.Isolation() == "plain" {
		t.Skip("this machine gives sandboxes no network of their own")
	}
	t.Run("C-170", func(t *testing.T) {
		sb, err := server.Client().Run(t.Context(), cwsandbox.WithCommand("perl", "-e", perlSite),
			cwsandbox.WithNetwork(cwsandbox.Network{DenyEgress: new(true)}),
			cwsandbox.WithServices(https8080(cwsandbox.EndpointAuthShareToken)))
		sb = stopped(t, sb, err)
		began := time.Now()
		res, err := sb.Exec(t.Context(), []string{"perl", "-MIO::Socket::INET", "-e",
			`exit(IO::Socket::INET->new(PeerAddr => "192.0.2.1", PeerPort => 80, Timeout => 20) ? 0 : 7)`})
		require.NoError(t, err)
		assert.Equal(t, 7, res.ExitCode, "nothing outside is reached")
		assert.Less(t, time.Since(began), 10*time.Second, "and that is known at once")

		svc, err := sb.WaitEndpoint(t.Context(), "web")
		require.NoError(t, err)
		web, err := sb.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		code, body := fetched(t, web, svc.URL)
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, "hello, token: none", body)
	})
}
