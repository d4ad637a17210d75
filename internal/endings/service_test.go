//go:build linux

package endings

import (
	"context"
	"crypto/rand"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// patience is how long anything may take that a correct program does soon.
	patience = 5 * time.Minute
	// glance is the time between two looks at what ends by itself. Everything else is noticed at once.
	glance = 20 * time.Millisecond
)

// service is the local server of one cell. It can hold calls.
type service struct {
	core    *localserver.Server
	address string
	key     string // no other cell has it

	mu                        sync.Mutex
	changed                   chan struct{} // closed and replaced when a number below changes
	created, arrived, deleted int           // creates that have happened; deletes that have come, and those that have happened
	holdsCreate               bool          // the answer of the first create stays away
	holdsDeletes              chan struct{} // deletes wait until it is closed, or until the program has gone; nil: they do not
}

// serve starts the server of a cell.
func serve(t *testing.T, c Cell) *service {
	t.Helper()
	s := &service{key: rand.Text(), changed: make(chan struct{}), holdsCreate: c.Phase == Creating}
	options := localserver.Options{
		Keys:              []localserver.Key{{Token: s.key}},
		Runtime:           scripted.New(),
		UnaryInterceptors: []grpc.UnaryServerInterceptor{s.intercept},
		ShutdownGrace:     time.Millisecond, // what is left does not matter any more
	}
	if c.Help == WithLease {
		processes, err := process.New(process.Options{})
		require.NoError(t, err)
		options.Runtime = processes
	}
	core, err := localserver.New(options)
	require.NoError(t, err)
	s.core = core
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.address = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { assert.NoError(t, core.Serve(listener)) })
	t.Cleanup(func() {
		s.passDeletes(true)
		assert.NoError(t, core.Close())
		serving.Wait()
	})
	switch c.Phase {
	case Starting:
		core.Hold(HeldTag, sandboxv1.State_STATE_CREATING)
	case Stopping:
		core.Hold(HeldTag, sandboxv1.State_STATE_TERMINATING)
	}
	return s
}

// env leads the default client of a program to the service.
func (s *service) env() []string {
	return []string{"CWSANDBOX_BASE_URL=http://" + s.address, "CWSANDBOX_API_KEY=" + s.key}
}

func (s *service) intercept(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if md, _ := metadata.FromIncomingContext(ctx); !slices.Contains(md.Get("authorization"), "Bearer "+s.key) {
		return next(ctx, req) // and be refused: the helper of a cell whose server had this port before
	}
	switch info.FullMethod {
	case sandboxv1.SandboxService_CreateSandbox_FullMethodName:
		resp, err := next(ctx, req)
		if s.count(&s.created) == 1 && s.holdsCreate {
			<-ctx.Done()
		}
		return resp, err
	case sandboxv1.SandboxService_DeleteSandbox_FullMethodName:
		s.mu.Lock()
		held := s.holdsDeletes
		s.mu.Unlock()
		s.count(&s.arrived)
		if held != nil {
			select {
			case <-held:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		resp, err := next(ctx, req)
		if s.count(&s.deleted) == 2 {
			s.core.Release(HeldTag) // in phase Stopping the program may wait for the end of the first one
		}
		return resp, err
	}
	return next(ctx, req)
}

// count counts a call and returns the new number.
func (s *service) count(n *int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	*n++
	close(s.changed)
	s.changed = make(chan struct{})
	return *n
}

// holdDeletes keeps deletes from having an effect, from now on.
func (s *service) holdDeletes() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.holdsDeletes = make(chan struct{})
}

// passDeletes ends that for the deletes that come from now on and, if heldToo, for those that are held. The others never
// have an effect: they end when their program has gone.
func (s *service) passDeletes(heldToo bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holdsDeletes != nil && heldToo {
		close(s.holdsDeletes)
	}
	s.holdsDeletes = nil
}

func (s *service) numbers() (created, arrived, deleted int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.created, s.arrived, s.deleted
}

// reached waits until the service has done its part of the phase of a program, which must live to see that.
func (s *service) reached(t *testing.T, c *child) {
	t.Helper()
	p := c.cell.Phase
	s.until(t, func() bool {
		select {
		case <-c.ended:
			require.FailNow(t, "the program ends in its phase", describe(c.status()))
		default:
		}
		created, _, deleted := s.numbers()
		return created >= 1 && (p != Stopping || deleted >= 1)
	}, "the phase is not reached")
}

// until waits until something is so.
func (s *service) until(t *testing.T, is func() bool, otherwise string) {
	t.Helper()
	late := time.After(patience)
	look := time.NewTicker(glance)
	defer look.Stop()
	for {
		s.mu.Lock()
		changed := s.changed
		s.mu.Unlock()
		if is() {
			return
		}
		select {
		case <-changed:
		case <-look.C:
		case <-late:
			created, arrived, deleted := s.numbers()
			require.FailNow(t, otherwise, "%d creates; %d deletes have come, %d are done", created, arrived, deleted)
		}
	}
}

// left is how many sandboxes there are that nobody has begun to stop.
func (s *service) left() int {
	active, n := s.core.Active(), 0
	for _, sb := range s.core.Sandboxes() {
		if slices.Contains(active, sb.GetSandboxId()) && sb.GetStatus().GetState() != sandboxv1.State_STATE_TERMINATING {
			n++
		}
	}
	return n
}
