package cwsandbox

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// fleet is the state of a fake service with any number of sandboxes, sb-1, sb-2, …: they run until they are deleted,
// drain, and end.
type fleet struct {
	drain time.Duration // between the delete and the end
	slow  time.Duration // until a delete is answered

	mu      sync.Mutex
	made    int
	ids     map[string]string // by request id: a repeated create makes nothing new
	deleted map[string]time.Time
	refused map[string]bool // whose deletes are refused
	gone    map[string]bool
	ended   map[string]bool
	now     int // deletes in flight
	peak    int
}

// fleet makes f a service with many sandboxes.
func (f *fake) fleet() *fleet {
	fl := &fleet{
		ids: map[string]string{}, deleted: map[string]time.Time{},
		refused: map[string]bool{}, gone: map[string]bool{}, ended: map[string]bool{},
	}
	f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		return fl.create(req.GetRequestId())
	}
	f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) { return fl.get(id) }
	f.delete = func(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		return fl.delete(req.GetSandboxId())
	}
	f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
		return fl.list(), nil
	}
	return fl
}

var errNoSandbox = failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")

func (fl *fleet) create(requestID string) (*sandboxv1.Sandbox, error) {
	fl.mu.Lock()
	if fl.ids[requestID] == "" {
		fl.made++
		fl.ids[requestID] = fmt.Sprintf("sb-%d", fl.made)
	}
	id := fl.ids[requestID]
	fl.mu.Unlock()
	return fl.get(id)
}

func (fl *fleet) get(id string) (*sandboxv1.Sandbox, error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	since, deleted := fl.deleted[id]
	switch {
	case fl.gone[id]:
		return nil, errNoSandbox
	case fl.ended[id], deleted && time.Since(since) >= fl.drain:
		return ended(id, completed, 0), nil
	case deleted:
		return record(id, terminating), nil
	}
	return record(id, runningV), nil
}

func (fl *fleet) delete(id string) (*sandboxv1.DeleteSandboxResponse, error) {
	fl.flight(1)
	defer fl.flight(-1)
	time.Sleep(fl.slow)
	fl.mu.Lock()
	refused, gone := fl.refused[id], fl.gone[id]
	if _, again := fl.deleted[id]; !again && !refused {
		fl.deleted[id] = time.Now()
	}
	fl.mu.Unlock()
	switch {
	case refused:
		return nil, failure(codes.PermissionDenied, "")
	case gone:
		return nil, errNoSandbox
	}
	sb, err := fl.get(id)
	return &sandboxv1.DeleteSandboxResponse{Sandbox: sb}, err
}

func (fl *fleet) flight(n int) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	fl.now += n
	fl.peak = max(fl.peak, fl.now)
}

// atOnce returns how many calls were in flight together.
func (fl *fleet) atOnce() int {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.peak
}

func (fl *fleet) list() *sandboxv1.ListSandboxesResponse {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	page := &sandboxv1.ListSandboxesResponse{}
	for i := range fl.made {
		page.Sandboxes = append(page.Sandboxes, record(fmt.Sprintf("sb-%d", i+1), runningV))
	}
	return page
}

// set changes what the service says of some sandboxes.
func (fl *fleet) set(m map[string]bool, value bool, ids ...string) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	for _, id := range ids {
		m[id] = value
	}
}

// session returns a session of n sandboxes.
func session(t *testing.T, c *Client, n int, opts ...Option) (*Session, []*Sandbox) {
	t.Helper()
	s, err := c.NewSession(opts...)
	require.NoError(t, err)
	var all []*Sandbox
	for range n {
		sb, err := s.Create(t.Context())
		require.NoError(t, err)
		all = append(all, sb)
	}
	return s, all
}

// quiet fails the test if the service is asked anything more from here to the call of the returned function.
func (f *fake) quiet(t *testing.T) (check func()) {
	t.Helper()
	before := f.total()
	return func() {
		t.Helper()
		assert.Equal(t, before, f.total(), "nothing was asked")
	}
}

func (f *fake) total() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}
