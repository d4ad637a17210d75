package cwsandbox

import (
	"fmt"
	"strings"
	"time"
)

// reportPatience is how long the end of a program waits for standard error.
const reportPatience = 200 * time.Millisecond

// report says what a cleanup at the end of the program came to: how many sandboxes were stopped, and each one that may
// still be running, so that a person can act.
func report(stopped int, left []error) string {
	var b strings.Builder
	fmt.Fprintf(&b, "cwsandbox: stopped %d of %d\n", stopped, stopped+len(left))
	for _, err := range left {
		fmt.Fprintf(&b, "%v: it may still be running\n", err)
	}
	return b.String()
}

// complain writes text to standard error, but waits for it no longer than a moment, and survives that nobody reads it.
func complain(text string) {
	out, err := duplicateStderr()
	if err != nil {
		return // there is none
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer out.Close()
		out.WriteString(text)
	}()
	select {
	case <-written:
	case <-time.After(reportPatience):
	}
}
