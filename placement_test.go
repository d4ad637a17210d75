package cwsandbox

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	serverless = sandboxv1.SandboxMode_SANDBOX_MODE_SERVERLESS
	cks        = sandboxv1.SandboxMode_SANDBOX_MODE_CKS
)

func TestPlacementOfCreate(t *testing.T) {
	for name, tt := range map[string]struct {
		session, own []Option
		want         sandboxv1.SandboxMode
		runners      []string
	}{
		"nothing":                       {},
		"serverless":                    {nil, []Option{WithPlacement(PlacementServerless)}, serverless, nil},
		"cks, any runner":               {nil, []Option{WithPlacement(PlacementCKS)}, cks, nil},
		"cks, a runner":                 {nil, []Option{WithPlacement(PlacementCKS), WithRunners("r")}, cks, []string{"r"}},
		"a runner":                      {nil, []Option{WithRunners("r")}, cks, []string{"r"}},
		"the call over the session":     {[]Option{WithPlacement(PlacementCKS)}, []Option{WithPlacement(PlacementServerless)}, serverless, nil},
		"taken back":                    {[]Option{WithPlacement(PlacementCKS)}, []Option{WithPlacement(PlacementUnspecified)}, 0, nil},
		"taken back, a runner":          {[]Option{WithPlacement(PlacementServerless)}, []Option{WithPlacement(PlacementUnspecified), WithRunners("r")}, cks, []string{"r"}},
		"runners cleared":               {[]Option{WithRunners("r")}, []Option{WithRunners(), WithPlacement(PlacementServerless)}, serverless, nil},
		"from a bundle":                 {[]Option{Defaults(WithPlacement(PlacementCKS))}, nil, cks, nil},
		"spills to serverless":          {nil, []Option{WithSpillover(SpilloverToServerless)}, cks, nil},
		"spills to serverless from cks": {nil, []Option{WithSpillover(SpilloverToServerless), WithPlacement(PlacementCKS), WithRunners("r")}, cks, []string{"r"}},
		"spills to cks":                 {nil, []Option{WithSpillover(SpilloverToCKS)}, serverless, nil},
		"spills to cks from serverless": {nil, []Option{WithSpillover(SpilloverToCKS), WithPlacement(PlacementServerless)}, serverless, nil},
		"spillover taken back":          {[]Option{WithSpillover(SpilloverToCKS)}, []Option{WithSpillover(SpilloverNone)}, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			spec, _ := sent(t, tt.session, tt.own)
			assert.Equal(t, tt.want, spec.GetMode())
			assert.Equal(t, tt.runners, spec.GetRunnerIds())
		})
	}
}

func TestPlacementIsChecked(t *testing.T) {
	t.Run("K-095", func(t *testing.T) {
		err := createError(WithPlacement(PlacementServerless), WithRunners("r"))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "spec.runner_ids: need placement cks, it is serverless")
	})
	for want, opts := range map[string][]Option{
		"spillover: to serverless begins on cks, the placement is serverless":  {WithSpillover(SpilloverToServerless), WithPlacement(PlacementServerless)},
		"spillover: to cks begins on serverless, the placement is cks":         {WithSpillover(SpilloverToCKS), WithPlacement(PlacementCKS)},
		"spec.runner_ids: need placement cks, it is serverless":                {WithSpillover(SpilloverToCKS), WithRunners("r")},
		"spec.mode: must be one of the named placements, is Placement(3)":      {WithPlacement(3)},
		"spec.mode: must be one of the named placements, is Placement(-1)":     {WithPlacement(-1)},
		"spillover: must be one of the named ways, is Spillover(3)":            {WithSpillover(3)},
		"spillover: must be one of the named ways, is Spillover(-1)":           {WithSpillover(-1)},
		"spec.mode: must be one of the named placements, is Placement(2000000": {Defaults(WithPlacement(2000000000))},
	} {
		t.Run(want, func(t *testing.T) {
			err := createError(opts...)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "cwsandbox: create: "+want)
		})
	}
	t.Run("both options print", func(t *testing.T) {
		b := Defaults(WithPlacement(PlacementCKS), WithSpillover(SpilloverToServerless), WithSpillover(SpilloverToCKS), WithSpillover(0))
		assert.Equal(t, "Defaults(WithPlacement(cks), WithSpillover(to serverless), WithSpillover(to cks), WithSpillover(none))",
			b.(interface{ String() string }).String())
		assert.Equal(t, []string{"unspecified", "serverless", "Placement(42)"},
			[]string{PlacementUnspecified.String(), PlacementServerless.String(), Placement(42).String()})
	})
	t.Run("a list of a session that spills over is not about its runners", func(t *testing.T) {
		assert.Len(t, merged(t, []Option{WithRunners("r"), WithTags("t")}, nil).asFilter(), 2)
		assert.Len(t, merged(t, []Option{WithRunners("r"), WithTags("t"), WithSpillover(SpilloverToServerless)}, nil).asFilter(), 1)
	})
}

