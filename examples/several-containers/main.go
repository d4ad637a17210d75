// Several-containers runs a web server and its client in two containers of one sandbox. They share the network, so that the
// client finds the server on localhost, but neither files nor processes.
//
//	go run ./examples/several-containers
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

// serverProgram serves HTTP on a port that the system chooses, and writes it to a file once it can be reached.
const serverProgram = `
use strict;
use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 16) or die "listen: $!\n";
open my $port, ">", "/tmp/port" or die "write the port: $!\n";
print $port $server->sockport;
close $port;
print "the server is ready\n";
while (my $client = $server->accept) {
	my $request = <$client>;
	while (defined(my $header = <$client>)) { last if $header =~ /^\s*$/ }
	my ($path) = $request =~ /^GET (\S+)/;
	print "somebody asks for $path\n";
	my $body = "this is $path\n";
	print $client "HTTP/1.0 200 OK\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
	close $client;
}
`

// clientProgram asks for one path and prints the last line of the answer.
const clientProgram = `
use strict;
use IO::Socket::INET;
my ($port, $path) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => $port) or die "connect: $!\n";
print $socket "GET $path HTTP/1.0\r\n\r\n";
my @lines = <$socket>;
print $lines[-1];
`

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	small := cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "250m", Memory: "256Mi"}}
	return cwsandbox.RunFunc(ctx, talk, cwsandbox.WithContainers(
		cwsandbox.Container{
			Name: "web", Image: "perl:5", Resources: small, Command: []string{"perl", "-e", serverProgram},
			// The next container, and the sandbox, wait until the server can be reached.
			StartupProbe: cwsandbox.Probe{Command: []string{"test", "-s", "/tmp/port"}, Period: time.Second, Failures: 30},
		},
		cwsandbox.Container{
			Name: "client", Image: "perl:5", Resources: small, Command: cwsandbox.KeepAlive(),
			Primary: true, // the sandbox ends with this one
		},
	))
}

func talk(sb *cwsandbox.Sandbox) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range sb.Info().Containers {
		fmt.Printf("container %s is %v\n", c.Name, c.State)
	}

	inWeb := cwsandbox.WithContainer("web")
	port, err := sb.ReadFile(ctx, "/tmp/port", inWeb)
	if err != nil {
		return err
	}
	if _, err := sb.ReadFile(ctx, "/tmp/port"); !errors.Is(err, cwsandbox.ErrFileNotFound) {
		return fmt.Errorf("the client has the server's file: %w", err)
	}
	fmt.Println("each has files of its own")

	answer, err := sb.Output(ctx, "perl", "-e", clientProgram, string(port), "/hello") // in the primary container
	if err != nil {
		return err
	}
	fmt.Printf("the client got: %s", answer)

	lines := 0
	for line, err := range sb.Logs(ctx, inWeb, cwsandbox.WithFollow()) {
		if err != nil {
			return err
		}
		fmt.Println("the server's log:", line.Text)
		if lines++; lines == 2 {
			break
		}
	}
	return nil
}
