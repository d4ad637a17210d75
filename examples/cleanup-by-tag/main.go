// Cleanup-by-tag ends what an earlier program has left behind, known by its tag: first it counts, then it purges.
//
//	go run ./examples/cleanup-by-tag
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"fmt"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	tag := cwsandbox.RunTag() // yours would be the name of a job, or the tag that a log line of the dead program tells
	if err := demo.LeaveRemains(ctx, tag); err != nil {
		return err
	}
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	for sb, err := range client.List(ctx, cwsandbox.WithTags(tag)) {
		if err != nil {
			return err
		}
		info := sb.Info()
		fmt.Printf("  %s is %s, made by process %d on %s\n", info.ID, info.State, info.Owner.PID, info.Owner.Host)
	}
	n, err := client.PurgeCount(ctx, cwsandbox.WithTags(tag)) // the dry run: whatever it counts would end
	if err != nil {
		return err
	}
	fmt.Println("a purge by this tag would end", n)

	result, err := client.Purge(ctx, cwsandbox.WithTags(tag))
	if err != nil {
		return err // result.Failed has the ids of those that could not be ended
	}
	fmt.Println("the purge has ended", result.Count)
	return nil
}
