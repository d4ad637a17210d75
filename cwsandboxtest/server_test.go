package cwsandboxtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestMain(m *testing.M) { cwsandboxtest.Main(m) }

// api is a client that is not ours.
type api struct {
	sandboxv1.SandboxServiceClient
	ctx context.Context
}

func connect(t *testing.T, srv *cwsandboxtest.Server, key string) *api {
	t.Helper()
	cc, err := grpc.NewClient(srv.Address(), srv.DialOptions()...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, cc.Close()) })
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+key)
	return &api{sandboxv1.NewSandboxServiceClient(cc), ctx}
}

func (a *api) create(t *testing.T, tags ...string) string {
	t.Helper()
	return a.createFor(t, 0, tags...)
}

func (a *api) createFor(t *testing.T, lifetimeSeconds int32, tags ...string) string {
	t.Helper()
	spec := &sandboxv1.SandboxSpec{
		Containers:         []*sandboxv1.Container{{Name: "main", Image: "any", Command: "sleep", Args: []string{"1000000"}}},
		Tags:               tags,
		MaxLifetimeSeconds: lifetimeSeconds,
	}
	sb, err := a.CreateSandbox(a.ctx, &sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: spec}})
	require.NoError(t, err)
	return sb.GetSandboxId()
}

func (a *api) state(t *testing.T, id string) sandboxv1.State {
	t.Helper()
	sb, err := a.GetSandbox(a.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
	require.NoError(t, err)
	return sb.GetStatus().GetState()
}

func (a *api) delete(t *testing.T, id string, grace int32) {
	t.Helper()
	_, err := a.DeleteSandbox(a.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id, GracePeriodSeconds: grace})
	require.NoError(t, err)
}

func (a *api) output(t *testing.T, id string, argv ...string) string {
	t.Helper()
	resp, err := a.Exec(a.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: argv})
	require.NoError(t, err)
	return string(resp.GetStdout())
}

func TestHold(t *testing.T) {
	t.Run("C-208", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			srv := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory())
			a := connect(t, srv, srv.APIKey())

			// Held states, whatever time passes.
			start := srv.Hold("slow", cwsandbox.StateCreating)
			id := a.create(t, "slow")
			time.Sleep(time.Minute)
			assert.Equal(t, sandboxv1.State_STATE_CREATING, a.state(t, id))
			start()
			synctest.Wait()
			assert.Equal(t, sandboxv1.State_STATE_RUNNING, a.state(t, id))
			end := srv.Hold(id, cwsandbox.StateTerminating)
			a.delete(t, id, 0)
			time.Sleep(time.Minute)
			assert.Equal(t, sandboxv1.State_STATE_TERMINATING, a.state(t, id))
			end()
			synctest.Wait()
			assert.Equal(t, sandboxv1.State_STATE_COMPLETED, a.state(t, id))

			// Retention, lifetime and grace follow the time of the bubble.
			time.Sleep(time.Hour)
			_, err := a.GetSandbox(a.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			assert.Equal(t, codes.NotFound, status.Code(err))
			id = a.createFor(t, 60)
			time.Sleep(59 * time.Second)
			assert.Equal(t, sandboxv1.State_STATE_RUNNING, a.state(t, id))
			time.Sleep(6 * time.Second)
			assert.Equal(t, sandboxv1.State_STATE_FAILED, a.state(t, id))
		})
	})
}

func TestFakeTime(t *testing.T) {
	t.Run("C-209", func(t *testing.T) {
		begin := time.Now()
		synctest.Test(t, func(t *testing.T) {
			srv := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory())
			a := connect(t, srv, srv.APIKey())
			id := a.create(t)
			synctest.Wait()
			assert.Equal(t, sandboxv1.State_STATE_RUNNING, a.state(t, id))
			fake := time.Now()
			assert.Equal(t, "hello\n", a.output(t, id, "echo", "hello"))
			_ = a.output(t, id, "sleep", "300")
			assert.Equal(t, 5*time.Minute, time.Since(fake))
			a.delete(t, id, 30)
			synctest.Wait()
			assert.Equal(t, sandboxv1.State_STATE_COMPLETED, a.state(t, id))
		}) // fails when a goroutine is left
		assert.Less(t, time.Since(begin), time.Minute)
	})
}

