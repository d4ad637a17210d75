package cwsandboxtest

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
)

// Rule says which calls go wrong and how. It has these fields:
//
//	Method string          // such as "CreateSandbox"; "*" is every method that the action fits
//	When   func(Call) bool // picks among the calls; nil: all. Of a stream it sees the first message
//	After  int             // lets that many of these calls pass first
//	Times  int             // how often the rule acts; 0: always
//	Action Action          // what happens
//
// Of several rules that fit a call, the one that was added first acts, alone. Rules come before credentials and
// requests are checked.
type Rule = faults.Rule

// Handle is a rule in force. Its method Hits counts the calls that the rule has acted on. Its method Release ends the
// rule and lets the calls go on that it holds.
type Handle = faults.Handle

// Action is what a [Rule] does to a call.
type Action = faults.Action

// Detail adds something to an error of [Fail], [FailAfter] or [EndStatus].
type Detail = faults.Detail

// Point is a place in the messages that a stream sends, see [CutStream].
type Point = faults.Point

// Ending is how [CutStream] ends a stream.
type Ending = faults.Ending

// Inject adds a rule. It panics when the rule can never act, because there is no such method or the action does not
// fit it. Closing the server ends all rules.
//
//	srv.Inject(cwsandboxtest.Rule{
//		Method: "GetSandbox",
//		Times:  2,
//		Action: cwsandboxtest.Fail(codes.Unavailable, "try again", cwsandboxtest.RetryAfter(time.Second)),
//	})
func (s *Server) Inject(r Rule) *Handle { return s.layer.Add(r) }

// Fail answers with an error; the call has no effect. The code must not be [codes.OK].
func Fail(code codes.Code, text string, details ...Detail) Action {
	return faults.Fail(code, text, details...)
}

// FailAfter lets the call have its effect and answers with an error in place of success.
func FailAfter(code codes.Code, text string, details ...Detail) Action {
	return faults.FailAfter(code, text, details...)
}

// DropResponse lets the call have its effect and cuts the connection in place of the answer, of a stream in place of
// its first message.
func DropResponse() Action { return faults.DropResponse() }

// CutConnection cuts the connection; the call has no effect. Other calls on the connection end with it.
func CutConnection() Action { return faults.CutConnection() }

// GoAway tells the client to use another connection for new calls; open ones go on.
func GoAway() Action { return faults.GoAway() }

// Delay holds the call for d before it has an effect.
func Delay(d time.Duration) Action { return faults.Delay(d) }

// DelayAfter lets the call have its effect and holds its end for d.
func DelayAfter(d time.Duration) Action { return faults.DelayAfter(d) }

// Hang gives no answer until the client gives up. When the rule is released the call goes on.
func Hang() Action { return faults.Hang() }

// CutStream ends a stream at a place, unless it ends before. The command behind it sees a client that has gone.
func CutStream(at Point, how Ending) Action { return faults.CutStream(at, how) }

// Frames is the place behind the first n messages of a stream. At 0 the call has no effect.
func Frames(n int) Point { return faults.Frames(n) }

// Bytes is the place behind the first n bytes, at least one, of output or log data.
func Bytes(n int) Point { return faults.Bytes(n) }

// EndStatus ends a stream with an error.
func EndStatus(code codes.Code, text string, details ...Detail) Ending {
	return faults.EndStatus(code, text, details...)
}

// EndConnection ends a stream by cutting its connection.
func EndConnection() Ending { return faults.EndConnection() }

// EndOK ends a stream with success although its last message has not been sent.
func EndOK() Ending { return faults.EndOK() }

// InBandError sends the error message of a stream after n other messages, and then ends it with success. The codes of
// such messages are those of streams, such as "STREAM_BACKPRESSURE".
func InBandError(n int, code, text string) Action { return faults.InBandError(n, code, text) }

// Stall sends n messages of a stream and then neither sends nor reads until the rule is released.
func Stall(n int) Action { return faults.Stall(n) }

// WithholdReady keeps back the message that says that a command has started. It and all that follows come d later, or
// when the rule is released; with d zero it never comes, and the rest comes in time.
func WithholdReady(d time.Duration) Action { return faults.WithholdReady(d) }

// Mutate lets fn change a copy of each message that the server sends. fn must be safe for concurrent use.
func Mutate(fn func(m proto.Message)) Action { return faults.Mutate(fn) }

// Reason sets the reason of an error, such as "CWSANDBOX_RUNNER_OVERLOADED", in the service's domain.
func Reason(reason string) Detail { return faults.Reason(reason) }

// ReasonDomain sets another domain for the reason.
func ReasonDomain(domain string) Detail { return faults.ReasonDomain(domain) }

// Metadata adds a pair to the metadata of the reason.
func Metadata(key, value string) Detail { return faults.Metadata(key, value) }

// RetryAfter asks the client to wait for d before it tries again.
func RetryAfter(d time.Duration) Detail { return faults.RetryAfter(d) }

// Violation names a field of the request and what is wrong with it.
func Violation(field, description string) Detail { return faults.Violation(field, description) }

// Extra adds any message to the details of an error.
func Extra(m proto.Message) Detail { return faults.Extra(m) }

// RawDetails sends the values, decodable or not, in place of all other details of an error.
func RawDetails(values ...[]byte) Detail { return faults.RawDetails(values...) }
