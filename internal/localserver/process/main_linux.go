package process

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A helper process is this program with a role as its name and, so that no other program's name is mistaken for it,
// the same role in its environment.
const (
	roleVariable   = "CWSANDBOX_PROCESS_ROLE"
	roleSupervisor = "cwsandbox-supervisor"
	roleInit       = "cwsandbox-init"
	roleIdle       = "cwsandbox-idle"

	// selfExecutable works also when the program's file has been replaced or cannot be seen from here. In a helper it is
	// the helper's; see helperExecutable.
	selfExecutable = "/proc/self/exe"
	// controlFD is where supervisor and init find the socket to the server.
	controlFD = 3
)

// mainCalled says that this program can play the roles when it is started again.
var mainCalled atomic.Bool

// Main must be called first thing in main by every program that hosts sandboxes. In a process that a runtime has
// started it does that process's work and does not return; otherwise it returns at once.
func Main() {
	mainCalled.Store(true)
	role := os.Getenv(roleVariable)
	if role == "" || len(os.Args) == 0 || os.Args[0] != role {
		return
	}
	var err error
	switch role {
	case roleSupervisor:
		err = runSupervisor()
	case roleInit:
		err = runInit()
	case roleIdle:
		idle()
	default:
		return
	}
	leave(role, err)
}

// leave ends a helper at once. It has nothing to flush, and os.Exit would wait for a second in programs that were built
// with the race detector.
func leave(role string, err error) {
	if err == nil {
		unix.Exit(0)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", role, err)
	unix.Exit(1)
}

// roleEnviron is the environment of a helper. It has little to do at once; with a single thread of Go code, though,
// what waits for its children would hold up what serves requests.
func roleEnviron(role string) []string {
	return []string{roleVariable + "=" + role, "GOMAXPROCS=2"}
}

// idle is the main process of a container that names no command: it waits for the signal that ends it.
func idle() {
	for {
		time.Sleep(time.Hour)
	}
}