// specs are the specs of all creates that the service has seen.
func (f *fake) specs() []*sandboxv1.SandboxSpec {
	var specs []*sandboxv1.SandboxSpec
	for _, call := range f.of("CreateSandbox") {
		specs = append(specs, call.request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec())
	}
	return specs
}

// full makes creates in one mode fail with an error; others are answered with a sandbox of that mode.
func (f *fake) full(mode sandboxv1.SandboxMode, err error) {
	f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		if req.GetSandbox().GetSpec().GetMode() == mode {
			return nil, err
		}
		made := record("sb-1", creatingV)
		made.Spec = req.GetSandbox().GetSpec()
		made.Status.RunnerId, made.Status.RunnerGroupId = "r-7", "g-7"
		return made, nil
	}
}

var noCapacity = failure(codes.ResourceExhausted, "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED")

func TestSpillover(t *testing.T) {
	bubble(t, "K-110", func(t *testing.T, f *fake, c *Client) {
		f.full(cks, noCapacity)
		sb, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless), WithRunners("r-1"), WithTags("t"), WithAnnotation("a", "b"))
		require.NoError(t, err)
		specs, ids := f.specs(), f.requestIDs()
		require.Len(t, specs, 2)
		assert.NotEqual(t, ids[0], ids[1])
		assert.Equal(t, []string{"r-1"}, specs[0].GetRunnerIds())
		assert.Equal(t, serverless, specs[1].GetMode())
		assert.Empty(t, specs[1].GetRunnerIds())
		specs[0].Mode, specs[0].RunnerIds = specs[1].Mode, nil
		assert.True(t, proto.Equal(specs[0], specs[1]), "the same otherwise")
		info := sb.Info()
		assert.Equal(t, PlacementServerless, info.Placement)
		assert.Equal(t, "r-7", info.RunnerID)
		assert.Equal(t, "g-7", info.RunnerGroupID)
		assert.Equal(t, 1, c.registry.count(c))
		assert.Contains(t, f.logged(), "no runner takes the sandbox")
	})
	bubble(t, "the other way round", func(t *testing.T, f *fake, c *Client) {
		f.full(serverless, noCapacity)
		s, err := c.NewSession(WithSpillover(SpilloverToCKS))
		require.NoError(t, err)
		sb, err := s.Create(t.Context())
		require.NoError(t, err)
		assert.Equal(t, PlacementCKS, sb.Info().Placement)
		assert.Equal(t, 2, f.count("CreateSandbox"))
		assert.Equal(t, 1, s.Len())
		require.NoError(t, s.Close())
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	small := Resources{Requests: ResourceList{CPU: "1", Memory: "1Gi"}}
	for name, opts := range map[string][]Option{
		"a lease is that of its own create": nil,
		"and so with several containers": {WithContainers(
			Container{Name: "a", Image: "i", Command: []string{"x"}, Primary: true, Resources: small},
			Container{Name: "b", Image: "i", Resources: small},
		)},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.full(cks, noCapacity)
			sb, err := c.Create(t.Context(), append(opts, WithSpillover(SpilloverToServerless), WithLease(time.Hour))...)
			require.NoError(t, err)
			l, ok := sb.s.leased()
			require.True(t, ok)
			assert.Equal(t, f.requestIDs()[1], l.ID)
			specs := f.specs()
			assert.Len(t, specs[1].GetContainers()[0].GetArgs(), len(specs[0].GetContainers()[0].GetArgs()), "wrapped once")
			assert.NotEqual(t, specs[0].GetAnnotations()[leaseKey], specs[1].GetAnnotations()[leaseKey])
		})
	}
	bubble(t, "K-111", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, noCapacity
			}
			return nil, failure(codes.PermissionDenied, "CWSANDBOX_SERVERLESS_DISABLED")
		}
		sb, err := c.Run(t.Context(), WithSpillover(SpilloverToServerless))
		assert.Nil(t, sb)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, ReasonServerlessDisabled, e.Reason, "that of the second try")
		for _, is := range []error{ErrPrecondition, ErrPlacement, ErrResourceExhausted} {
			require.ErrorIs(t, err, is)
		}
		assert.True(t, HasReason(err, ReasonServerlessDisabled) && HasReason(err, ReasonRunnerCapacityExhausted))
		assert.EqualError(t, err, "cwsandbox: run: on cks: made by the test (CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED); "+
			"then on serverless: made by the test (CWSANDBOX_SERVERLESS_DISABLED)")
		assert.Equal(t, 2, f.count("CreateSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "never a third try", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, noCapacity
		}
		_, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless))
		require.ErrorIs(t, err, ErrPlacement)
		assert.Equal(t, 2, f.count("CreateSandbox"))
	})
	for _, reason := range []Reason{
		ReasonRunnerUnavailable, ReasonRunnerCapacityExhausted, ReasonRunnerOverloaded, ReasonNoSuitableRunner,
		ReasonPlacementRejected, ReasonPlacementUnsatisfied,
	} {
		for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted, codes.FailedPrecondition} {
			bubble(t, string(reason)+" "+code.String(), func(t *testing.T, f *fake, c *Client) {
				began := time.Now()
				f.full(cks, failure(code, string(reason), retryAfter(time.Second)))
				_, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless))
				require.NoError(t, err)
				assert.Equal(t, 2, f.count("CreateSandbox"))
				assert.Zero(t, time.Since(began), "at once")
			})
		}
	}
	foreign := func() error {
		st, _ := status.New(codes.ResourceExhausted, "no").WithDetails(
			&errdetails.ErrorInfo{Reason: "CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED", Domain: "example.com"})
		return st.Err()
	}()
	for name, tt := range map[string]struct {
		err error
		is  error
	}{
		"K-112":                     {foreign, ErrResourceExhausted},
		"K-113":                     {failure(codes.ResourceExhausted, ""), ErrResourceExhausted},
		"K-114":                     {failure(codes.FailedPrecondition, "CWSANDBOX_SERVERLESS_NOT_ALLOWED"), ErrPrecondition},
		"serverless is disabled":    {failure(codes.FailedPrecondition, "CWSANDBOX_SERVERLESS_DISABLED"), ErrPrecondition},
		"serverless is not set up":  {failure(codes.FailedPrecondition, "CWSANDBOX_SERVERLESS_MISCONFIGURED"), ErrPrecondition},
		"a bad request":             {failure(codes.InvalidArgument, "CWSANDBOX_INVALID_REQUEST"), ErrInvalidArgument},
		"a bad credential":          {failure(codes.Unauthenticated, ""), ErrUnauthenticated},
		"too much for any runner":   {failure(codes.InvalidArgument, "CWSANDBOX_RESOURCE_CEILING_EXCEEDED"), ErrInvalidArgument},
		"GPUs are not for everyone": {failure(codes.FailedPrecondition, "CWSANDBOX_GPU_NOT_ALLOWED"), ErrPrecondition},
	} {
		bubble(t, name+" does not spill", func(t *testing.T, f *fake, c *Client) {
			f.full(serverless, tt.err)
			_, err := c.Create(t.Context(), WithSpillover(SpilloverToCKS))
			require.ErrorIs(t, err, tt.is)
			assert.Equal(t, 1, f.count("CreateSandbox"))
			assert.Zero(t, f.count("DeleteSandbox"))
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "a runner that is away is waited for without spillover", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, failure(codes.Unavailable, "CWSANDBOX_RUNNER_UNAVAILABLE", retryAfter(time.Second))
			}
			return record("sb-1", creatingV), nil
		}
		creating(t, c)
		assert.Equal(t, []time.Duration{time.Second}, f.gaps("CreateSandbox"))
	})
	bubble(t, "and so on the second try", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n <= 2 {
				return nil, failure(codes.Unavailable, "CWSANDBOX_RUNNER_UNAVAILABLE", retryAfter(time.Second))
			}
			return record("sb-1", creatingV), nil
		}
		_, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless))
		require.NoError(t, err)
		ids := f.requestIDs()
		require.Len(t, ids, 3)
		assert.Equal(t, ids[1], ids[2])
		assert.Equal(t, []time.Duration{0, time.Second}, f.gaps("CreateSandbox"))
	})
	bubble(t, "a doubt about the first try is settled first", func(t *testing.T, f *fake, c *Client) {
		answers := []error{failure(codes.Internal, ""), noCapacity}
		f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n <= len(answers) {
				return nil, answers[n-1]
			}
			return record("sb-1", creatingV), nil
		}
		_, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless))
		require.NoError(t, err)
		ids := f.requestIDs()
		require.Len(t, ids, 3)
		assert.Equal(t, ids[0], ids[1], "the same create is asked for again")
		assert.NotEqual(t, ids[1], ids[2])
	})
	bubble(t, "an unknown outcome of the first try does not spill", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Create(ctx, WithSpillover(SpilloverToServerless))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		ids := f.requestIDs()
		require.Len(t, ids, 2)
		assert.Equal(t, ids[0], ids[1])
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "an unknown outcome of the second try is followed up", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		answer := f.create
		f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, noCapacity
			}
			return answer(ctx, n, req)
		}
		ctx, cancel := context.WithCancel(t.Context())
		create := Go(func() (*Sandbox, error) { return c.Create(ctx, WithSpillover(SpilloverToServerless)) })
		synctest.Wait()
		assert.Equal(t, 1, c.registry.count(c), "the second try, before its answer")
		cancel()
		_, err := create.Wait()
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, err, ErrPlacement)
		ids := f.requestIDs()
		require.Len(t, ids, 3)
		assert.Equal(t, ids[1], ids[2], "replayed under its own id")
		assert.NotEqual(t, ids[0], ids[1])
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "an undecided second try names its own request id", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n == 1 {
				return nil, noCapacity
			}
			return nil, failure(codes.Unavailable, "")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Create(ctx, WithSpillover(SpilloverToServerless))
		require.ErrorIs(t, err, ErrUndecided)
		require.ErrorIs(t, err, ErrPlacement)
		ids := f.requestIDs()
		assert.ErrorContains(t, err, ids[1])
		assert.NotContains(t, err.Error(), ids[0])
		time.Sleep(undoBudget)
		assert.Equal(t, 1, c.registry.count(c), "kept for the next cleanup")
	})
	bubble(t, "nothing is tried for a caller who has left", func(t *testing.T, f *fake, c *Client) {
		ctx, cancel := context.WithCancel(t.Context())
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			cancel()
			return nil, noCapacity
		}
		_, err := c.Create(ctx, WithSpillover(SpilloverToServerless))
		require.Error(t, err)
		assert.NotErrorIs(t, err, ErrUndecided)
		for _, id := range f.requestIDs() {
			assert.Equal(t, f.requestIDs()[0], id)
		}
		assert.Zero(t, c.registry.count(c))
	})
	for name, closed := range map[string]func(c *Client, s *Session) error{
		"a session that is closed between the tries": func(_ *Client, s *Session) error { return s.Close() },
		"a client that is closed between the tries":  func(c *Client, _ *Session) error { return c.Close() },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			s, err := c.NewSession(WithSpillover(SpilloverToServerless))
			require.NoError(t, err)
			asked, answered := make(chan bool), make(chan bool)
			f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				if n == 1 {
					close(asked)
					<-answered
				}
				return nil, noCapacity
			}
			create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
			<-asked
			closing := Go(func() (bool, error) { return true, closed(c, s) })
			synctest.Wait()
			close(answered)
			_, err = create.Wait()
			require.ErrorIs(t, err, ErrClosed)
			_, err = closing.Wait()
			require.NoError(t, err)
			for _, id := range f.requestIDs() {
				assert.Equal(t, f.requestIDs()[0], id)
			}
			assert.Zero(t, c.registry.count(c))
		})
	}
}

