//go:build linux

package cleanuptest

import (
	"fmt"
	"os"
	"testing"

	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
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
	signaltest.Defaults()
	os.Exit(m.Run())
}
