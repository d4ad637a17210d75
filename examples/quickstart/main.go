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
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
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
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithMaxLifetime(5*time.Minute))
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