// ledger is a guardian that remembers the creates, and whether each of them was handed over before it was sent.
type ledger struct {
	mu     sync.Mutex
	frozen [][]byte
	safe   int // how many had been handed over at the last Await
	keys   map[any]bool
}

func (l *ledger) Create(key any, _ *hook.Connection, request []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen, l.keys[key] = append(l.frozen, request), true
}

func (l *ledger) Settle(key any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.keys, key)
}

func (l *ledger) Await() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.safe = len(l.frozen)
}

func (l *ledger) Track(key any, _ *hook.Connection, _ string, _ time.Duration) {}
func (l *ledger) Update(*hook.Connection)                                      {}
func (l *ledger) Flush()                                                       {}

func TestReaperKnowsBothTries(t *testing.T) {
	l := &ledger{keys: make(map[any]bool)}
	whole := processRegistry
	processRegistry, hook.Guard = newRegistry(), l
	t.Cleanup(func() { processRegistry, hook.Guard = whole, nil })
	f, c := fakeClient(t, clientOption(func(c *clientConfig) { c.privateRegistry = false }))
	var unsafe error
	f.create = func(_ context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n != l.safe {
			unsafe = errors.New("sent before it was handed over")
		}
		return nil, noCapacity
	}
	_, err := c.Create(t.Context(), WithSpillover(SpilloverToServerless))
	require.ErrorIs(t, err, ErrPlacement)
	require.NoError(t, unsafe)
	require.Len(t, l.frozen, 2)
	for i, call := range f.of("CreateSandbox") {
		req, err := thaw(l.frozen[i])
		require.NoError(t, err)
		assert.True(t, proto.Equal(call.request, req), i)
	}
	assert.Empty(t, l.keys, "both were settled")
}
