package cwsandbox

import (
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// raise sends sig to the calling thread: it has arrived before raise returns, so that nobody has to guess how long the
// process takes to die, or whether a signal that comes later is this one.
func raise(sig os.Signal) (arrived bool) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	unix.Tgkill(os.Getpid(), unix.Gettid(), sig.(syscall.Signal))
	return true
}
