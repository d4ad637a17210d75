package cwsandbox_test

import (
	"context"
	"fmt"

	"github.com/cwsandbox/cwsandbox-go"
)

// The sandbox lives as long as the function runs, whether it returns, fails or panics.
func ExampleRunFunc() {
	ctx := context.Background()
	err := cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		out, err := sb.Output(ctx, "echo", "hello")
		fmt.Printf("%s", out)
		return err
	})
	fmt.Println(err)
	// Output:
	// hello
	// <nil>
}

// What an earlier program has left behind under this tag becomes the session's own.
func ExampleSession_AdoptAll() {
	ctx := context.Background()
	for range 2 { // the earlier program
		sb, err := cwsandbox.Create(ctx, cwsandbox.WithTags("job-9"))
		if err != nil {
			fmt.Println(err)
			return
		}
		if err := sb.Detach(ctx); err != nil {
			fmt.Println(err)
			return
		}
	}

	session, err := cwsandbox.NewSession(cwsandbox.WithTags("job-9"))
	if err != nil {
		fmt.Println(err)
		return
	}
	adopted, err := session.AdoptAll(ctx)
	fmt.Println("adopted", len(adopted), err)
	fmt.Println("closed", session.Close(), session.Len())
	// Output:
	// adopted 2 <nil>
	// closed <nil> 0
}
