// Batch-ctrl-c runs a batch of jobs, each in a sandbox of its own. Press Ctrl+C while they work: all sandboxes are stopped
// before the program dies.
//
//	go run ./examples/batch-ctrl-c
//	go run ./examples/batch-ctrl-c -jobs 20 -seconds 60
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"sync/atomic"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var (
	jobs    = flag.Int("jobs", 5, "how many jobs there are")
	seconds = flag.Int("seconds", 2, "how long each of them works")
)

func main() {
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run) // a signal ends its context; what run does not stop by itself then, Main does
}

func run(ctx context.Context) error {
	session, err := cwsandbox.NewSession(cwsandbox.WithTags("batch"), cwsandbox.WithRunTag())
	if err != nil {
		return err
	}
	defer session.Close()

	var working atomic.Int64
	var futures []*cwsandbox.Future[string]
	for i := range *jobs {
		futures = append(futures, cwsandbox.Go(func() (answer string, err error) {
			err = session.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
				if working.Add(1) == int64(*jobs) {
					fmt.Printf("%d sandboxes are working: press Ctrl+C, or wait %d seconds\n", *jobs, *seconds)
				}
				answer, err = job(ctx, sb, i+1)
				return err
			})
			return answer, err
		}))
	}
	answers, err := cwsandbox.WaitAll(ctx, futures...)
	for _, answer := range answers {
		fmt.Print(answer)
	}
	if err != nil {
		return err
	}
	fmt.Println("sandboxes left:", cwsandbox.Tracked())
	return nil
}

// job works for some time and has something to say at its end.
func job(ctx context.Context, sb *cwsandbox.Sandbox, number int) (string, error) {
	script := `sleep "$0"; echo "job $1 is done"`
	out, err := sb.Output(ctx, "sh", "-c", script, strconv.Itoa(*seconds), strconv.Itoa(number))
	return string(out), err
}
