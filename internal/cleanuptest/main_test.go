//go:build linux

package cleanuptest

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
)

// TestMain makes this binary the program that the tests end, where its environment says so.
func TestMain(m *testing.M) {
	if script := scripts[os.Getenv(scriptVariable)]; script != nil {
		script()
		os.Exit(0)
	}
	if n, ok := os.LookupEnv(programVariable); ok {
		if err := program(n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	if signal.Ignored(syscall.SIGHUP) { // what tests start gets the default even under nohup
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	os.Exit(m.Run())
}
