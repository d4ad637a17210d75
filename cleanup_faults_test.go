package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// crowded is more than one connection carries.
const crowded = 100

type deleteAnswer = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error)

// estate is a service that remembers what it has made and what it was told to end.
type estate struct {
	mu      sync.Mutex
	made    map[string]string // ids by request id
	active  map[string]bool
	asked   map[string]int // deletes that arrived, by sandbox
	unknown bool           // it has forgotten everything
}

func newEstate(f *fake) *estate {
	es := &estate{made: map[string]string{}, active: map[string]bool{}, asked: map[string]int{}}
	f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		return record(es.create(req.GetRequestId()), runningV), nil
	}
	f.delete = es.delete
	return es
}

func (es *estate) create(requestID string) string {
	es.mu.Lock()
	defer es.mu.Unlock()
	id, again := es.made[requestID]
	if !again {
		id = fmt.Sprintf("sb-%d", len(es.made)+1)
		es.made[requestID], es.active[id] = id, true
	}
	return id
}

func (es *estate) delete(_ context.Context, _ int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
	es.mu.Lock()
	defer es.mu.Unlock()
	delete(es.active, req.GetSandboxId())
	if es.unknown {
		return &sandboxv1.DeleteSandboxResponse{}, nil
	}
	return &sandboxv1.DeleteSandboxResponse{Sandbox: record(req.GetSandboxId(), terminating)}, nil
}

// forget makes the service one that knows no sandbox any more.
func (es *estate) forget(everything bool) {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.unknown = everything
	if everything {
		clear(es.active)
	}
}

// attempt counts the deletes of a sandbox.
func (es *estate) attempt(id string) int {
	es.mu.Lock()
	defer es.mu.Unlock()
	es.asked[id]++
	return es.asked[id]
}

// left returns the sandboxes that nobody has ended.
func (es *estate) left() []string {
	es.mu.Lock()
	defer es.mu.Unlock()
	var ids []string
	for id := range es.active {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// faulty runs a test with n tracked sandboxes of an estate.
func faulty(t *testing.T, name string, n int, test func(t *testing.T, f *fake, c *Client, es *estate)) {
	t.Helper()
	bubble(t, name, func(t *testing.T, f *fake, c *Client) {
		es := newEstate(f)
		for range n {
			creating(t, c)
		}
		defer giveUp(c)
		test(t, f, c, es)
	})
}

// giveUp ends what goes on behind a cleanup whose time is over. In a program the end of the process does that.
func giveUp(c *Client) {
	c.conn.Close()
	time.Sleep(time.Millisecond) // in fake time: whoever waits to try again wakes by a timer
}

// onSignal cleans up as a signal does, checks that this took no longer than its budget, and returns how many sandboxes
// were stopped and the names of those that were not.
func onSignal(t *testing.T, c *Client) (stopped int, left []string) {
	t.Helper()
	stopped, errs := hurriedly(t, c)
	for _, err := range errs {
		var e *Error
		require.ErrorAs(t, err, &e)
		left = append(left, e.SandboxID+e.RequestID)
	}
	slices.Sort(left)
	return stopped, left
}

// hurriedly is onSignal with the errors themselves.
func hurriedly(t *testing.T, c *Client) (stopped int, left []error) {
	t.Helper()
	start := time.Now()
	ctx, cancel := context.WithTimeoutCause(context.Background(), defaultCleanupTimeout, errOwnLimit)
	defer cancel()
	stopped, left = c.registry.cleanup(ctx, hurriedGrace)
	assert.LessOrEqual(t, time.Since(start), defaultCleanupTimeout)
	return stopped, left
}

func TestFaultsWhileDeleting(t *testing.T) {
	for name, refusal := range map[string]error{
		"unavailable for three seconds": failure(codes.Unavailable, ""),
		"a backend that is unavailable": failure(codes.Unavailable, "CWSANDBOX_BACKEND_UNAVAILABLE"),
		"internal errors":               failure(codes.Internal, ""),
		"canceled by the service":       failure(codes.Canceled, ""),
		"pressure":                      failure(codes.ResourceExhausted, ""),
		"pressure with a hint":          failure(codes.ResourceExhausted, "", retryAfter(700*time.Millisecond)),
	} {
		faulty(t, name, crowded, func(t *testing.T, f *fake, c *Client, es *estate) {
			start := time.Now()
			f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				if time.Since(start) < 3*time.Second {
					return nil, refusal
				}
				return es.delete(ctx, n, req)
			}
			stopped, left := onSignal(t, c)
			assert.Equal(t, crowded, stopped)
			assert.Empty(t, left)
			assert.Empty(t, es.left())
		})
	}
	faulty(t, "each answer is lost once", crowded, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if es.attempt(req.GetSandboxId()) == 1 {
				es.delete(ctx, n, req)
				return nil, failure(codes.Unavailable, "")
			}
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		}
		stopped, left := onSignal(t, c)
		assert.Equal(t, crowded, stopped)
		assert.Empty(t, left)
		assert.Equal(t, 2*crowded, f.count("DeleteSandbox"))
	})
	faulty(t, "the hint of the service is waited for", 1, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if n == 1 {
				return nil, failure(codes.ResourceExhausted, "", retryAfter(3*time.Second))
			}
			return es.delete(ctx, n, req)
		}
		_, left := onSignal(t, c)
		assert.Empty(t, left)
		assert.Equal(t, []time.Duration{3 * time.Second}, f.gaps("DeleteSandbox"))
	})
	faulty(t, "a hint beyond the budget leaves a list", 3, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if req.GetSandboxId() == "sb-2" {
				return nil, failure(codes.ResourceExhausted, "", retryAfter(time.Minute))
			}
			return es.delete(ctx, n, req)
		}
		stopped, left := hurriedly(t, c)
		assert.Equal(t, 2, stopped)
		require.Len(t, left, 1)
		assert.ErrorContains(t, left[0], "sb-2")
		require.ErrorIs(t, left[0], ErrTimeout)
		require.ErrorIs(t, left[0], ErrResourceExhausted)
		assert.ErrorContains(t, left[0], "made by the test", "a person can act on that")
	})
	faulty(t, "unavailable for good leaves a list", 20, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return nil, failure(codes.Unavailable, "")
		}
		stopped, left := onSignal(t, c)
		assert.Zero(t, stopped)
		assert.Equal(t, es.left(), left)
		assert.Len(t, left, 20)
		assert.Equal(t, 20, c.registry.unsettled(), "another cleanup tries again")
	})
	faulty(t, "a service that hangs on some leaves those", crowded, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = hangingOn(es.delete, "sb-7", "sb-70", "sb-100")
		stopped, left := onSignal(t, c)
		assert.Equal(t, crowded-3, stopped)
		assert.Equal(t, []string{"sb-100", "sb-7", "sb-70"}, left)
		assert.Equal(t, es.left(), left)
	})
	faulty(t, "another cleanup asks only for what is left", 5, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			if req.GetSandboxId() == "sb-3" && es.attempt("sb-3") == 1 {
				return nil, failure(codes.PermissionDenied, "")
			}
			return es.delete(ctx, n, req)
		}
		_, left := onSignal(t, c)
		assert.Equal(t, []string{"sb-3"}, left)
		stopped, left := onSignal(t, c)
		assert.Equal(t, 1, stopped-4, "the others count as stopped")
		assert.Empty(t, left)
		assert.Equal(t, 6, f.count("DeleteSandbox"))
	})
	faulty(t, "faults at random", crowded, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = atRandom(es)
		stopped, left := onSignal(t, c)
		assert.Equal(t, crowded, stopped+len(left))
		assert.Subset(t, left, es.left(), "nothing is left that was not named")
	})
}

