//go:build linux

// Command without is the program that knows nothing of the SDK.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cwsandbox/cwsandbox-go/internal/endings"
	"github.com/cwsandbox/cwsandbox-go/internal/endings/program"
)

func main() { program.Run(nothing{}) }

type nothing struct{}

func (nothing) Work(_ context.Context, _ endings.Cell, ready func()) <-chan struct{} {
	ready()
	done := make(chan struct{})
	close(done)
	return done
}

func (nothing) Main(fn func(context.Context) error) {
	if err := fn(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func (nothing) Exit(code int)          { os.Exit(code) }
func (nothing) DisableSignalHandling() {}
func (nothing) Cleanup()               {}
