package cwsandbox_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// httpServer answers one request after the other, on the port that it is given, or else on one that it prints.
const httpServer = `
use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => shift, Listen => 16) or die "listen: $!\n";
print $server->sockport, "\n";
while (my $client = $server->accept) {
	while (defined(my $header = <$client>)) { last if $header =~ /^\s*$/ }
	print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\ninside\n";
	close $client;
}
`

// TestDeniedEgress has real processes try to leave their sandbox.
func TestDeniedEgress(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	client := server.Client()
	denied := cwsandbox.WithNetwork(cwsandbox.Network{DenyEgress: new(true)})
	if server.Isolation() == "plain" {
		_, err := client.Run(t.Context(), denied)
		require.ErrorIs(t, err, cwsandbox.ErrPlacement)
		assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonNoSuitableRunner))
		return
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") // a service of this machine
	require.NoError(t, err)
	defer listener.Close()
	here := listener.Addr().(*net.TCPAddr).Port

	sb, err := client.Run(t.Context(), denied)
	require.NoError(t, err)
	defer sb.Stop().Wait()
	dial := func(sb *cwsandbox.Sandbox, host string, port int) *cwsandbox.Result {
		res, err := sb.Exec(t.Context(), []string{"bash", "-c", fmt.Sprintf("exec 3<>/dev/tcp/%s/%d", host, port)})
		require.NoError(t, err)
		return res
	}
	t.Run("C-170", func(t *testing.T) {
		for _, address := range []string{"192.0.2.1", "2001:db8::1"} {
			res := dial(sb, address, 80)
			assert.NotZero(t, res.ExitCode, address)
			assert.Contains(t, string(res.Stderr), "unreachable", address)
		}
		res := dial(sb, "127.0.0.1", here)
		assert.Contains(t, string(res.Stderr), "refused", "this machine's services are not the sandbox's")

		p, err := sb.StartProcess(t.Context(), []string{"perl", "-e", httpServer})
		require.NoError(t, err)
		var port int
		_, err = fmt.Fscan(p.Stdout(), &port)
		require.NoError(t, err)
		inside := &http.Client{Transport: &http.Transport{DialContext: sb.DialContext}}
		defer inside.CloseIdleConnections()
		resp, err := inside.Get(fmt.Sprintf("http://127.0.0.1:%d/", port))
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "inside\n", string(body))
		res = dial(sb, "127.0.0.1", port)
		assert.Zero(t, res.ExitCode, "loopback works: %s", res.Stderr)

		published, err := client.Run(t.Context(), denied, cwsandbox.WithCommand("perl", "-e", httpServer, "8080"),
			cwsandbox.WithServices(cwsandbox.Service{Port: 8080, Name: "web", Visibility: cwsandbox.VisibilityPublic}))
		require.NoError(t, err)
		defer published.Stop().Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		web, err := published.WaitEndpoint(ctx, "web")
		require.NoError(t, err)
		resp, err = http.Get(web.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		require.NoError(t, err)
		assert.Equal(t, "inside\n", string(body))
	})
	t.Run("C-171", func(t *testing.T) {
		sb, err := client.Run(t.Context(), cwsandbox.WithNetwork(cwsandbox.Network{DenyEgress: new(false), DenyIngress: new(false)}))
		require.NoError(t, err)
		defer sb.Stop().Wait()
		assert.Equal(t, []cwsandbox.EgressRule{{Any: true}}, sb.Info().Egress)
		res := dial(sb, "127.0.0.1", here)
		assert.Zero(t, res.ExitCode, "the host's network: %s", res.Stderr)
	})
}
