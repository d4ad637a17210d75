//go:build unix

package cwsandbox

import (
	"os"
)

// ownStreams takes standard input and output for the conversation, out of the reach of the function and of what it starts:
// their input is empty, and what they print goes to standard error.
func ownStreams() (in, out *os.File, err error) {
	if in, err = privateCopy(os.Stdin); err != nil {
		return nil, nil, err
	}
	if out, err = privateCopy(os.Stdout); err != nil {
		return nil, nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, err
	}
	defer null.Close()
	if err := replace(int(null.Fd()), 0); err != nil {
		return nil, nil, os.NewSyscallError("dup2", err)
	}
	return in, out, os.NewSyscallError("dup2", replace(2, 1))
}
