package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// snapshotBudget is how long snapshots may take.
const snapshotBudget = 600 * time.Second

// archive is what a stop has archived.
type archive struct {
	volumes, ids []string
}

// waitSnapshot reports whether the stop is done only when its snapshots are ready.
func (c stopConfig) waitSnapshot() bool { return c.archive && !c.detached }

// archiveID is the request id of a stop that archives: one for all repetitions of its request.
func (c stopConfig) archiveID() string {
	if c.archive && c.requestID == "" {
		return newRequestID()
	}
	return c.requestID
}

// volumesOf decides which scratch volumes a stop archives; none for a plain one. The caller holds s.mu.
func (s *shared) volumesOf(config stopConfig) ([]string, error) {
	refuse := func(text string) error {
		return call{op: "stop", sandbox: s.id}.refuse(text, ErrInvalidArgument)
	}
	scratch := scratchNames(s.info.Volumes)
	switch {
	case !config.archive:
		return nil, nil
	case len(scratch) == 0 && !s.gone:
		return nil, refuse("the sandbox has no scratch volume to take a snapshot of")
	case len(config.volumes) == 0:
		return scratch, nil
	}
	for _, name := range config.volumes {
		if !slices.Contains(scratch, name) && !s.gone {
			return nil, refuse("the sandbox has no scratch volume named " + name)
		}
	}
	return config.volumes, nil
}

// conflict says why a stop cannot take the snapshot that it wants, if so. The caller holds s.mu.
func (s *shared) conflict(config stopConfig, volumes []string) error {
	refuse := func(text string, also ...error) error {
		return call{op: "stop", sandbox: s.id}.refuse(text, append(also, ErrSnapshotConflict)...)
	}
	inFlight := s.deletion != nil && !s.deletion.finished()
	switch {
	case !config.archive:
		return nil
	case s.stop != nil && slices.Equal(s.stop.volumes, volumes):
		return nil
	case s.stop != nil || inFlight:
		return refuse("another stop is in flight, without these snapshots")
	case s.archived != nil && slices.Equal(s.archived.volumes, volumes):
		return nil
	case s.gone:
		return refuse("the service does not know this sandbox any more", ErrNotFound)
	case s.ended() || s.draining():
		return refuse("sandbox is " + s.info.State.String() + " already, without these snapshots")
	}
	return nil
}

// archivedIDs are the snapshots of the stop that a repeated one asks for. The caller holds s.mu.
func (s *shared) archivedIDs(config stopConfig) []string {
	if !config.archive || s.archived == nil {
		return nil
	}
	return slices.Clone(s.archived.ids)
}

// deleteArchiving sends a DeleteSandbox that archives volumes first. Its request id makes a repetition return the same
// snapshots.
func (s *shared) deleteArchiving(ctx context.Context, r removal) (removed, error) {
	n := s.client.request()
	reply, err := s.client.sandboxes.DeleteSandbox(ctx, &sandboxv1.DeleteSandboxRequest{
		SandboxId:          s.id,
		GracePeriodSeconds: wholeSeconds(r.grace),
		SnapshotVolumes:    r.volumes,
		RequestId:          r.requestID,
	}, transport.AfterDrain())
	err = call{op: "stop", sandbox: s.id}.wrap(err)
	var e *Error
	switch {
	case errors.Is(err, ErrNotRunning) && errors.As(err, &e): // it has ended, or is ending, and nobody has noticed yet
		return removed{}, e.with(ErrSnapshotConflict)
	case answeredNotFound(err) && errors.As(err, &e):
		s.lost()
		return removed{}, e.with(ErrSnapshotConflict)
	case err != nil:
		return removed{}, err
	}
	ids := reply.GetFileSystemSnapshotIds()
	if len(ids) != len(r.volumes) { // that it ends cannot be helped; that files are lost must not go unseen
		s.accepted(n, reply.GetSandbox())
		text := fmt.Sprintf("the service stops the sandbox, but of %d volumes it takes the snapshots %q only", len(r.volumes), ids)
		return removed{}, call{op: "stop", sandbox: s.id}.refuse(text, ErrSnapshotConflict)
	}
	s.mu.Lock()
	s.archived = &archive{r.volumes, ids}
	s.mu.Unlock()
	s.accepted(n, reply.GetSandbox())
	return removed{snapshots: ids}, nil
}
