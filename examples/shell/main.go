// Shell opens an interactive shell in a sandbox, at the terminal that it is started from. The sandbox is stopped when the
// shell exits, or when the program is interrupted.
//
//	go run ./examples/shell
//	go run ./examples/shell /bin/sh
//	echo 'echo $((6 * 7))' | go run ./examples/shell
//
// Where its input is no terminal, it feeds the shell from there. Its exit code is the shell's. Without CWSANDBOX_API_KEY it
// needs no account: it starts a local server in its own process.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

func main() {
	stop := demo.Serve()
	defer stop()
	code := 0
	cwsandbox.Main(func(ctx context.Context) (err error) {
		code, err = run(ctx)
		return err
	})
	if code != 0 {
		stop()
		os.Exit(code) // everything is stopped by now
	}
}

func run(ctx context.Context) (code int, err error) {
	argv := os.Args[1:]
	if len(argv) == 0 {
		argv = []string{"/bin/bash"}
	}
	err = cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		res, err := interactive(ctx, sb, argv)
		if errors.Is(err, cwsandbox.ErrInvalidArgument) || errors.Is(err, errors.ErrUnsupported) {
			res, err = fed(ctx, sb, argv)
		}
		if err != nil {
			return err
		}
		code = res.ExitCode
		return nil
	}, cwsandbox.WithMaxLifetime(time.Hour))
	return code, err
}

// interactive connects the shell to the user's terminal. If there is none, or not one that can be used, it says so in its
// error, and nothing was read.
func interactive(ctx context.Context, sb *cwsandbox.Sandbox, argv []string) (*cwsandbox.Result, error) {
	term, err := sb.Shell(ctx, argv, cwsandbox.WithEnv("TERM", cmp.Or(os.Getenv("TERM"), "dumb")))
	if err != nil {
		return nil, err
	}
	defer term.Close()
	return term.Interact(os.Stdin, os.Stdout)
}

// fed runs the shell without a terminal.
func fed(ctx context.Context, sb *cwsandbox.Sandbox, argv []string) (*cwsandbox.Result, error) {
	fmt.Fprintln(os.Stderr, "the input is no terminal: the shell reads its commands from there")
	return sb.Exec(ctx, argv,
		cwsandbox.WithStdin(os.Stdin), cwsandbox.WithStdout(os.Stdout), cwsandbox.WithStderr(os.Stderr))
}
