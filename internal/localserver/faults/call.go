package faults

import (
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A Call is what the server knows about one call at one moment.
type Call struct {
	Number int    // counts every call of the server, from 1
	Nth    int    // counts the calls of the method, from 1
	Method string // short name
	// SandboxID is the sandbox that the request names, or that the answer to a create made.
	SandboxID string
	// Request is a copy of the request, of a stream that of its first message. Records share it: do not change it.
	// It is nil while a stream has sent nothing.
	Request  proto.Message
	Metadata metadata.MD // credentials included
	Peer     string      // address of the connection, different for each one
	Start    time.Time
	End      time.Time // zero while the call is going on
	// Err is how the call ended: nil or an error with a gRPC status. The client may have seen something else when the
	// connection was cut.
	Err       error
	Executed  bool // no rule kept the call from the server behind the layer
	FramesIn  int  // messages received
	FramesOut int  // messages that were handed to the connection
}

// String tells calls apart. It leaves out request and metadata, which may hold secrets.
func (c Call) String() string {
	outcome := "running"
	if !c.End.IsZero() {
		outcome = status.Code(c.Err).String()
	}
	return fmt.Sprintf("call %d: %s %d %s: %s", c.Number, c.Method, c.Nth, c.SandboxID, outcome)
}

// GoString is String: printing a record must never print a credential.
func (c Call) GoString() string { return c.String() }

// LogValue is String, for the same reason.
func (c Call) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String, for the same reason: a JSON log writes slices of records by it.
func (c Call) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
