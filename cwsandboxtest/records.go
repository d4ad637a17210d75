package cwsandboxtest

import (
	"context"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/faults"
)

// Call is what the server knows about one call. It prints without request and metadata, which may hold secrets, and
// has these fields:
//
//	Number    int           // counts every call of the server, from 1
//	Nth       int           // counts the calls of the method, from 1
//	Method    string        // such as "CreateSandbox"
//	SandboxID string        // which the request is about, or which the call created
//	Request   proto.Message // a copy; of a stream its first message; do not change it
//	Metadata  metadata.MD   // credentials included
//	Peer      string        // address of the connection, different for each one
//	Start     time.Time
//	End       time.Time     // zero while the call is going on
//	Err       error         // how the server ended the call
//	Executed  bool          // no rule kept the call from the server
//	FramesIn  int           // messages received
//	FramesOut int           // messages sent
type Call = faults.Call

// Calls returns the calls of a method such as "CreateSandbox", or of all methods for "*", oldest first. Those that are
// still going on are among them. The oldest are forgotten when the requests of all exceed 256 MiB.
func (s *Server) Calls(method string) []Call { return s.layer.Calls(method) }

// CallsFor returns the calls that were about a sandbox, oldest first, the one that created it included.
func (s *Server) CallsFor(sandboxID string) []Call { return s.layer.CallsFor(sandboxID) }

// Received is the number of calls of a method, or of all methods for "*", that arrived, retries included.
func (s *Server) Received(method string) int { return s.layer.Received(method) }

// Executed is the number of calls of a method, or of all methods for "*", that no rule kept from the server. It tells
// effects from attempts.
func (s *Server) Executed(method string) int { return s.layer.Executed(method) }

// WaitForCalls waits until n calls of a method, or of all methods for "*", have arrived.
func (s *Server) WaitForCalls(ctx context.Context, method string, n int) error {
	return s.layer.WaitForCalls(ctx, method, n)
}
