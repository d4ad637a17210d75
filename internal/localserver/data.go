package localserver

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// restartWait is how long a data operation waits for a container that is between two runs.
const restartWait = 2 * time.Second

// target finds the container that a data operation is for, and its present run. Between two runs it waits for the
// next one.
func (s *Server) target(ctx context.Context, id, name string) (*containerRecord, container.Container, error) {
	wait, cancel := withLimit(ctx, s.opt.Clock, restartWait, errNoRun)
	defer cancel()
	for {
		c, run, changed, err := s.lookUp(ctx, id, name)
		if err != nil || run != nil {
			return c, run, err
		}
		select {
		case <-changed:
		case <-wait.Done():
			if context.Cause(wait) == errNoRun {
				return nil, nil, notRunning(id, running, c.spec.GetName())
			}
			return nil, nil, endOf(ctx)
		}
	}
}

// errNoRun ends the wait for the next run of a container.
var errNoRun = errors.New("the container is between two runs")

// lookUp is one look at the container. Neither an error nor a run means that it is between two runs, and that changed
// is closed when it is worth another look.
func (s *Server) lookUp(ctx context.Context, id, name string) (c *containerRecord, run container.Container, changed <-chan struct{}, err error) {
	s.store.Lock()
	defer s.store.Unlock()
	r := s.store.find(id, callerOf(ctx))
	if r == nil {
		return nil, nil, nil, gone(id)
	}
	if r.state != running {
		return nil, nil, nil, notRunning(id, r.state, "")
	}
	if c = r.container(name); c == nil {
		return nil, nil, nil, bad("container", "the sandbox has no such container")
	}
	if terminal(c.state) && c != r.primary { // the end of the primary is about to be that of the sandbox
		return nil, nil, nil, notRunning(id, r.state, c.spec.GetName())
	}
	return c, c.run, r.changed, nil
}

// runFault explains why a run refused an operation for no reason of the operation's own: mostly because it has just
// ended.
func (s *Server) runFault(ctx context.Context, id, name string, run container.Container, cause error) error {
	c, present, _, err := s.lookUp(ctx, id, name)
	if err != nil {
		return err
	}
	select {
	case <-run.Main().Done():
		return notRunning(id, running, c.spec.GetName())
	default:
	}
	if present != run {
		return notRunning(id, running, c.spec.GetName())
	}
	s.opt.Logger.Warn("operation failed", "sandbox", id, "container", c.spec.GetName(), "error", cause)
	return status.Error(codes.Internal, "the operation failed: "+oneLine(cause))
}
