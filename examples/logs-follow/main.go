// Logs-follow shows what the main process of a sandbox prints, as it appears. Half way it lets go of the log, and goes on
// at the same place, as another program could. The end of the log is what the process prints while it is being stopped.
//
//	go run ./examples/logs-follow
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

const program = `
trap 'echo "cleaning up"; exit 0' TERM
n=0
while :; do
	n=$((n + 1))
	echo "step $n"
	sleep 0.2
done
`

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithCommand("sh", "-c", program), cwsandbox.WithMaxLifetime(5*time.Minute))
	if err != nil {
		return err
	}
	stop := sb.Stop() // sends nothing yet
	defer func() {
		result, stopErr := stop.Wait()
		err = errors.Join(err, stopErr)
		fmt.Printf("the log has ended: %s\n", result.Info.State)
	}()

	tail, err := cwsandbox.Collect(sb.Logs(ctx, cwsandbox.WithTail(2)))
	if err != nil {
		return err
	}
	fmt.Println("the last 2 lines so far:", len(tail))

	var cursor cwsandbox.LogCursor
	lines := 0
	for line, err := range sb.Logs(ctx, cwsandbox.WithFollow()) {
		if err != nil {
			return err
		}
		show(line)
		cursor = line.Cursor // two values, which can be kept anywhere
		if lines++; lines == 2 {
			break
		}
	}
	fmt.Printf("left the log after %d lines, at byte %d of session %s\n", lines, cursor.Offset, cursor.Session)

	for line, err := range sb.Logs(ctx, cwsandbox.WithFollow(), cwsandbox.WithCursor(cursor)) {
		if err != nil {
			return err
		}
		show(line)
		if lines++; lines == 5 {
			fmt.Println("stopping")
			stop.Start()
		}
	}
	return nil
}

func show(line cwsandbox.LogLine) {
	fmt.Printf("%s  %s\n", line.Time.Local().Format("15:04:05.000"), line.Text)
}
