package rpcerr

import (
	"strings"

	"google.golang.org/grpc/codes"
)

// Transient reports whether the failure may pass by itself, so that a call that is safe to repeat is worth repeating.
// A known reason of the service decides; without one the code does. The end of the caller's context, local causes and
// messages over the size limit do not pass.
func Transient(e *Error) bool {
	switch {
	case e.Context != nil, e.Err != nil, IsMessageSize(e):
		return false
	case e.Decides():
		return transientReasons[e.Reason]
	}
	switch e.Status.Code() {
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		return true
	}
	return false
}

// IsMessageSize reports whether a gRPC library, on either side, refused a message for its size. It uses the code of
// quota and pressure for that, and only the text tells them apart.
func IsMessageSize(e *Error) bool {
	text := e.Status.Message()
	return e.Status.Code() == codes.ResourceExhausted && !e.Trusted() &&
		strings.Contains(text, "message") && strings.Contains(text, "larger than max")
}
