package transport

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// maxDeletes is how many deletes of sandboxes are under way at a time: as many as all lifecycle connections carry where
// the server allows 100 streams on each. More would only wait for a stream, and use up the time of their attempt.
const maxDeletes = 1000

// gate lets a number of attempts through at a time.
type gate chan struct{}

// enter waits for a place. What ends the wait ends the call: its context, or the end of the pool.
func (g gate) enter(caller, ctx context.Context, p *pool, method string) *rpcerr.Error {
	select {
	case g <- struct{}{}:
		return nil
	case <-p.life.Done():
		return rpcerr.Local(method, codes.Canceled, rpcerr.ErrClosed)
	case <-ctx.Done():
		return rpcerr.New(caller, method, status.FromContextError(ctx.Err()).Err(), nil)
	}
}

// leave gives the place back.
func (g gate) leave() { <-g }