// fakeTB is a test that can fail without harm.
type fakeTB struct {
	testing.TB
	cleanups []func()
	failures []string
}

func (f *fakeTB) Cleanup(fn func())         { f.cleanups = append(f.cleanups, fn) }
func (f *fakeTB) Error(args ...any)         { f.failures = append(f.failures, fmt.Sprint(args...)) }
func (f *fakeTB) Errorf(s string, a ...any) { f.failures = append(f.failures, fmt.Sprintf(s, a...)) }
func (f *fakeTB) Fatal(args ...any)         { f.Error(args...); panic(errFatal) }

var errFatal = errors.New("fatal")

func (f *fakeTB) end() []string {
	for _, fn := range f.cleanups {
		fn()
	}
	return f.failures
}

func TestLeftovers(t *testing.T) {
	t.Run("C-211", func(t *testing.T) {
		for _, row := range []struct {
			name  string
			opts  []cwsandboxtest.Option
			leave func(t *testing.T, srv *cwsandboxtest.Server, a *api, id string)
			fails bool
		}{
			{"left", nil, func(*testing.T, *cwsandboxtest.Server, *api, string) {}, true},
			{"allowed", []cwsandboxtest.Option{cwsandboxtest.AllowLeftovers()},
				func(*testing.T, *cwsandboxtest.Server, *api, string) {}, false},
			{"deleted", nil, func(t *testing.T, _ *cwsandboxtest.Server, a *api, id string) { a.delete(t, id, 0) }, false},
			{"being deleted", nil, func(t *testing.T, srv *cwsandboxtest.Server, a *api, id string) {
				srv.Hold(id, cwsandbox.StateTerminating)
				a.delete(t, id, 0)
			}, false},
			{"deleted a moment later", nil, func(t *testing.T, _ *cwsandboxtest.Server, a *api, id string) {
				time.AfterFunc(time.Second, func() { a.delete(t, id, 0) })
			}, false},
			{"forgotten", nil, func(_ *testing.T, srv *cwsandboxtest.Server, _ *api, id string) { srv.Forget(id) }, false},
			{"expired", nil, func(_ *testing.T, srv *cwsandboxtest.Server, _ *api, id string) { srv.Expire(id) }, false},
		} {
			t.Run(row.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tb := &fakeTB{TB: t}
					srv := cwsandboxtest.NewServer(tb, append(row.opts, cwsandboxtest.InMemory())...)
					a := connect(t, srv, srv.APIKey())
					id := a.create(t, "tag-1", "tag-2")
					synctest.Wait()
					row.leave(t, srv, a, id)
					failures := tb.end()
					if !row.fails {
						assert.Empty(t, failures)
						return
					}
					require.Len(t, failures, 1)
					assert.Contains(t, failures[0], "1 sandboxes were not stopped: "+id+" (tag-1, tag-2)")
				})
			})
		}
	})
}

func TestServersShareNothing(t *testing.T) {
	t.Run("C-212", func(t *testing.T) {
		for _, name := range []string{"network", "memory"} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var opts []cwsandboxtest.Option
				if name == "memory" {
					opts = append(opts, cwsandboxtest.InMemory())
				}
				one, two := cwsandboxtest.NewServer(t, opts...), cwsandboxtest.NewServer(t, opts...)
				a, b := connect(t, one, one.APIKey()), connect(t, two, two.APIKey())
				assert.NotEqual(t, one.APIKey(), two.APIKey())
				if name == "network" {
					assert.NotEqual(t, one.URL(), two.URL())
				}
				one.Inject(cwsandboxtest.Rule{Method: "Exec", Action: cwsandboxtest.Fail(codes.Aborted, "no")})
				id := a.create(t)
				_, err := b.GetSandbox(b.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
				assert.Equal(t, codes.NotFound, status.Code(err))
				_, err = b.Exec(b.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}})
				assert.Equal(t, codes.NotFound, status.Code(err), "the rule of the other server")
				assert.Equal(t, 0, two.Received("CreateSandbox"))
				assert.Equal(t, 1, two.Received("GetSandbox"))
				assert.Empty(t, two.Active())
				_, err = connect(t, two, one.APIKey()).GetSandbox(a.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
				assert.Equal(t, codes.Unauthenticated, status.Code(err))
				a.delete(t, id, 0)
			})
		}
	})
}

