// Command cwsandbox-local serves the sandbox API on this machine, for development without an account. Its sandboxes are
// processes of this machine, as isolated as it allows; that is not a security boundary against hostile code.
//
// It prints what to put into the environment of programs that use it, serves until SIGINT or SIGTERM, stops every
// sandbox then and exits with 0. A second signal ends it at once.
//
//	go run github.com/cwsandbox/cwsandbox-go/cmd/cwsandbox-local
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
)

func main() {
	process.Main()
	signaled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, end := context.WithCancel(context.Background())
	context.AfterFunc(signaled, func() {
		stop() // a second signal takes its normal course, from the moment when the shutdown begins
		end()
	})
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "cwsandbox-local:", err)
		os.Exit(1)
	}
}
