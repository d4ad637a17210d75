package faults

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// Domain is where the service's reasons come from.
const Domain = "cwsandbox.com"

// detailsKey is the trailer that carries the details of a status.
const detailsKey = "grpc-status-details-bin"

// A Detail adds something to the error that [Fail], [FailAfter] or [EndStatus] answers with.
type Detail func(*failure)

// failure is an error answer.
type failure struct {
	status  *spb.Status
	info    *errdetails.ErrorInfo
	request *errdetails.BadRequest
	extra   []proto.Message
	raw     []string // trailer values, in place of the details
}

// Reason sets the reason. Its domain is [Domain] unless [ReasonDomain] sets another one.
func Reason(reason string) Detail {
	return func(f *failure) { f.errorInfo().Reason = reason }
}

// ReasonDomain sets the domain of the reason.
func ReasonDomain(domain string) Detail {
	return func(f *failure) { f.errorInfo().Domain = domain }
}

// Metadata adds a pair to the metadata of the reason.
func Metadata(key, value string) Detail {
	return func(f *failure) {
		info := f.errorInfo()
		if info.Metadata == nil {
			info.Metadata = make(map[string]string)
		}
		info.Metadata[key] = value
	}
}

// RetryAfter asks the client to wait for d before it tries again. Zero and negative delays are sent as they are.
func RetryAfter(d time.Duration) Detail {
	return Extra(&errdetails.RetryInfo{RetryDelay: durationpb.New(d)})
}

// Violation names a field of the request and what is wrong with it.
func Violation(field, description string) Detail {
	return func(f *failure) {
		if f.request == nil {
			f.request = new(errdetails.BadRequest)
		}
		v := &errdetails.BadRequest_FieldViolation{Field: field, Description: description}
		f.request.FieldViolations = append(f.request.FieldViolations, v)
	}
}

// Extra adds a message to the details, behind the reason and the violations. It may be given several times, also with
// types that are there already.
func Extra(m proto.Message) Detail {
	return func(f *failure) { f.extra = append(f.extra, m) }
}

// RawDetails sends the values as they are in the trailer that carries the details, decodable or not, one trailer each.
// Other details are not sent then.
func RawDetails(values ...[]byte) Detail {
	return func(f *failure) {
		for _, v := range values {
			f.raw = append(f.raw, string(v))
		}
	}
}

func (f *failure) errorInfo() *errdetails.ErrorInfo {
	if f.info == nil {
		f.info = &errdetails.ErrorInfo{Domain: Domain}
	}
	return f.info
}

// newFailure panics on what cannot be an error.
func newFailure(code codes.Code, text string, details []Detail) *failure {
	if code == codes.OK {
		panic("faults: an error needs a code other than OK")
	}
	f := &failure{status: &spb.Status{Code: int32(code), Message: text}}
	for _, add := range details {
		add(f)
	}
	if len(f.raw) == 0 {
		f.pack()
	}
	return f
}

// pack puts the details into the status.
func (f *failure) pack() {
	var all []proto.Message
	if f.info != nil {
		all = append(all, f.info)
	}
	if f.request != nil {
		all = append(all, f.request)
	}
	for _, m := range append(all, f.extra...) {
		packed, err := anypb.New(m)
		if err != nil {
			panic(fmt.Sprintf("faults: detail %T: %v", m, err))
		}
		f.status.Details = append(f.status.Details, packed)
	}
}

// send returns the error to end the call with.
func (f *failure) send(ctx context.Context) error {
	if len(f.raw) > 0 {
		if err := grpc.SetTrailer(ctx, metadata.MD{detailsKey: f.raw}); err != nil {
			return err
		}
	}
	return status.ErrorProto(f.status)
}
