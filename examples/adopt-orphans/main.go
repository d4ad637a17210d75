// Adopt-orphans takes over what a killed program has left behind, finishes its work, and stops it.
//
//	go run ./examples/adopt-orphans
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"

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
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	session, err := client.NewSession(cwsandbox.WithTags(tag))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }() // stops what it has adopted

	orphans, err := cwsandbox.Collect(client.Orphans(ctx, cwsandbox.WithTags(tag)))
	if err != nil {
		return err
	}
	for _, sb := range orphans {
		owner := sb.Info().Owner
		fmt.Printf("%s is an orphan: process %d on %s is dead\n", sb.ID(), owner.PID, owner.Host)
		if err := session.Adopt(sb); err != nil {
			return err
		}
	}
	if runtime.GOOS != "linux" { // where no death can be proven, the tag has to do
		if orphans, err = session.AdoptAll(ctx); err != nil {
			return err
		}
	}
	fmt.Println("adopted:", session.Len())

	for _, sb := range orphans {
		out, err := sb.Output(ctx, "sh", "-c", `echo "part $PART is finished"`)
		if err != nil {
			return err
		}
		fmt.Printf("%s: %s", sb.ID(), out)
	}
	return nil
}
