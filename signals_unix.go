//go:build unix

package cwsandbox

import (
	"os"
	"syscall"
)

// endingSignals are the signals after which a program normally ends and can still do something.
var endingSignals = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// forces reports whether sig, as a second one, ends the program at once. A closing terminal may send SIGHUP more than once.
func forces(sig os.Signal) bool { return sig != syscall.SIGHUP }

// exitAtOnce ends the process as a shell reports a death by sig.
func exitAtOnce(sig os.Signal) { os.Exit(128 + int(sig.(syscall.Signal))) }
