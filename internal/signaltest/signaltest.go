// Package signaltest helps tests that send signals to what they start.
package signaltest

import (
	"os"
	"os/signal"
	"syscall"
)

// Defaults has the programs that a test binary starts begin with the default of the signals that end them. A shell has what
// it starts in the background ignore SIGINT, and nohup has it ignore SIGHUP; whoever inherits that goes on ignoring them.
// For the binary itself nothing changes. It is to be called before the tests run.
func Defaults() {
	for _, sig := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if signal.Ignored(sig) {
			signal.Notify(make(chan os.Signal, 1), sig)
		}
	}
}
