package cwsandbox

import (
	"os"
	"syscall"
)

// controlCExit is the exit code of a program that Ctrl+C has ended, 0xC000013A, as the int32 that every int can hold.
const controlCExit = 0xC000013A - 1<<32

// endingSignals: os.Interrupt is Ctrl+C and Ctrl+Break, SIGTERM the end of the console, of the session and of the system.
var endingSignals = []os.Signal{os.Interrupt, syscall.SIGTERM}

func forces(os.Signal) bool { return true }

func exitAtOnce(os.Signal) { os.Exit(controlCExit) }

// raise ends the process as Windows would: a control event cannot be raised for this process alone.
func raise(sig os.Signal) (arrived bool) {
	exitAtOnce(sig)
	return true
}
