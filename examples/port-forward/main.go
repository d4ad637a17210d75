// Port-forward starts an HTTP server in a sandbox and talks to it from here: with an http.Client that dials into the
// sandbox, and through a port of this machine.
//
//	go run ./examples/port-forward
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

// program serves HTTP on a port that the system chooses, and prints it.
const program = `
use strict;
use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 16) or die "listen: $!\n";
print $server->sockport, "\n";
while (my $client = $server->accept) {
	my $request = <$client>;
	while (defined(my $header = <$client>)) { last if $header =~ /^\s*$/ }
	my ($path) = $request =~ /^GET (\S+)/;
	my $body = "this is $path\n";
	print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
	close $client;
}
`

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		address, err := serve(ctx, sb)
		if err != nil {
			return err
		}
		fmt.Printf("in %s a server listens on %s\n", sb.ID(), address)

		transport := &http.Transport{DialContext: sb.DialContext}
		defer transport.CloseIdleConnections()
		inside := &http.Client{Transport: transport}
		if err := get(ctx, inside, "http://"+address+"/dialed"); err != nil {
			return err
		}

		forwarder, err := sb.Forward(ctx, "127.0.0.1:0", address)
		if err != nil {
			return err
		}
		defer forwarder.Close()
		if err := get(ctx, http.DefaultClient, "http://"+forwarder.Addr().String()+"/forwarded"); err != nil {
			return err
		}

		_, err = sb.DialContext(ctx, "tcp", "127.0.0.1:1")
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("a connection to nobody: %w", err)
		}
		fmt.Println("nobody listens on port 1")
		return nil
	}, cwsandbox.WithMaxLifetime(5*time.Minute))
}

// serve starts the server and returns its address in the sandbox. It ends with the sandbox.
func serve(ctx context.Context, sb *cwsandbox.Sandbox) (address string, err error) {
	p, err := sb.StartProcess(ctx, []string{"perl", "-e", program})
	if err != nil {
		return "", err
	}
	port, err := bufio.NewReader(p.Stdout()).ReadString('\n')
	if err == nil {
		return net.JoinHostPort("127.0.0.1", strings.TrimSpace(port)), nil
	}
	res, waitErr := p.Wait()
	if waitErr != nil {
		return "", waitErr
	}
	return "", fmt.Errorf("the server has ended: %w: %s", errors.Join(err, res.Err()), res.Stderr)
}

func get(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %s", resp.Status, body)
	return nil
}
