//go:build unix && !linux

package cwsandbox

import (
	"os"
	"syscall"
	"time"
)

// raise sends sig to the process and gives it a moment to die: any thread may get the signal.
func raise(sig os.Signal) (arrived bool) {
	syscall.Kill(os.Getpid(), sig.(syscall.Signal))
	time.Sleep(100 * time.Millisecond)
	return false // most likely it has
}
