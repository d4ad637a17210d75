// Package demo lets the examples run on a machine that has no account, and shows them the remains of another program. A
// program that is no example needs none of it.
package demo

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// Serve must be the first statement of an example's main. If the environment says nothing about the service, it starts a
// local server in this process, and tells the environment about that, so that this program and those that it starts use
// it. The function that it returns closes the server. A server that cannot start ends the program.
func Serve() (stop func()) {
	cwsandboxtest.Init() // the local server starts this program again for each sandbox; this is where that ends up
	leaveRemains()
	if os.Getenv("CWSANDBOX_API_KEY") != "" || os.Getenv("CWSANDBOX_BASE_URL") != "" {
		return func() {}
	}
	fmt.Println("neither CWSANDBOX_API_KEY nor CWSANDBOX_BASE_URL is set: using the embedded local server")
	server, err := cwsandboxtest.Start(context.Background(), cwsandboxtest.Processes())
	if err != nil {
		fail(err)
	}
	fmt.Println("isolation of its sandboxes:", server.Isolation())
	for _, warning := range server.Warnings() {
		fmt.Println("note:", warning)
	}
	for _, pair := range server.Env() {
		name, value, _ := strings.Cut(pair, "=")
		os.Setenv(name, value)
	}
	// The environment has no place for the authority of HTTPS endpoints that every system looks at.
	client, err := cwsandbox.NewClient(cwsandbox.WithRootCAs(server.RootCAs()))
	if err != nil {
		fail(err)
	}
	cwsandbox.SetDefaultClient(client)
	return func() {
		if err := server.Close(); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
