package localserver

import (
	"context"
	"crypto/rand"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	defaultLifetime = 600 // seconds
	maxLifetime     = 30 * 24 * 60 * 60
)

// sandboxService serves sandboxes. A method that is added to the contract breaks the build until somebody has decided about
// it, here as in the other services.
type sandboxService struct {
	sandboxv1.UnsafeSandboxServiceServer
	*Server
}

// CreateSandbox accepts a sandbox.
func (s *sandboxService) CreateSandbox(ctx context.Context, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
	return s.create(ctx, "CreateSandbox", req, func(who identity) (*plan, error) { return s.plan(req.GetSandbox(), who) })
}

// A createRequest is the request of any method that makes a sandbox.
type createRequest interface {
	proto.Message
	GetRequestId() string
}

// create accepts a sandbox. Record and request id are stored together before the answer goes out, so that a lost answer
// can be had again, whatever has become of what the request refers to.
func (s *Server) create(ctx context.Context, method string, req createRequest, prepare func(identity) (*plan, error)) (*sandboxv1.Sandbox, error) {
	who := callerOf(ctx)
	made, err := newCreation(who, method, req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	s.store.Lock()
	known, _ := s.replayed(made) // should it be another request, that is said of one that is otherwise valid
	s.store.Unlock()
	if known != nil {
		return known, nil
	}
	plan, err := prepare(who)
	if err != nil {
		return nil, err
	}

	s.store.Lock()
	defer s.store.Unlock()
	if known, err := s.replayed(made); known != nil || err != nil {
		return known, err
	}
	if s.stopping.Err() != nil {
		return nil, errShuttingDown
	}
	if limit := s.opt.MaxActiveSandboxes; limit > 0 && s.store.active >= limit {
		return nil, status.Errorf(codes.ResourceExhausted, "no more than %d sandboxes may be active", limit)
	}
	volumes, err := s.attachVolumes(plan.spec, who)
	if err != nil {
		return nil, err
	}
	now := s.now()
	r := s.newRecord(plan, who, now)
	r.volumes = volumes
	r.key = made.key
	s.store.creates.add(made, r)
	s.begin(r)
	return r.creation(now), nil
}

// replayed answers a create that was accepted before; nil: it was not. The store's mutex is held.
func (s *Server) replayed(made creation) (*sandboxv1.Sandbox, error) {
	now := s.now()
	s.store.sweep(now)
	r, ok, err := s.store.creates.find(made)
	if !ok {
		return nil, err
	}
	return r.creation(now), nil
}

// A plan is a create that was found valid.
type plan struct {
	spec        *sandboxv1.SandboxSpec
	displayName string
	primary     int
	effective   *sandboxv1.ResourceRequirements
	granted     []map[string]string // variables that are not in the spec, for each container; secret

	template         string // id; empty: none
	templateRevision int64
	fromFile         bool
	hosts            []string // names of 127.0.0.1
}

func (s *Server) newRecord(p *plan, who identity, now time.Time) *record {
	seconds := orDefault(p.spec.GetMaxLifetimeSeconds(), defaultLifetime)
	r := &record{
		server:      s,
		id:          newID(),
		owner:       who,
		displayName: p.displayName,
		template:    p.template,
		revision:    p.templateRevision,
		fromFile:    p.fromFile,
		hosts:       p.hosts,
		spec:        p.spec,
		size:        proto.Size(p.spec),
		create:      now.Round(0), // page tokens carry no monotonic reading
		lifetime:    time.Duration(seconds) * time.Second,
		effective:   p.effective,
		state:       pending,
		changed:     make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.life, r.leave = context.WithCancelCause(context.Background())
	for i, spec := range p.spec.GetContainers() {
		r.containers = append(r.containers, &containerRecord{
			record:  r,
			spec:    spec,
			granted: p.granted[i],
			state:   creating,
			log:     newLogStore(s.opt.Clock),
			ready:   make(chan struct{}),
		})
	}
	r.primary = r.containers[p.primary]
	r.publishErr = r.publish()
	return r
}

// newID returns an id that no other sandbox has or had.
func newID() string { return "sb-" + strings.ToLower(rand.Text()[:20]) }

// begin publishes a record and starts its life. The store's mutex is held.
func (s *Server) begin(r *record) {
	switch {
	case r.fromFile && s.opt.PrepareDelay > 0:
		r.state = preparing
	case s.opt.PendingDelay > 0 || s.held(r):
		r.state = pending
	default:
		r.state = creating
	}
	r.stopExpiry = s.opt.Clock.AfterFunc(r.lifetime, r.expire)
	s.store.add(r)
	s.drivers.Go(r.drive)
}
