package cwsandbox

import (
	"context"
	"errors"
	"iter"
)

// StopAll stops every sandbox that an iterator yields, all at once when the iterator is through, and returns when they have
// ended or ctx has. It removes what [Client.Orphans] finds, or a list, in one line:
//
//	stopped, err := cwsandbox.StopAll(ctx, client.Orphans(ctx))
//
// The results stand in the order of the iterator, with the zero value where a stop failed. The error joins that of the
// iterator, what came before it is stopped all the same, those of the stops, and that of ctx when it ended first: then
// the stops go on, as long as the program does.
func StopAll(ctx context.Context, found iter.Seq2[*Sandbox, error], opts ...StopOption) ([]StopResult, error) {
	sandboxes, err := Collect(found)
	stops := make([]*Future[StopResult], len(sandboxes))
	for i, sb := range sandboxes {
		stops[i] = sb.Stop(opts...)
	}
	results, stopErr := WaitAll(ctx, stops...)
	switch {
	case err == nil:
		return results, stopErr
	case stopErr == nil:
		return results, err
	}
	return results, errors.Join(err, stopErr)
}
