// Streaming-exec shows the output of a command as it appears, in three ways: copied to the program's own output, read line
// by line, and from a command that was written for os/exec.
//
//	go run ./examples/streaming-exec
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

const count = `for n in 1 2 3; do echo "step $n"; sleep 0.2; done; echo "no step 4" >&2; exit 4`

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		return errors.Join(copied(ctx, sb), lines(ctx, sb), moved(ctx, sb))
	}, cwsandbox.WithMaxLifetime(5*time.Minute))
}

// copied has the output written to writers while the command runs.
func copied(ctx context.Context, sb *cwsandbox.Sandbox) error {
	fmt.Println("copied:")
	res, err := sb.Exec(ctx, []string{"sh", "-c", count}, cwsandbox.WithStdout(os.Stdout), cwsandbox.WithStderr(os.Stdout))
	if err != nil {
		return err
	}
	fmt.Println("exit code:", res.ExitCode)
	return nil
}

// lines reads the output while the command runs.
func lines(ctx context.Context, sb *cwsandbox.Sandbox) error {
	fmt.Println("line by line:")
	p, err := sb.StartProcess(ctx, []string{"sh", "-c", count})
	if err != nil {
		return err
	}
	start := time.Now()
	for scanner := bufio.NewScanner(p.Stdout()); scanner.Scan(); {
		fmt.Printf("after %v: %s\n", time.Since(start).Round(100*time.Millisecond), scanner.Text())
	}
	res, err := p.Wait() // says also why the reader has ended, should that be no good end
	if err != nil {
		return err
	}
	fmt.Printf("it had something to say, too: %s", res.Stderr)
	return nil
}

// moved was once a program that used exec.CommandContext.
func moved(ctx context.Context, sb *cwsandbox.Sandbox) error {
	fmt.Println("as with os/exec:")
	cmd := sb.Command(ctx, "sh", "-c", count)
	cmd.Stderr = os.Stdout
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := io.Copy(os.Stdout, stdout); err != nil {
		return err
	}
	var exit *cwsandbox.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		return fmt.Errorf("it should have failed: %w", err)
	}
	fmt.Println("exit code:", exit.ExitCode())
	return nil
}
