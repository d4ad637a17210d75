package localserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	defaultLifetime = 600 // seconds
	maxLifetime     = 30 * 24 * 60 * 60
)

// CreateSandbox accepts a sandbox. Record and request id are stored together before the answer goes out, so that a
// lost answer can be had again.
func (s *sandboxService) CreateSandbox(ctx context.Context, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
	who := callerOf(ctx)
	plan, err := s.plan(req.GetSandbox())
	if err != nil {
		return nil, err
	}
	var key requestKey
	var content [sha256.Size]byte
	if req.GetRequestId() != "" {
		key = requestKey{who.user, who.organization, "CreateSandbox", req.GetRequestId()}
		if content, err = fingerprint(req); err != nil {
			return nil, status.Errorf(codes.Internal, "read the request: %v", err)
		}
	}

	s.store.Lock()
	defer s.store.Unlock()
	now := s.now()
	s.store.sweep(now)
	if known, ok := s.store.keys[key]; ok {
		if known.content != content {
			return nil, bad("request_id", "was used for another request already")
		}
		return known.record.message(now), nil
	}
	if s.stopping.Err() != nil {
		return nil, errShuttingDown
	}
	if limit := s.opt.MaxActiveSandboxes; limit > 0 && s.store.active >= limit {
		return nil, status.Errorf(codes.ResourceExhausted, "no more than %d sandboxes may be active", limit)
	}
	r := s.newRecord(plan, who, now)
	r.key = key
	if key != (requestKey{}) {
		s.store.keys[key] = createReplay{content, r}
	}
	s.begin(r)
	return r.message(now), nil
}

// A plan is a create that was found valid.
type plan struct {
	spec        *sandboxv1.SandboxSpec
	displayName string
	primary     int
	effective   *sandboxv1.ResourceRequirements
}

func (s *Server) newRecord(p *plan, who identity, now time.Time) *record {
	seconds := orDefault(p.spec.GetMaxLifetimeSeconds(), defaultLifetime)
	r := &record{
		server:      s,
		id:          newID(),
		owner:       who,
		displayName: p.displayName,
		spec:        p.spec,
		create:      now.Round(0), // page tokens carry no monotonic reading
		lifetime:    time.Duration(seconds) * time.Second,
		effective:   p.effective,
		state:       creating,
		changed:     make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	for _, spec := range p.spec.GetContainers() {
		r.containers = append(r.containers, &containerRecord{
			record: r,
			spec:   spec,
			state:  creating,
			log:    newLogStore(s.opt.Clock),
			ready:  make(chan struct{}),
		})
	}
	r.primary = r.containers[p.primary]
	return r
}

// newID returns an id that no other sandbox has or had.
func newID() string { return "sb-" + strings.ToLower(rand.Text()[:20]) }

// begin publishes a record and starts its life. The store's mutex is held.
func (s *Server) begin(r *record) {
	if r.state = pending; s.opt.PendingDelay <= 0 && !s.held(r) {
		r.state = creating
	}
	r.stopExpiry = s.opt.Clock.AfterFunc(r.lifetime, r.expire)
	s.store.add(r)
	s.drivers.Go(r.drive)
}
