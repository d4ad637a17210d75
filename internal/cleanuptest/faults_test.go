//go:build linux

package cleanuptest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

const (
	sandboxes = 20 // that a program has
	inFlight  = 3  // that it is about to make
)

// TestFaults ends a program while the service is in trouble.
func TestFaults(t *testing.T) {
	for name, rule := range map[string]cwsandboxtest.Rule{
		"a burst of unavailable": {Method: "DeleteSandbox", Times: 3 * sandboxes,
			Action: cwsandboxtest.Fail(codes.Unavailable, "busy")},
		"pressure with a hint": {Method: "DeleteSandbox", Times: sandboxes,
			Action: cwsandboxtest.Fail(codes.ResourceExhausted, "slow down", cwsandboxtest.RetryAfter(300*time.Millisecond))},
		"lost answers": {Method: "DeleteSandbox", Times: 5,
			Action: cwsandboxtest.DropResponse()},
		"errors in place of answers": {Method: "DeleteSandbox", Times: sandboxes,
			Action: cwsandboxtest.FailAfter(codes.Internal, "broken")},
		"cut connections": {Method: "DeleteSandbox", Times: 5,
			Action: cwsandboxtest.CutConnection()},
		"a server that goes away politely": {Method: "DeleteSandbox", Times: 1,
			Action: cwsandboxtest.GoAway()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			c := start(t, sandboxes, srv.Env()...)
			rule := srv.Inject(rule)
			c.end(t, syscall.SIGTERM)
			assertActive(t, srv, 0)
			assert.Equal(t, fmt.Sprintf("cwsandbox: stopped %d of %[1]d\n", sandboxes), c.stderr.String())
			assert.NotZero(t, rule.Hits())
		})
	}
	for name, answer := range map[string]cwsandboxtest.Action{
		"creates whose answers hang":     cwsandboxtest.DelayAfter(time.Hour),
		"creates that have not happened": cwsandboxtest.Hang(),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			rule := srv.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", After: sandboxes, Times: inFlight, Action: answer})
			c := start(t, sandboxes, append(srv.Env(), fmt.Sprintf("%s=%d", inFlightVariable, inFlight))...)
			require.NoError(t, srv.WaitForCalls(t.Context(), "CreateSandbox", sandboxes+inFlight))
			c.end(t, syscall.SIGTERM)
			assertActive(t, srv, 0)
			assert.NotContains(t, c.stderr.String(), "may still be running")
			assert.Equal(t, inFlight, rule.Hits())
			assert.Equal(t, sandboxes+inFlight, srv.Executed("DeleteSandbox"), "each once")
		})
	}
}

// TestLeftovers ends a program whose sandboxes cannot all be stopped in time: it names those, and no others.
func TestLeftovers(t *testing.T) {
	const stuck = 3
	for name, action := range map[string]cwsandboxtest.Action{
		"a server that hangs":          cwsandboxtest.Hang(),
		"unavailable for good":         cwsandboxtest.Fail(codes.Unavailable, "maintenance"),
		"a hint beyond the budget":     cwsandboxtest.Fail(codes.ResourceExhausted, "slow down", cwsandboxtest.RetryAfter(time.Minute)),
		"a credential that is refused": cwsandboxtest.Fail(codes.PermissionDenied, "not yours"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t, cwsandboxtest.AllowLeftovers())
			c := start(t, sandboxes, append(srv.Env(), "CWSANDBOX_CLEANUP_TIMEOUT=2s")...)
			all := srv.Active()
			require.Len(t, all, sandboxes)
			for _, id := range all[:stuck] {
				srv.Inject(cwsandboxtest.Rule{
					Method: "DeleteSandbox", Action: action,
					When: func(call cwsandboxtest.Call) bool { return call.SandboxID == id },
				})
			}
			took := c.end(t, syscall.SIGTERM)
			assert.Less(t, took, 5*time.Second)
			assertActive(t, srv, stuck)
			assert.Equal(t, all[:stuck], srv.Active())
			assertNamed(t, c, all[:stuck])
		})
	}
}

// assertNamed expects a report that names some sandboxes, and no others.
func assertNamed(t *testing.T, c *child, left []string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(c.stderr.String()), "\n")
	assert.Equal(t, fmt.Sprintf("cwsandbox: stopped %d of %d", sandboxes-len(left), sandboxes), lines[0])
	require.Len(t, lines, 1+len(left))
	for _, id := range left {
		assert.Equal(t, 1, strings.Count(c.stderr.String(), id), id)
	}
}

// TestRestarts ends a program while the service restarts: it falls when it has ended half of the sandboxes.
func TestRestarts(t *testing.T) {
	for name, tt := range map[string]struct {
		away    time.Duration
		forgets bool
	}{
		"and comes back at once":                       {},
		"and comes back after a second":                {away: time.Second},
		"and comes back without knowing the sandboxes": {forgets: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var deletes atomic.Int64
			arrived := make(chan struct{}) // closed when all deletes have
			s := serve(t, func(ctx context.Context, next func(context.Context) (any, error)) (any, error) {
				n := deletes.Add(1)
				if n == sandboxes {
					close(arrived)
				}
				if n > sandboxes/2 && n <= sandboxes {
					<-ctx.Done()
					return nil, status.FromContextError(ctx.Err()).Err()
				}
				return next(ctx)
			})
			defer s.close()
			c := start(t, sandboxes, s.env()...)
			var outage sync.WaitGroup
			outage.Go(func() {
				<-arrived
				s.restart(tt.away, tt.forgets)
			})
			c.end(t, syscall.SIGTERM)
			outage.Wait()
			assert.Empty(t, s.active())
			assertNamed(t, c, nil)
		})
	}
}
