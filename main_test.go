package cwsandbox_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestMain lets this binary host sandboxes, and gives the package-level functions, which examples use, a server.
func TestMain(m *testing.M) {
	cwsandboxtest.Init() // the helper processes of a server with isolated sandboxes end up here, and remote functions
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runWithServer runs everything and expects that the examples have stopped what they made.
func runWithServer(m *testing.M) (code int, err error) {
	server, err := cwsandboxtest.Start(context.Background(),
		cwsandboxtest.WithCommand("python", python), cwsandboxtest.WithCommand("web-server", webSite(0, greet)))
	if err != nil {
		return 0, err
	}
	// Not the server's own Client, which is tracked apart: examples show what the end of a program does.
	client, err := cwsandbox.NewClient(
		cwsandbox.WithBaseURL(server.URL()), cwsandbox.WithAPIKey(server.APIKey()), cwsandbox.WithRootCAs(server.RootCAs()))
	if err != nil {
		return 0, errors.Join(err, server.Close())
	}
	cwsandbox.SetDefaultClient(client)
	code = m.Run()
	return code, errors.Join(noneLeft(client), client.Close(), server.Close())
}

// noneLeft expects that everything has ended, or is about to: that is all that the end of a program waits for.
func noneLeft(client *cwsandbox.Client) error {
	for sb, err := range client.List(context.Background()) {
		if err != nil {
			return err
		}
		if state := sb.Info().State; state != cwsandbox.StateTerminating {
			return fmt.Errorf("examples have left %s, which is %v", sb.ID(), state)
		}
	}
	return nil
}

// python knows one program, as an argument or in a file.
var python = cwsandboxtest.Command{Run: func(_ context.Context, p *cwsandboxtest.Proc) int {
	program := p.Argv[len(p.Argv)-1]
	if p.Argv[1] != "-c" {
		content, err := p.Files.ReadFile(program)
		if err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 2
		}
		program = string(content)
	}
	if program != "print(6 * 7)" {
		fmt.Fprintln(p.Stderr, "SyntaxError: invalid syntax")
		return 1
	}
	fmt.Fprintln(p.Stdout, 42)
	return 0
}}
