// Package rpcerr turns a failed RPC into one Go error: status, decoded google.rpc details, what ended the call, and
// whether the request may have reached the service. It also says which failures are worth another attempt.
package rpcerr

import (
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Domain is the error domain of the service. A reason counts only under exactly this domain.
const Domain = "cwsandbox.com"

// detailsKey is the trailer that carries a google.rpc.Status.
const detailsKey = "grpc-status-details-bin"

// A Violation is one fault of a request, as the service names it.
type Violation struct{ Field, Description string }

// Details is what the google.rpc details of a failed call say.
type Details struct {
	Reason        string // empty when there is none
	Domain        string // of the reason; anybody's, see Trusted
	Metadata      map[string]string
	RetryDelay    time.Duration // zero or negative delays ask for the client's own
	HasRetryDelay bool
	Violations    []Violation
}

// Trusted reports whether the reason is the service's own and may decide anything.
func (d Details) Trusted() bool { return d.Reason != "" && d.Domain == Domain }

// Decode reads the details from the trailer of a call. The trailer may hold several entries, and any part of it may be
// broken: what cannot be decoded is skipped and hides nothing else. The first reason and the first delay count, and
// the violations of all entries.
//
// It reads the raw trailer because grpc-go drops all details when the key is repeated, and replaces status and details
// when the code within differs from the code of the call.
func Decode(trailer metadata.MD) Details {
	var d Details
	for _, entry := range trailer.Get(detailsKey) {
		var st spb.Status
		if proto.Unmarshal([]byte(entry), &st) == nil {
			d.add(st.GetDetails())
		}
	}
	return d
}

func (d *Details) add(details []*anypb.Any) {
	for _, detail := range details {
		switch detail.MessageName() {
		case "google.rpc.ErrorInfo":
			var info errdetails.ErrorInfo
			if proto.Unmarshal(detail.GetValue(), &info) == nil {
				d.addReason(&info)
			}
		case "google.rpc.RetryInfo":
			var info errdetails.RetryInfo
			if proto.Unmarshal(detail.GetValue(), &info) == nil {
				d.addDelay(&info)
			}
		case "google.rpc.BadRequest":
			var bad errdetails.BadRequest
			if proto.Unmarshal(detail.GetValue(), &bad) == nil {
				d.addViolations(&bad)
			}
		}
	}
}

func (d *Details) addReason(info *errdetails.ErrorInfo) {
	if d.Reason == "" && info.GetReason() != "" {
		d.Reason, d.Domain, d.Metadata = info.GetReason(), info.GetDomain(), info.GetMetadata()
	}
}

func (d *Details) addDelay(info *errdetails.RetryInfo) {
	if !d.HasRetryDelay && info.GetRetryDelay().IsValid() { // a missing delay is not valid either
		d.RetryDelay, d.HasRetryDelay = info.GetRetryDelay().AsDuration(), true
	}
}

func (d *Details) addViolations(bad *errdetails.BadRequest) {
	for _, v := range bad.GetFieldViolations() {
		description := v.GetDescription()
		if description == "" {
			description = v.GetLocalizedMessage().GetMessage()
		}
		if description == "" {
			description = v.GetReason()
		}
		if v.GetField() != "" || description != "" {
			d.Violations = append(d.Violations, Violation{Field: v.GetField(), Description: description})
		}
	}
}

// Decides reports whether the reason alone says what the failure is, so that the code beside it does not count.
func (d Details) Decides() bool {
	_, known := transientReasons[d.Reason]
	return known && d.Trusted()
}