// hangingOn answers deletes but for those of some sandboxes.
func hangingOn(answer deleteAnswer, ids ...string) deleteAnswer {
	return func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		if slices.Contains(ids, req.GetSandboxId()) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return answer(ctx, n, req)
	}
}

// atRandom refuses deletes, loses answers, hangs, or does what it is asked.
func atRandom(es *estate) deleteAnswer {
	return func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		switch rand.N(10) {
		case 0, 1, 2:
			return nil, failure(codes.Unavailable, "")
		case 3, 4:
			es.delete(ctx, n, req)
			return nil, failure(codes.Unavailable, "")
		case 5:
			return nil, failure(codes.ResourceExhausted, "", retryAfter(rand.N(5*time.Second)))
		case 6:
			return hangingOn(nil, req.GetSandboxId())(ctx, n, req)
		}
		return es.delete(ctx, n, req)
	}
}

func TestFaultsWhileCreating(t *testing.T) {
	const inFlight = 5
	// begin starts creates that the service has carried out, and whose answers do not come.
	begin := func(t *testing.T, f *fake, c *Client, es *estate, replay func(id string) (*sandboxv1.Sandbox, error)) (done func()) {
		var mu sync.Mutex
		known := map[string]bool{}
		f.create = func(ctx context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			id := es.create(req.GetRequestId())
			mu.Lock()
			again := known[id]
			known[id] = true
			mu.Unlock()
			if again {
				return replay(id)
			}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		var creates []*Future[*Sandbox]
		for range inFlight {
			creates = append(creates, Go(func() (*Sandbox, error) { return c.Create(t.Context()) }))
		}
		synctest.Wait()
		require.Len(t, es.left(), inFlight)
		return func() {
			for _, create := range creates {
				_, err := create.Wait()
				require.ErrorIs(t, err, ErrClosed)
			}
		}
	}
	faulty(t, "lost answers", 0, func(t *testing.T, f *fake, c *Client, es *estate) {
		done := begin(t, f, c, es, func(id string) (*sandboxv1.Sandbox, error) { return record(id, runningV), nil })
		_, left := onSignal(t, c)
		assert.Empty(t, left)
		assert.Empty(t, es.left())
		assert.Equal(t, inFlight, f.count("DeleteSandbox"))
		done()
	})
	for name, refusal := range map[string]error{
		"and then unavailable for three seconds": failure(codes.Unavailable, ""),
		"and then pressure with a hint":          failure(codes.ResourceExhausted, "", retryAfter(time.Second)),
		"and then pressure without one":          failure(codes.ResourceExhausted, ""),
	} {
		faulty(t, "lost answers "+name, 0, func(t *testing.T, f *fake, c *Client, es *estate) {
			start := time.Now()
			done := begin(t, f, c, es, func(id string) (*sandboxv1.Sandbox, error) {
				if time.Since(start) < 3*time.Second {
					return nil, refusal
				}
				return record(id, runningV), nil
			})
			_, left := onSignal(t, c)
			assert.Empty(t, left)
			assert.Empty(t, es.left())
			done()
		})
	}
	faulty(t, "a service that hangs leaves the request ids", 0, func(t *testing.T, f *fake, c *Client, es *estate) {
		begin(t, f, c, es, func(string) (*sandboxv1.Sandbox, error) { return nil, failure(codes.Unavailable, "") })
		_, left := onSignal(t, c)
		ids := f.requestIDs()
		slices.Sort(ids)
		assert.Equal(t, slices.Compact(ids), left)
		assert.Len(t, left, inFlight)
	})
	faulty(t, "a create that hangs holds back no delete", 10, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.create = func(ctx context.Context, _ int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		go c.Create(t.Context())
		synctest.Wait()
		stopped, left := onSignal(t, c)
		assert.Equal(t, 10, stopped)
		assert.Len(t, left, 1)
		assert.Empty(t, es.left())
		for _, call := range f.of("DeleteSandbox") {
			assert.Less(t, time.Since(call.at), 7*time.Second+time.Millisecond)
			assert.GreaterOrEqual(t, time.Since(call.at), 7*time.Second, "at once")
		}
	})
}

// line is the way to a service that can break.
type line struct {
	fake *fake

	mu       sync.Mutex
	listener *bufconn.Listener // nil: it is down
	server   *grpc.Server
	serving  sync.WaitGroup
}

func (l *line) dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	listener := l.listener
	l.mu.Unlock()
	if listener == nil {
		return nil, errors.New("connection refused")
	}
	return listener.DialContext(ctx)
}

