// Network closes the network of a sandbox and still talks to a server in it, chooses where sandboxes run, and shows what
// becomes of a create that no runner of the first choice can take.
//
//	go run ./examples/network
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
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(func(ctx context.Context) error {
		return errors.Join(closed(ctx), placed(ctx), spilled(ctx))
	})
}

// closed runs a sandbox that reaches nothing.
func closed(ctx context.Context) error {
	err := cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		info := sb.Info()
		fmt.Printf("%s may reach %v, name resolution: %v\n", sb.ID(), info.Egress, info.DNSEgress)
		res, err := sb.Exec(ctx, []string{"bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/80"}, cwsandbox.WithTimeout(10*time.Second))
		switch {
		case err == nil && res.ExitCode == 0:
			return errors.New("the sandbox has left its network")
		case err != nil && !errors.Is(err, cwsandbox.ErrCommandTimeout):
			return err
		}
		fmt.Println("a connection to the outside fails")
		return talk(ctx, sb)
	}, cwsandbox.WithNetwork(cwsandbox.Network{DenyEgress: new(true)}), cwsandbox.WithMaxLifetime(5*time.Minute))
	if errors.Is(err, cwsandbox.ErrPlacement) {
		fmt.Println("no runner can close a network here:", err)
		return nil
	}
	return err
}

// server answers every request, on a port that the system chooses and that it prints.
const server = `
use IO::Socket::INET;
$| = 1;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1", Listen => 16) or die "listen: $!\n";
print $server->sockport, "\n";
while (my $client = $server->accept) {
	while (defined(my $header = <$client>)) { last if $header =~ /^\s*$/ }
	print $client "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\nhello\n";
	close $client;
}
`

// talk reaches a server in the sandbox from here: that needs no network of the sandbox's.
func talk(ctx context.Context, sb *cwsandbox.Sandbox) error {
	p, err := sb.StartProcess(ctx, []string{"perl", "-e", server})
	if err != nil {
		return err
	}
	port, err := bufio.NewReader(p.Stdout()).ReadString('\n')
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: sb.DialContext}
	defer transport.CloseIdleConnections()
	address := net.JoinHostPort("127.0.0.1", strings.TrimSpace(port))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	fmt.Printf("a server in it says %s", body)
	return err
}

// placed looks for a runner with room and pins a sandbox to it.
func placed(ctx context.Context) error {
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	for runner, err := range client.Runners(ctx, cwsandbox.WithHealthyOnly(), cwsandbox.WithFreeCPU("1m")) {
		if err != nil {
			return err
		}
		fmt.Printf("runner %s of group %s has %d millicores free\n", runner.ID, runner.GroupID, runner.Free.CPUMillicores)
		return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
			info := sb.Info()
			fmt.Printf("%s runs on %s, placement %v\n", sb.ID(), info.RunnerID, info.Placement)
			return nil
		}, cwsandbox.WithRunners(runner.ID), cwsandbox.WithMaxLifetime(5*time.Minute))
	}
	fmt.Println("no runner of the organization has room")
	return nil
}

// spilled fills the organization's clusters. That takes a service that can be told to fail.
func spilled(ctx context.Context) error {
	service, err := cwsandboxtest.Start(ctx)
	if err != nil {
		return err
	}
	defer service.Close()
	full := cwsandboxtest.Fail(codes.ResourceExhausted, "no room", cwsandboxtest.Reason(string(cwsandbox.ReasonRunnerCapacityExhausted)))
	service.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: full})
	err = service.Client().RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		fmt.Println("the clusters are full, the sandbox went to", sb.Info().Placement)
		return nil
	}, cwsandbox.WithSpillover(cwsandbox.SpilloverToServerless))
	if err != nil {
		return err
	}

	service.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Action: full})
	_, err = service.Client().Run(ctx, cwsandbox.WithSpillover(cwsandbox.SpilloverToServerless))
	if !errors.Is(err, cwsandbox.ErrPlacement) {
		return fmt.Errorf("there is room: %w", err)
	}
	fmt.Println("neither has room:", err)
	return nil
}
