//go:build linux

package cleanuptest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// scriptVariable names the script that the program is, in place of the usual one.
const scriptVariable = "CLEANUPTEST_SCRIPT"

// scripts are programs with ways of their own to end. Each makes its sandboxes, says that it is ready, and says so when
// it has come to its second part.
var scripts = map[string]func(){
	"plain": func() {
		create(1)
		say(ready)
		select {}
	},
	"waits for Ctrl+C only": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		create(1)
		say(ready)
		<-ctx.Done()
		cwsandbox.Exit(7)
	},
	"gives its handler back at once": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		create(1)
		say(ready)
		<-ctx.Done()
		stop()
		say(ready)
		select {}
	},
	"keeps its handler": func() {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
		defer stop()
		create(1)
		say(ready)
		<-ctx.Done()
		say(ready)
		io.ReadAll(os.Stdin)
		os.Exit(7)
	},
	"ends when a command fails": func() {
		sandboxes := create(2)
		say(ready)
		res, err := sandboxes[0].Exec(context.Background(), []string{"sleep", "infinity"})
		fmt.Fprintln(os.Stderr, res, err)
		os.Exit(1)
	},
	"exits within Main": func() {
		cwsandbox.Main(func(ctx context.Context) error {
			create(1)
			say(ready)
			<-ctx.Done()
			cwsandbox.Exit(3)
			return nil
		})
	},
	"panics within Main": func() {
		cwsandbox.Main(func(ctx context.Context) error {
			create(1)
			say(ready)
			<-ctx.Done()
			panic("boom")
		})
	},
	"cleans up under its own context": func() {
		ctx, cancel := context.WithCancel(context.Background())
		defer os.Exit(0)
		defer cwsandbox.Cleanup(ctx)
		create(10)
		say(ready)
		cancel()
	},
	"turns the hook off": func() {
		create(1)
		cwsandbox.DisableSignalHandling()
		say(ready)
		select {}
	},
}

func create(n int) (made []*cwsandbox.Sandbox) {
	for range n {
		sb, err := cwsandbox.Run(context.Background())
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(100)
		}
		made = append(made, sb)
	}
	return made
}

func say(text string) { fmt.Println(text, runtime.NumGoroutine()) }

// startScript starts a script and returns when it is ready.
func startScript(t *testing.T, name string, srv *cwsandboxtest.Server) *child {
	t.Helper()
	c := startUnder(t, 0, append(srv.Env(), scriptVariable+"="+name))
	c.expectReady(t)
	return c
}

func (c *child) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(sig))
}

// status waits for the end of the program and returns its status as a shell would.
func (c *child) status() int {
	io.Copy(io.Discard, c.stdout)
	c.cmd.Wait()
	status := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}

// aMoment is longer than equal signals count as one, and shorter than a cleanup.
const aMoment = 150 * time.Millisecond

// assertActive asserts that so many sandboxes have not ended. What was told to end does so in its own time.
func assertActive(t *testing.T, srv *cwsandboxtest.Server, n int, note ...any) {
	t.Helper()
	assert.Eventually(t, func() bool { return len(srv.Active()) == n }, patience, time.Millisecond, note...)
}

func TestScripts(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, srv *cwsandboxtest.Server){
		"a handler of another signal does not save the program": func(t *testing.T, srv *cwsandboxtest.Server) {
			for sig, want := range map[syscall.Signal]int{syscall.SIGTERM: terminated, syscall.SIGHUP: hangup, syscall.SIGINT: 7} {
				c := startScript(t, "waits for Ctrl+C only", srv)
				c.signal(t, sig)
				assert.Equal(t, want, c.status(), sig)
			}
		},
		"who gives the handler back dies of the next signal": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "gives its handler back at once", srv)
			c.signal(t, syscall.SIGINT)
			c.expectReady(t)
			require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", 1))
			time.Sleep(aMoment)
			c.signal(t, syscall.SIGINT)
			assert.Equal(t, interrupted, c.status())
		},
		"who keeps the handler survives": func(t *testing.T, srv *cwsandboxtest.Server) {
			stdin, held, err := os.Pipe()
			require.NoError(t, err)
			defer stdin.Close()
			c := prepare(t, 0, append(srv.Env(), scriptVariable+"=keeps its handler"))
			c.cmd.Stdin = stdin
			c.launch(t)
			c.expectReady(t)
			c.signal(t, syscall.SIGINT)
			c.expectReady(t)
			for range 3 {
				time.Sleep(aMoment)
				c.signal(t, syscall.SIGINT)
			}
			time.Sleep(aMoment)
			held.Close()
			assert.Equal(t, 7, c.status())
		},
		"a script that ends because of the cleanup ends after it": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "ends when a command fails", srv)
			second := srv.Active()[1]
			srv.Inject(cwsandboxtest.Rule{
				Method: "DeleteSandbox", Times: 1, Action: cwsandboxtest.Fail(codes.Unavailable, "busy"),
				When: func(call cwsandboxtest.Call) bool { return call.SandboxID == second },
			})
			c.signal(t, syscall.SIGINT)
			assert.Equal(t, interrupted, c.status(), &c.stderr)
		},
		"Exit within Main does not wait for itself": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "exits within Main", srv)
			begin := time.Now()
			c.signal(t, syscall.SIGTERM)
			assert.Equal(t, terminated, c.status())
			assert.Less(t, time.Since(begin), 5*time.Second)
		},
		"a panic after a signal is not lost": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "panics within Main", srv)
			c.signal(t, syscall.SIGTERM)
			c.status()
			assert.Contains(t, c.stderr.String(), "panic: boom")
			assert.Contains(t, c.stderr.String(), "scripts_test.go", "the stack")
		},
		"two signals at once are one": func(t *testing.T, srv *cwsandboxtest.Server) {
			for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
				c := startScript(t, "plain", srv)
				busy := srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Times: 1, Action: cwsandboxtest.Fail(codes.Unavailable, "busy")})
				c.signal(t, syscall.SIGINT)
				c.signal(t, second)
				c.status()
				assertActive(t, srv, 0, second)
				busy.Release()
			}
		},
		"a context that has ended skips no cleanup": func(t *testing.T, srv *cwsandboxtest.Server) {
			assert.Zero(t, startScript(t, "cleans up under its own context", srv).status())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			test(t, srv)
			srv.AssertNoneLeft(t)
		})
	}
	t.Run("without the hook nothing is stopped", func(t *testing.T) {
		t.Parallel()
		srv := cwsandboxtest.NewServer(t, cwsandboxtest.AllowLeftovers())
		c := startScript(t, "turns the hook off", srv)
		c.signal(t, syscall.SIGTERM)
		assert.Equal(t, terminated, c.status())
		assertActive(t, srv, 1)
	})
}
