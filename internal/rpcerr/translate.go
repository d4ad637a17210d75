package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// deadlineSkew is how much earlier than the caller's own timer a server may report the caller's deadline, which
// travels to it.
const deadlineSkew = 50 * time.Millisecond

// New translates the error of a call. The context is the caller's own, not one that this client has shortened. A
// deadline that the server reports just before the caller's timer fires is the caller's: New waits for the timer.
func New(ctx context.Context, method string, err error, trailer metadata.MD) *Error {
	e := &Error{Method: method}
	st, ok := status.FromError(err)
	if !ok {
		st = status.FromContextError(err)
		if st.Code() == codes.Unknown {
			e.Err = err
		}
	}
	e.Status = st
	e.Details = details(st, trailer)
	switch st.Code() {
	case codes.DeadlineExceeded:
		awaitDeadline(ctx)
		e.Context = ContextError(ctx)
	case codes.Canceled:
		e.Context = ContextError(ctx)
	}
	return e
}

// Local returns the error of a call that failed here, for a cause that is not the service's.
func Local(method string, code codes.Code, cause error) *Error {
	return &Error{Method: method, Status: status.New(code, oneLine(cause.Error())), Err: cause}
}

// Ended returns the error of a call that the end of the caller's context kept from being tried, or tried again.
func Ended(ctx context.Context, method string) *Error {
	return &Error{Method: method, Status: status.FromContextError(ctx.Err()), Context: ContextError(ctx)}
}

// ContextError returns the error of a context that has ended, together with its cause when there is another one.
func ContextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if cause == nil || errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// details prefers the raw trailer. Interceptors may make errors of their own, with details but without a trailer.
func details(st *status.Status, trailer metadata.MD) Details {
	if len(trailer.Get(detailsKey)) > 0 || len(st.Proto().GetDetails()) == 0 {
		return Decode(trailer)
	}
	entry, err := proto.Marshal(st.Proto())
	if err != nil {
		return Details{}
	}
	return Decode(metadata.Pairs(detailsKey, string(entry)))
}

func awaitDeadline(ctx context.Context) {
	deadline, ok := ctx.Deadline()
	if !ok || time.Until(deadline) >= deadlineSkew {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(2 * deadlineSkew): // a context that does not keep its own deadline
	}
}
