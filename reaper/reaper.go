package reaper

import (
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

var process = newGuard()

// In the helper process this never returns.
func init() {
	runIfHelper()
	hook.Guard = process
}

// Protected reports whether the helper process runs and has confirmed everything that the program has to stop. It is false
// before the first sandbox, and while a client whose sandboxes the helper cannot stop has any. It is safe for concurrent
// use.
func Protected() bool { return process.protected() }
