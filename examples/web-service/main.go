// Web-service starts an HTTP server in a sandbox and calls it through an HTTPS endpoint of the platform, which lets in only
// who shows the sandbox's share token.
//
//	go run ./examples/web-service
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

// program serves HTTP on the port in its argument. It takes its time to start, as programs do.
const program = `
use strict;
use IO::Socket::INET;
sleep 1;
my $server = IO::Socket::INET->new(LocalPort => $ARGV[0], ReuseAddr => 1, Listen => 16) or die "listen: $!\n";
while (my $client = $server->accept) {
	my $request = <$client> // "";
	while (defined(my $header = <$client>)) { last if $header =~ /^\s*$/ }
	my ($path) = $request =~ /^GET (\S+)/;
	my $body = "this is $path";
	print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
	close $client;
}
`

var port = flag.Int("port", 8080, "`port` of the server in the sandbox")

func main() {
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		web, err := sb.WaitEndpoint(ctx, "web")
		if err != nil {
			return err
		}
		fmt.Printf("the server in %s answers; a request may take %v\n", sb.ID(), web.Endpoint.RequestTimeout)

		client, err := sb.HTTPClient(ctx, "web") // shows the token
		if err != nil {
			return err
		}
		if err := get(ctx, client, web.URL+"/home", cwsandbox.ShareToken{}); err != nil {
			return err
		}
		fmt.Println("with a wrong token:")
		return get(ctx, client, web.URL+"/home", cwsandbox.NewShareToken("a guess"))
	},
		cwsandbox.WithCommand("perl", "-e", program, strconv.Itoa(*port)),
		cwsandbox.WithMaxLifetime(5*time.Minute),
		cwsandbox.WithServices(cwsandbox.Service{
			Port:       *port,
			Name:       "web",
			Visibility: cwsandbox.VisibilityPublic,
			Endpoint:   cwsandbox.HTTPSEndpoint(cwsandbox.EndpointAuthShareToken),
		}))
}

// get prints what a page answers. A token that is given is shown instead of the client's.
func get(ctx context.Context, client *http.Client, url string, token cwsandbox.ShareToken) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	token.SetHeader(req.Header)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s\n", resp.Status, body)
	return nil
}
