package transport

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// class says which failures of a method are worth another attempt, and safe.
type class int

const (
	never  class = iota // an unknown method, or one that must not happen twice
	read                // no side effect
	write               // sets an absolute value: twice is once
	token               // repeats are recognized by a request id
	remove              // what is gone stays gone
)

// frozen reports whether all attempts must send the same bytes. It also keeps a request that cannot be encoded from being
// taken for a failure of the service, as grpc-go reports it.
func (c class) frozen() bool { return c == write || c == token || c == remove }

// repeats reports whether a call of the class may be tried again after e.
func (c class) repeats(e *rpcerr.Error) bool {
	switch c {
	case read, write:
		return rpcerr.Transient(e)
	case token:
		return rpcerr.Transient(e) && tokenRepeats(e)
	case remove:
		return rpcerr.Transient(e) || removeRepeats(e)
	}
	return false
}

// tokenRepeats leaves out what is better decided by the caller: a create whose time was over, and pressure that names
// no delay, which more attempts would add to.
func tokenRepeats(e *rpcerr.Error) bool {
	switch e.Status.Code() {
	case codes.Unavailable:
		return true
	case codes.ResourceExhausted:
		return e.HasRetryDelay || e.Decides()
	}
	return e.Decides()
}

// removeRepeats adds the failures that say nothing about whether the removal happened.
func removeRepeats(e *rpcerr.Error) bool {
	if e.Context != nil || e.Err != nil || e.Decides() {
		return false
	}
	switch e.Status.Code() {
	case codes.Canceled, codes.Internal, codes.Unknown:
		return true
	}
	return false
}

// removed reports whether e says that there is nothing to remove.
func removed(e *rpcerr.Error) bool {
	if !e.Decides() {
		return e.Status.Code() == codes.NotFound
	}
	switch e.Reason {
	case rpcerr.ReasonSandboxNotFound, rpcerr.ReasonFSSNotFound, rpcerr.ReasonVolumeNotFound:
		return true
	}
	return false
}

// route says which connections a method uses.
type route int

const (
	lifecycleRoute route = iota // never behind a crowd of open streams
	dataRoute                   // commands, logs and files
	controlRoute                // services of the control plane
)

// rule is what the table says about a method.
type rule struct {
	class   class
	route   route
	attempt time.Duration // bounds one attempt; zero: only the call's deadline does
	gated   bool          // attempts are let through maxDeletes at a time

	// adjust, when set, replaces the rule by one for this very request.
	adjust func(rule, any) rule
}

// ruleFor returns the rule for one call. A method that the table does not know is never repeated.
func ruleFor(method string, request any) rule {
	r := methods[method]
	if r.adjust != nil {
		r = r.adjust(r, request)
	}
	return r
}
