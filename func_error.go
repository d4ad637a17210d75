package cwsandbox

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// RemoteError is an error that a [Func] has returned in a sandbox, its panic, or that its input could not be decoded or its
// result not encoded there. It matches those of the errors given to [NewFunc] that the function's own error has matched.
type RemoteError struct {
	Func    string // its name
	Message string // the text of the error, or of the value of the panic; of a longer one the first 64 KiB
	Type    string // of the error or the value in Go's notation, such as *fs.PathError; for runtime.Goexit it is empty
	Panic   bool   // the function has not returned; it has panicked or called runtime.Goexit
	Stack   string // of the goroutine that panicked

	matches []error
}

// Error returns the message; that of a panic says so.
func (e *RemoteError) Error() string {
	if e.Panic {
		return "panic: " + e.Message
	}
	return e.Message
}

// Unwrap returns those of the errors given to NewFunc that the function's own error has matched.
func (e *RemoteError) Unwrap() []error { return e.matches }

// The kinds of a failure.
const (
	failedError   = "error"
	failedPanic   = "panic"
	failedUnknown = "unknown" // the program has no such function
)

// funcFailure is why a call has no result, as it travels.
type funcFailure struct {
	Kind    string
	Message string
	Type    string `json:",omitempty"`
	Stack   string `json:",omitempty"`
	Matches []int  `json:",omitempty"` // indices of the errors given to NewFunc
}

// maxMessage bounds what is sent of the text of an error: JSON may make it six times as long, and it shares its part of the
// answer with a stack.
const maxMessage = 64 << 10

// failureOf describes an error that a function has returned or panicked with.
func failureOf(kind string, value any, errs []error) *funcFailure {
	f := &funcFailure{Kind: kind, Message: fmt.Sprint(value), Type: fmt.Sprintf("%T", value)}
	if n := len(f.Message); n > maxMessage {
		f.Message = fmt.Sprintf("%s… (the first of %d bytes)", f.Message[:maxMessage], n)
	}
	err, _ := value.(error)
	for i, known := range errs {
		if errors.Is(err, known) {
			f.Matches = append(f.Matches, i)
		}
	}
	return f
}

// maxStack bounds what is sent of a stack. That of an endless recursion is cut by the runtime already.
const maxStack = 64 << 10

// panicked describes the end of a function that has not returned. The value is nil after runtime.Goexit.
func panicked(value any, errs []error) *funcFailure {
	if value == nil {
		return &funcFailure{Kind: failedPanic, Message: "the function called runtime.Goexit"}
	}
	f := failureOf(failedPanic, value, errs)
	stack := debug.Stack()
	f.Stack = string(stack[:min(len(stack), maxStack)])
	return f
}

// failed is the error of a call that has failed in the sandbox.
func (f *Func[In, Out]) failed(c call, why *funcFailure) error {
	if why.Kind == failedUnknown {
		return c.refuse(why.Message, errors.ErrUnsupported)
	}
	remote := &RemoteError{
		Func: f.name, Message: why.Message, Type: why.Type, Panic: why.Kind == failedPanic, Stack: why.Stack,
	}
	for _, i := range why.Matches {
		if i >= 0 && i < len(f.errs) {
			remote.matches = append(remote.matches, f.errs[i])
		}
	}
	return c.refuse(remote.Error(), remote)
}