func (l *line) up() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server, l.listener = grpc.NewServer(), bufconn.Listen(1<<20)
	server, listener := l.server, l.listener
	sandboxv1.RegisterSandboxServiceServer(server, l.fake)
	l.serving.Go(func() { server.Serve(listener) })
}

// down cuts everything that is open.
func (l *line) down() {
	l.mu.Lock()
	server := l.server
	l.listener = nil
	l.mu.Unlock()
	server.Stop()
	l.serving.Wait()
}

// restart is down and up, with some time in between, unless stop is closed first.
func (l *line) restart(away time.Duration, stop <-chan struct{}) {
	l.down()
	select {
	case <-time.After(away):
		l.up()
	case <-stop:
	}
}

func TestServiceRestartsWhileDeleting(t *testing.T) {
	for name, tt := range map[string]struct {
		away    time.Duration
		forgets bool
		left    int
	}{
		"at once":                           {0, false, 0},
		"within two seconds":                {2 * time.Second, false, 0},
		"and has forgotten what it had":     {time.Second, true, 0},
		"not in time, and so leaves a list": {time.Minute, false, crowded / 2},
	} {
		inBubble(t, name, func(t *testing.T) {
			l := &line{}
			f, c := fakeClient(t, WithDialOptions(grpc.WithContextDialer(l.dial)))
			l.fake = f
			l.up()
			defer l.down()
			es := newEstate(f)
			for range crowded {
				creating(t, c)
			}
			defer giveUp(c)
			half := make(chan struct{}) // the service has come that far when it falls
			f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
				if n == crowded/2+1 {
					close(half)
				}
				if n > crowded/2 && n <= crowded {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				return es.delete(ctx, n, req)
			}
			var outage sync.WaitGroup
			over := make(chan struct{})
			outage.Go(func() {
				<-half
				time.Sleep(100 * time.Millisecond)
				es.forget(tt.forgets)
				l.restart(tt.away, over)
			})
			stopped, left := onSignal(t, c)
			assert.Len(t, left, tt.left)
			assert.Equal(t, crowded-tt.left, stopped)
			assert.Equal(t, es.left(), left)
			close(over)
			outage.Wait()
		})
	}
}