func TestCommandsAreFunctions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		greet := cwsandboxtest.Command{Run: func(_ context.Context, p *cwsandboxtest.Proc) int {
			fmt.Fprintf(p.Stdout, "hello %s", p.Argv[1])
			return 0
		}}
		srv := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), nil,
			cwsandboxtest.WithCommand("greet", greet),
			cwsandboxtest.WithScript("make | tee log", cwsandboxtest.Reply("made", "", 0)))
		a := connect(t, srv, srv.APIKey())
		id := a.create(t)
		synctest.Wait()
		assert.Equal(t, "hello you", a.output(t, id, "/usr/bin/greet", "you"))
		assert.Equal(t, "made", a.output(t, id, "sh", "-c", "make | tee log"))
		assert.Equal(t, "scripted", srv.Isolation())
		a.delete(t, id, 0)
	})
}

func TestProcessesAreReal(t *testing.T) {
	srv := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	a := connect(t, srv, srv.APIKey())
	id := a.create(t)
	require.Eventually(t, func() bool { return a.state(t, id) == sandboxv1.State_STATE_RUNNING }, time.Minute, time.Millisecond)
	assert.Equal(t, "5\n", a.output(t, id, "sh", "-c", "echo $((2 + 3))"))
	assert.NotEqual(t, "scripted", srv.Isolation())
	assert.NotEmpty(t, srv.Warnings())
	a.delete(t, id, 0)
}

func TestBadOptionsFailTheTest(t *testing.T) {
	tb := &fakeTB{TB: t}
	assert.PanicsWithValue(t, errFatal, func() {
		cwsandboxtest.NewServer(tb, cwsandboxtest.Processes(), cwsandboxtest.WithCommand("x", cwsandboxtest.Command{}))
	})
	require.Len(t, tb.failures, 1)
	assert.Contains(t, tb.failures[0], "with Processes")
}

func TestStart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	srv, err := cwsandboxtest.Start(ctx)
	require.NoError(t, err)
	cancel()
	a := connect(t, srv, srv.APIKey())
	a.create(t)
	require.NoError(t, srv.Close(), "leftovers matter to tests only")
	require.NoError(t, srv.Close())
	_, err = a.ListSandboxes(a.ctx, &sandboxv1.ListSandboxesRequest{})
	assert.Equal(t, codes.Unavailable, status.Code(err))

	_, err = cwsandboxtest.Start(ctx)
	assert.ErrorIs(t, err, context.Canceled)
}

func TestEnvironment(t *testing.T) {
	srv := cwsandboxtest.NewServer(t)
	srv.Setenv(t)
	assert.Equal(t, srv.URL(), os.Getenv("CWSANDBOX_BASE_URL"))
	assert.Equal(t, srv.APIKey(), os.Getenv("CWSANDBOX_API_KEY"))
	assert.Contains(t, srv.Env(), "CWSANDBOX_BASE_URL=http://"+srv.Address())
}

func TestNoCredentialIsLogged(t *testing.T) {
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	srv, err := cwsandboxtest.Start(t.Context(), cwsandboxtest.WithLogger(logger))
	require.NoError(t, err)
	a := connect(t, srv, srv.APIKey())
	a.create(t)
	b := connect(t, srv, "wrong-secret")
	_, err = b.ListSandboxes(b.ctx, &sandboxv1.ListSandboxesRequest{})
	require.Equal(t, codes.Unauthenticated, status.Code(err))
	logger.Info("calls", "all", srv.Calls("*"))
	require.NoError(t, srv.Close())
	assert.Contains(t, log.String(), "CreateSandbox")
	assert.NotContains(t, log.String(), srv.APIKey())
	assert.NotContains(t, log.String(), "wrong-secret")
}

// Calls that a rule holds must not keep the server from closing.
func TestCloseEndsRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory())
		a := connect(t, srv, srv.APIKey())
		h := srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: cwsandboxtest.Hang()})
		id := a.create(t)
		done := make(chan error, 1)
		go func() {
			_, err := a.DeleteSandbox(a.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id})
			done <- err
		}()
		require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", 1))
		synctest.Wait()
		require.Equal(t, 1, h.Hits())
		require.Empty(t, done)
		require.NoError(t, srv.Close())
		require.NoError(t, <-done, "the delete went on and had its effect")
	})
}
