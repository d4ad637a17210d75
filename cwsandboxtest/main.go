package cwsandboxtest

import (
	"os"
	"testing"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
)

// Main runs the tests of a package that starts servers with [Processes] and exits:
//
//	func TestMain(m *testing.M) { cwsandboxtest.Main(m) }
//
// Isolated sandboxes need helper processes, for which the server starts its own program again. Main recognizes them. It also
// does what [cwsandbox.ServeFuncs] does.
func Main(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

// Init does for a program that is not a test what [Main] does for one: it must be the first statement of a main that
// starts a server with [Processes]. In a helper process, and in one that serves a function, it does not return; otherwise it
// returns at once.
func Init() {
	process.Main()
	cwsandbox.ServeFuncs()
}
