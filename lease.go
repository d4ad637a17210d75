package cwsandbox

import (
	"context"
	"errors"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	leaseKey   = reservedPrefix + "lease" // of the annotation by which others recognize the lease
	leaseSlots = 1
)

// checkLease is the rule for what a lease can be about.
func (c *createConfig) checkLease() {
	switch {
	case c.lease.value == 0:
	case !c.origin.plain():
		c.faults.add("lease", "needs a command to watch, which a template or a Compose document does not tell: WithLease(0) does without")
	case len(c.mainCommand()) == 0:
		c.faults.add("lease", "needs a command to watch: what the image would run is not known")
	}
}

// wrap puts the main process under the watchdog of the lease, if there is one.
func (c *createConfig) wrap(requestID string) {
	if c.lease.value == 0 {
		return
	}
	c.wrapped = lease.Lease{ID: requestID, Length: c.lease.value}
	main := c.mainCommand()
	c.setMainCommand(c.wrapped.Wrap(main[0], main[1:]))
	c.annotations[leaseKey] = setting[string]{value: c.wrapped.String()}
}

// splitLease takes the lease out of a sandbox's annotations, which it may change. One that cannot be read, of a later
// version perhaps, cannot be kept up either.
func splitLease(annotations map[string]string) (others map[string]string, l lease.Lease) {
	value, leased := annotations[leaseKey]
	if !leased {
		return annotations, lease.Lease{}
	}
	l, _ = lease.Parse(value)
	if delete(annotations, leaseKey); len(annotations) == 0 {
		annotations = nil
	}
	return annotations, l
}

// leased returns the lease that has to be kept up, if there is one.
func (s *shared) leased() (l lease.Lease, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info.lease, s.info.lease != lease.Lease{} && !s.disarmed
}

// hint adds to the failure of a start what a lease asks of the image.
func (s *shared) hint(err error) error {
	var e *Error
	if _, leased := s.leased(); !leased || !errors.Is(err, ErrFailed) || !errors.As(err, &e) {
		return err
	}
	e = e.with()
	e.text += "; the lease needs /bin/sh and sleep in the image"
	return e
}

// disarm ends the lease in the sandbox, so that nothing but its lifetime ends it when this program is gone. In a sandbox
// that is still starting it waits until that can be done. One that is ending, or has ended, needs none of this. When it
// fails, the lease is kept up as before.
func (s *shared) disarm(ctx context.Context, c call) error {
	l, ok := s.leased()
	if !ok {
		return nil
	}
	err := s.ready(ctx, c.op)
	if err == nil {
		err = s.writeOff(ctx, c, l)
	}
	if err != nil && !errors.Is(err, ErrNotRunning) && !errors.Is(err, ErrNotFound) {
		return err
	}
	s.mu.Lock()
	s.disarmed = true
	s.mu.Unlock()
	s.client.beats.drop(s)
	return nil
}

// writeOff writes to each place where the watchdog looks. One is enough; where memory outlives a restart of the main
// process, it is the other one that keeps the lease off then.
func (s *shared) writeOff(ctx context.Context, c call, l lease.Lease) error {
	var errs []error
	for _, path := range l.Offs() {
		_, err := s.client.sandboxes.WriteFile(ctx, &sandboxv1.WriteFileRequest{SandboxId: s.id, Path: path})
		if err == nil {
			errs = append(errs, nil)
			continue
		}
		c.path = path
		errs = append(errs, c.wrap(err))
	}
	if errs[0] == nil || errs[1] == nil {
		return nil
	}
	return joined(errs[0], errs[1])
}
