//go:build linux

// Command with is the program that uses the SDK.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/endings/program"
	_ "github.com/cwsandbox/cwsandbox-go/reaper"
)

func main() { program.Run(sdk{}) }

type sdk struct{}

func (sdk) Main(fn func(context.Context) error) { cwsandbox.Main(fn) }
func (sdk) Exit(code int)                       { cwsandbox.Exit(code) }
func (sdk) DisableSignalHandling()              { cwsandbox.DisableSignalHandling() }

func (sdk) Cleanup() {
	if err := cwsandbox.Cleanup(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}
