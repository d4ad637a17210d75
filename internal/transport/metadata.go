package transport

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// headers is the metadata that every call carries.
func (c Config) headers() map[string]string {
	h := map[string]string{"x-cwsandbox-client-version": c.version()}
	if c.Integration != "" {
		h["x-sandbox-integration"] = c.Integration
	}
	return h
}

// authorize adds credentials and headers to the outgoing metadata of one attempt, in place of what the caller may have
// there under the same keys. It asks for the credentials itself: grpc-go's per-RPC credentials would flatten the cause
// of a failure.
func (t *Transport) authorize(caller, ctx context.Context, method string) (context.Context, *rpcerr.Error) {
	creds, err := t.credentials(ctx)
	if err == nil {
		err = checkValues(creds)
	}
	if err != nil {
		return nil, credentialError(caller, method, err)
	}
	md, ok := metadata.FromOutgoingContext(ctx)
	if !ok {
		md = make(metadata.MD, len(t.headers)+len(creds))
	}
	for k, v := range t.headers {
		md.Set(k, v)
	}
	for k, v := range creds {
		md.Set(k, v)
	}
	return metadata.NewOutgoingContext(ctx, md), nil
}

// checkValues refuses what grpc-go would refuse as an internal error. The text must not show a value.
func checkValues(creds map[string]string) error {
	for k, v := range creds {
		for i := range len(v) {
			if v[i] < ' ' || v[i] > '~' {
				return fmt.Errorf("value of %s is not printable ASCII", k)
			}
		}
	}
	return nil
}

func credentialError(caller context.Context, method string, err error) *rpcerr.Error {
	if caller.Err() != nil {
		return rpcerr.Ended(caller, method)
	}
	cause := fmt.Errorf("%w: %w", rpcerr.ErrCredentials, err)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		// Not the caller's context: ours, or one within the callback. It must not look like the caller's.
		cause = fmt.Errorf("%w: %v", rpcerr.ErrCredentials, err)
	}
	return rpcerr.Local(method, codes.Unauthenticated, cause)
}
