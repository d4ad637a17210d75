// Stdin feeds commands in a sandbox: from a reader, and through a pipe to one that answers.
//
//	go run ./examples/stdin
//	ls | go run ./examples/stdin
//
// What is piped into it is sorted in the sandbox; without anything it brings its own. Without CWSANDBOX_API_KEY it needs no
// account: it starts a local server in its own process.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		return errors.Join(sorted(ctx, sb), conversation(ctx, sb))
	}, cwsandbox.WithMaxLifetime(5*time.Minute))
}

// sorted has a command read to the end of its input.
func sorted(ctx context.Context, sb *cwsandbox.Sandbox) error {
	var input io.Reader = strings.NewReader("pear\napple\nplum\n")
	if info, err := os.Stdin.Stat(); err == nil && info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) == os.ModeNamedPipe {
		input = os.Stdin
	}
	res, err := sb.Exec(ctx, []string{"sort"}, cwsandbox.WithStdin(input))
	if err != nil {
		return err
	}
	fmt.Printf("sorted:\n%s", res.Stdout)
	return res.Err()
}

// conversation sends a line and reads the answer before it sends the next one.
func conversation(ctx context.Context, sb *cwsandbox.Sandbox) error {
	const answers = `while read -r a b; do echo "$a times $b is $((a * b))"; done; echo "no more questions"`
	p, err := sb.StartProcess(ctx, []string{"sh", "-c", answers}, cwsandbox.WithStdinPipe())
	if err != nil {
		return err
	}
	defer p.Cancel() // should something go wrong; of a command that has ended it changes nothing
	answer := bufio.NewScanner(p.Stdout())
	for _, question := range []string{"6 7", "12 12"} {
		if _, err := fmt.Fprintln(p.Stdin(), question); err != nil {
			return err
		}
		answer.Scan()
		fmt.Println(answer.Text())
	}
	if err := p.Stdin().Close(); err != nil {
		return err
	}
	answer.Scan()
	fmt.Println(answer.Text())
	res, err := p.Wait()
	return errors.Join(err, res.Err())
}
