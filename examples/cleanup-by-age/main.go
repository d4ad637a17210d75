// Cleanup-by-age stops sandboxes that are older than they should be: a dry run shows them, then they are stopped.
//
//	go run ./examples/cleanup-by-age
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

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	tag := cwsandbox.RunTag()
	if err := demo.LeaveRemains(ctx, tag); err != nil {
		return err
	}
	left := time.Now()
	time.Sleep(time.Second) // what was left behind gets old
	young, err := cwsandbox.Run(ctx, cwsandbox.WithTags(tag))
	if err != nil {
		return err
	}
	defer func() {
		_, stopErr := young.Stop().Wait()
		err = errors.Join(err, stopErr)
	}()

	// What was left behind is at least this old, and the young one is not. A real limit would rather be an hour.
	age := time.Since(left) - time.Second/2

	// Age does not say whether somebody still needs a sandbox. The tag keeps this to sandboxes that are known to be ours;
	// without it these would be all old ones that the account can see.
	old, err := cwsandbox.Collect(cwsandbox.List(ctx, cwsandbox.WithTags(tag), cwsandbox.WithOlderThan(age)))
	if err != nil {
		return err
	}
	fmt.Printf("dry run: %d are older than %v\n", len(old), age.Round(time.Millisecond))
	for _, sb := range old {
		info := sb.Info()
		fmt.Printf("  %s is %s, made %v ago\n", info.ID, info.State, time.Since(info.CreateTime).Round(time.Millisecond))
	}

	var stops []*cwsandbox.Future[cwsandbox.StopResult]
	for _, sb := range old {
		stops = append(stops, sb.Stop())
	}
	if _, err := cwsandbox.WaitAll(ctx, stops...); err != nil { // all at once; the error names each that is left
		return err
	}
	fmt.Println("stopped", len(stops))
	info, err := young.Refresh(ctx)
	if err != nil {
		return err
	}
	fmt.Println("the young one is", info.State)
	return nil
}
