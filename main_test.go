package cwsandbox_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestMain lets this binary host sandboxes, and gives the package-level functions, which examples use, a server.
func TestMain(m *testing.M) {
	cwsandboxtest.Init() // the helper processes of a server with isolated sandboxes end up here
	code, err := runWithServer(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runWithServer runs everything and expects that the examples have stopped what they made.
func runWithServer(m *testing.M) (code int, err error) {
	server, err := cwsandboxtest.Start(context.Background(), cwsandboxtest.WithCommand("python", python))
	if err != nil {
		return 0, err
	}
	cwsandbox.SetDefaultClient(server.Client())
	code = m.Run()
	if left := server.Active(); len(left) > 0 {
		err = fmt.Errorf("examples have left sandboxes running: %v", left)
	}
	if closeErr := server.Close(); err == nil {
		err = closeErr
	}
	return code, err
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
