package cwsandbox_test

import (
	"context"
	"fmt"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
)

// A job that was killed has left sandboxes; the next one knows the tag.
func ExampleWithTags_stop() {
	ctx := context.Background()
	for range 3 {
		if _, err := cwsandbox.Create(ctx, cwsandbox.WithTags("job-7")); err != nil {
			fmt.Println(err)
			return
		}
	}

	stopped, err := cwsandbox.StopAll(ctx, cwsandbox.List(ctx, cwsandbox.WithTags("job-7")))
	fmt.Println("stopped", len(stopped), err)
	// Output: stopped 3 <nil>
}

// What a process creates can carry a tag of its own, which is worth a line in its log.
func ExampleWithRunTag() {
	ctx := context.Background()
	sb, err := cwsandbox.Create(ctx, cwsandbox.WithRunTag())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	for sb, err := range cwsandbox.List(ctx, cwsandbox.WithTags(cwsandbox.RunTag())) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(sb.Info().Tags[0] == cwsandbox.RunTag())
	}
	// Output: true
}

// What programs on this machine have left behind when they were killed is stopped, once it is ten minutes old.
func ExampleClient_Orphans() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	orphans := client.Orphans(ctx, cwsandbox.WithOlderThan(10*time.Minute))
	for sb, err := range orphans { // a dry run
		if err != nil {
			fmt.Println(err)
			return
		}
		owner := sb.Info().Owner
		fmt.Println(sb.ID(), "was created by process", owner.PID, "which began at", owner.Started)
	}
	stopped, err := cwsandbox.StopAll(ctx, orphans)
	fmt.Println("stopped", len(stopped), err)
	// Output: stopped 0 <nil>
}

func ExampleClient_Purge() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := client.NewSession(cwsandbox.WithTags("nightly"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	for range 2 {
		if _, err := session.Run(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}

	n, err := client.PurgeCount(ctx, cwsandbox.WithTags("nightly"))
	fmt.Println(n, err)
	result, err := client.Purge(ctx, cwsandbox.WithTags("nightly"))
	fmt.Println(result.Count, result.Failed, err)
	_, err = client.Purge(ctx) // selects nothing
	fmt.Println(err)
	// Output:
	// 2 <nil>
	// 2 [] <nil>
	// cwsandbox: purge: tags: must be at least one: only PurgeAll selects everything
}
