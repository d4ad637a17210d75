package cwsandbox_test

import (
	"context"
	"fmt"

	"github.com/cwsandbox/cwsandbox-go"
)

func ExampleCleanup() {
	ctx := context.Background()
	for range 2 {
		if _, err := cwsandbox.Run(ctx); err != nil {
			fmt.Println(err)
			break
		}
	}
	fmt.Println("tracked:", cwsandbox.Tracked())

	err := cwsandbox.Cleanup(ctx) // in main it would be deferred; an error names the sandboxes that it could not stop
	fmt.Println("tracked:", cwsandbox.Tracked(), err)
	// Output:
	// tracked: 2
	// tracked: 0 <nil>
}

func ExampleMain() {
	work := func(ctx context.Context) error { // ctx ends when a signal arrives
		sb, err := cwsandbox.Run(ctx)
		if err != nil {
			return err
		}
		out, err := sb.Output(ctx, "echo", "hello")
		fmt.Printf("%s", out)
		return err // the sandbox was never stopped: Main does that
	}
	cwsandbox.Main(work)
	fmt.Println("tracked:", cwsandbox.Tracked())
	// Output:
	// hello
	// tracked: 0
}

func ExampleSession_Adopt() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := cwsandbox.NewSession()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.Adopt(sb), session.Len())
	fmt.Println(session.Close(), sb.Info().State.Terminal())
	// Output:
	// <nil> 1
	// <nil> true
}
