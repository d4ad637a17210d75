package rpcerr

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// ErrClosed is the local cause of a call that the closing of its transport refused or ended.
	ErrClosed = errors.New("connection closed by this client")

	// ErrCredentials is the local cause of a call whose credentials could not be obtained. It wraps what went wrong.
	ErrCredentials = errors.New("obtain credentials")
)

// Error is a failed RPC, translated once. The service's answer, the end of the caller's context and a local cause are
// kept apart: errors.Is and errors.As see Context, Last and Err.
type Error struct {
	Method string         // full name: /package.Service/Method
	Status *status.Status // code and text as received; never nil
	Details

	Sent     bool // the request may have reached the service, in at least one attempt
	Attempts int  // how often the call was tried

	Context error // the error of the caller's own context and its cause; nil unless that ended the call
	Last    error // the failure, an *Error, that was about to be repeated when Context or Err ended the call
	Err     error // local cause: ErrClosed, ErrCredentials, or the error of a foreign interceptor
}

// GRPCStatus makes the status reachable for status.Code and status.FromError.
func (e *Error) GRPCStatus() *status.Status { return e.Status }

// Unwrap returns the causes that are not the service's answer.
func (e *Error) Unwrap() []error {
	var causes []error
	for _, cause := range []error{e.Context, e.Err, e.Last} {
		if cause != nil {
			causes = append(causes, cause)
		}
	}
	return causes
}

// Error returns one line: the method, what happened, violations and reason, and the number of attempts.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Method[strings.LastIndexByte(e.Method, '/')+1:])
	b.WriteString(": ")
	b.WriteString(e.what())
	if e.Attempts > 1 {
		fmt.Fprintf(&b, ", after %d attempts", e.Attempts)
	}
	var last *Error
	if errors.As(e.Last, &last) {
		b.WriteString("; last failure: " + last.what())
	}
	return oneLine(b.String())
}

func (e *Error) what() string {
	switch {
	case e.Context != nil:
		return e.Context.Error()
	case e.Err != nil:
		return e.Err.Error()
	}
	var b strings.Builder
	b.WriteString(codeText(e.Status.Code()))
	if text := e.Status.Message(); text != "" {
		b.WriteString(": " + text)
	}
	for i, v := range e.Violations {
		separator := "; "
		if i == 0 {
			separator = "; field violations: "
		}
		fmt.Fprintf(&b, "%s%s: %s", separator, v.Field, v.Description)
	}
	if e.Reason != "" {
		fmt.Fprintf(&b, " (%s)", e.Reason)
	}
	return b.String()
}

// codeText spells a code in words: "deadline exceeded".
func codeText(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// oneLine flattens line breaks and drops other control characters: the text is partly the service's.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, unicode.IsControl), " ")
}
