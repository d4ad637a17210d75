// Quickstart runs a small program in a sandbox, shows its output as it appears, and reads back a file that it wrote.
//
//	go run ./examples/quickstart
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

const program = `
total=0
for n in 1 2 3 4 5; do
	square=$((n * n))
	total=$((total + square))
	echo "$n squared is $square"
	echo "$square" >>/tmp/squares.txt
	sleep 0.2
done
echo "the sum is $total"
`

func main() {
	cwsandboxtest.Init() // the local server starts this program again for each sandbox; this is where that ends up
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	client, closeClient, err := connect(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeClient()) }()

	sb, err := client.Run(ctx, cwsandbox.WithMaxLifetime(5*time.Minute))
	if err != nil {
		return err
	}
	defer func() {
		result, stopErr := sb.Stop().Wait()
		err = errors.Join(err, stopErr)
		fmt.Printf("stopped sandbox %s: %s\n", sb.ID(), result.Info.State)
	}()
	fmt.Printf("sandbox %s is %s\n", sb.ID(), sb.Info().State)

	res, err := sb.Exec(ctx, []string{"sh", "-ec", program},
		cwsandbox.WithStdout(os.Stdout), cwsandbox.WithStderr(os.Stderr), cwsandbox.WithTimeout(time.Minute))
	if err != nil {
		return err
	}
	fmt.Println("exit code:", res.ExitCode)
	if err := res.Err(); err != nil {
		return err
	}
	squares, err := sb.ReadFile(ctx, "/tmp/squares.txt")
	if err != nil {
		return err
	}
	fmt.Printf("the file it wrote: %q\n", squares)
	return nil
}

// connect returns a client of the service, if the environment says anything about one, and else one of a local server.
func connect(ctx context.Context) (*cwsandbox.Client, func() error, error) {
	if os.Getenv("CWSANDBOX_API_KEY") != "" || os.Getenv("CWSANDBOX_BASE_URL") != "" {
		client, err := cwsandbox.NewClient()
		if err != nil {
			return nil, nil, err
		}
		fmt.Println("using", client)
		return client, client.Close, nil
	}
	fmt.Println("neither CWSANDBOX_API_KEY nor CWSANDBOX_BASE_URL is set: using the embedded local server")
	server, err := cwsandboxtest.Start(ctx, cwsandboxtest.Processes())
	if err != nil {
		return nil, nil, err
	}
	fmt.Println("isolation of its sandboxes:", server.Isolation())
	for _, warning := range server.Warnings() {
		fmt.Println("note:", warning)
	}
	client := server.Client()
	return client, func() error { return errors.Join(client.Close(), server.Close()) }, nil
}
