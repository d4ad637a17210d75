//go:build linux

package cleanuptest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	hangup      = 128 + int(syscall.SIGHUP)
	interrupted = 128 + int(syscall.SIGINT)
	terminated  = 128 + int(syscall.SIGTERM)
)

// processScripts are the programs of TestProcesses.
var processScripts = map[string]func(){
	"two alone and two in a session": func() {
		create(2)
		session := newSession()
		for range 2 {
			must(session.Create(context.Background()))
		}
		say(ready)
		select {}
	},
	"defers stop":        func() { waitsForContext(false) },
	"calls stop at once": func() { waitsForContext(true) },
	"reads one signal": func() {
		create(1)
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGTERM)
		say(ready)
		<-signals
		shutDown()
	},
	"handles every signal": func() {
		signals := make(chan os.Signal, 2)
		signal.Notify(signals, syscall.SIGTERM)
		for {
			create(1)
			say(ready)
			<-signals
			<-signals // raised again, when everything is stopped
		}
	},
	"closes its session": func() {
		session := newSession()
		for range sandboxes {
			must(session.Create(context.Background()))
		}
		say(ready)
		session.Close()
		select {}
	},
	"waits for a stop": func() {
		sb := create(2)[0] // the other one's delete tells that the cleanup has begun
		say(ready)
		sb.Stop().Wait()
		select {}
	},
	"runs many commands": func() {
		ctx := context.Background()
		var work sync.WaitGroup
		for _, sb := range create(streamsOfMany / 20) {
			for range 20 {
				work.Go(func() { must(sb.StartProcess(ctx, []string{"sleep", "infinity"})) })
			}
		}
		work.Wait()
		say(ready)
		select {}
	},
	"has a long grace": func() {
		must(cwsandbox.Run(context.Background(), cwsandbox.WithGrace(30*time.Second)))
		say(ready)
		select {}
	},
	"shares its tags": func() {
		must(cwsandbox.Run(context.Background(), cwsandbox.WithTags("shared")))
		say(ready)
		select {}
	},
	"returns from Main": func() { mainThat(func() error { return nil }) },
	"fails in Main":     func() { mainThat(func() error { return errors.New("no luck") }) },
	"panics in Main":    func() { mainThat(func() error { panic("boom") }) },
	"exits with 3": func() {
		create(3)
		say(ready)
		cwsandbox.Exit(3)
	},
	"has chosen its budget": func() {
		cwsandbox.SetCleanupTimeout(time.Second)
		create(2)
		say(ready)
		io.ReadAll(os.Stdin)
		if err := cwsandbox.Cleanup(context.Background()); !errors.Is(err, cwsandbox.ErrTimeout) {
			fmt.Fprintln(os.Stderr, "Cleanup without a deadline:", err)
		}
		cwsandbox.Exit(3)
	},
	"logs into a full pipe": func() {
		client := must(cwsandbox.NewClient(cwsandbox.WithLogger(slog.New(slog.NewTextHandler(stuck{}, nil)))))
		for range 3 {
			must(client.Create(context.Background()))
		}
		say(ready)
		select {}
	},
	"logs what matters": func() { logTo(slog.LevelInfo) },
	"logs all there is": func() { logTo(slog.LevelDebug) },
}

func init() {
	for name, script := range processScripts {
		scripts[name] = script
	}
}

// logTo has a client that logs to standard error create sandboxes.
func logTo(level slog.Level) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	client := must(cwsandbox.NewClient(cwsandbox.WithLogger(logger)))
	for range 3 {
		must(client.Create(context.Background()))
	}
	say(ready)
	select {}
}

// stuck is a writer that takes nothing, ever.
type stuck struct{}

func (stuck) Write([]byte) (int, error) { select {} }

// streamsOfMany is how many commands run in a program that has many.
const streamsOfMany = 200

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(100)
	}
	return v
}

func newSession() *cwsandbox.Session { return must(cwsandbox.NewSession()) }

// shutDown is the end of a program that takes its time over it.
func shutDown() {
	time.Sleep(2 * aMoment)
	fmt.Println("shut down, tracked:", cwsandbox.Tracked())
	os.Exit(7)
}

func waitsForContext(atOnce bool) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	create(1)
	say(ready)
	<-ctx.Done()
	if atOnce {
		stop()
	}
	shutDown()
}

func mainThat(fn func() error) {
	cwsandbox.Main(func(context.Context) error {
		create(3)
		say(ready)
		return fn()
	})
}

// rest waits for the end of the program and returns what it has said since, and its status as a shell would.
func (c *child) rest() (said string, status int) {
	all, _ := io.ReadAll(c.stdout)
	return string(all), c.status()
}

// TestProcesses is the part "Process" of the statements that the other tests of this package do not hold.
func TestProcesses(t *testing.T) {
	for name, test := range map[string]func(t *testing.T, srv *cwsandboxtest.Server){
		"L-137": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "two alone and two in a session", srv)
			c.end(t, syscall.SIGINT)
			assert.Equal(t, 4, srv.Received("DeleteSandbox"))
		},
		"L-138": func(t *testing.T, srv *cwsandboxtest.Server) {
			for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
				c := startScript(t, "two alone and two in a session", srv)
				c.end(t, sig)
				assertActive(t, srv, 0, sig)
			}
			assert.Equal(t, 8, srv.Received("DeleteSandbox"))
		},
		"L-139": func(t *testing.T, srv *cwsandboxtest.Server) {
			for _, script := range []string{"defers stop", "calls stop at once", "reads one signal"} {
				c := startScript(t, script, srv)
				c.signal(t, syscall.SIGTERM)
				said, status := c.rest()
				assert.Equal(t, 7, status, script)
				assert.Equal(t, "shut down, tracked: 0\n", said, script)
				assertActive(t, srv, 0, script)
			}
		},
		"L-143": func(t *testing.T, srv *cwsandboxtest.Server) {
			held := srv.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.Hang()})
			c := start(t, 0, append(srv.Env(), inFlightVariable+"=1")...)
			require.NoError(t, srv.WaitForCalls(t.Context(), "CreateSandbox", 1))
			c.signal(t, syscall.SIGINT)
			held.Release()
			assert.Equal(t, interrupted, c.status(), &c.stderr)
			assert.Equal(t, 1, srv.Executed("DeleteSandbox"))
		},
		"L-144": func(t *testing.T, srv *cwsandboxtest.Server) {
			held := srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: cwsandboxtest.Hang()})
			c := startScript(t, "closes its session", srv)
			require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", sandboxes))
			c.signal(t, syscall.SIGINT)
			time.Sleep(aMoment)
			held.Release()
			assert.Equal(t, interrupted, c.status())
			assert.Equal(t, sandboxes, srv.Received("DeleteSandbox"), "none twice")
			assert.Equal(t, fmt.Sprintf("cwsandbox: stopped %d of %[1]d\n", sandboxes), c.stderr.String())
		},
		"L-145": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "runs many commands", srv)
			require.NoError(t, srv.WaitForCalls(t.Context(), "StreamExec", streamsOfMany))
			c.end(t, syscall.SIGINT)
			assert.Equal(t, "cwsandbox: stopped 10 of 10\n", c.stderr.String())
		},
		"L-146": func(t *testing.T, srv *cwsandboxtest.Server) {
			const n = 100
			c := start(t, n, srv.Env()...)
			held := srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: cwsandboxtest.Hang()})
			c.signal(t, syscall.SIGTERM)
			// The benchmarks measure how soon: far within the second.
			require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", n), "though none is answered")
			held.Release()
			assert.Equal(t, terminated, c.status())
		},
		"L-147": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "handles every signal", srv)
			for range 20 { // each soon after the one before was raised again
				c.signal(t, syscall.SIGTERM)
				c.expectReady(t)
				assertActive(t, srv, 1)
				time.Sleep(aMoment)
			}
			c.end(t, syscall.SIGINT)
		},
		"L-148": func(t *testing.T, srv *cwsandboxtest.Server) {
			startScript(t, "has a long grace", srv).end(t, syscall.SIGTERM)
			calls := srv.Calls("DeleteSandbox")
			require.Len(t, calls, 1)
			assert.EqualValues(t, 5, calls[0].Request.(*sandboxv1.DeleteSandboxRequest).GetGracePeriodSeconds())
		},
		"L-149": func(t *testing.T, srv *cwsandboxtest.Server) {
			for script, want := range map[string]int{"returns from Main": 0, "fails in Main": 1, "panics in Main": 2} {
				c := startScript(t, script, srv)
				assert.Equal(t, want, c.status(), script)
				assertActive(t, srv, 0, script)
				switch want {
				case 0:
					assert.Empty(t, c.stderr.String())
				case 1:
					assert.Equal(t, "no luck\n", c.stderr.String())
				case 2:
					assert.Contains(t, c.stderr.String(), "panic: boom")
					assert.Contains(t, c.stderr.String(), "process_test.go", "the stack")
				}
			}
		},
		"L-150": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "exits with 3", srv)
			assert.Equal(t, 3, c.status())
			assert.Empty(t, c.stderr.String())
			assert.Equal(t, 3, srv.Executed("DeleteSandbox"))
		},
		"L-153": func(t *testing.T, srv *cwsandboxtest.Server) {
			other := must(srv.Client().Create(t.Context(), cwsandbox.WithTags("shared")))
			startScript(t, "shares its tags", srv).end(t, syscall.SIGTERM)
			assertActive(t, srv, 1)
			assert.Equal(t, []string{other.ID()}, srv.Active())
			_, err := other.Stop().Wait()
			require.NoError(t, err)
		},
		"stopped by the terminal and continued": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := prepare(t, 2, srv.Env())
			c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a job, as a shell makes one
			c.launch(t)
			c.expectReady(t)
			pid := c.cmd.Process.Pid
			require.NoError(t, syscall.Kill(-pid, syscall.SIGTSTP))
			require.Eventually(t, func() bool { return state(t, pid) == "T" }, patience, time.Millisecond)
			require.NoError(t, syscall.Kill(-pid, syscall.SIGTERM))
			assert.Equal(t, "T", state(t, pid))
			assertActive(t, srv, 2)
			require.NoError(t, syscall.Kill(-pid, syscall.SIGCONT))
			assert.Equal(t, terminated, c.status())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			test(t, srv)
			srv.AssertNoneLeft(t)
		})
	}
}

// TestProcessesThatLeave is the same where sandboxes are left.
func TestProcessesThatLeave(t *testing.T) {
	hang := func(srv *cwsandboxtest.Server) {
		srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: cwsandboxtest.Hang()})
	}
	for name, test := range map[string]func(t *testing.T, srv *cwsandboxtest.Server){
		"L-136": func(t *testing.T, srv *cwsandboxtest.Server) {
			c := startScript(t, "turns the hook off", srv)
			c.end(t, syscall.SIGTERM)
			c = start(t, 1, append(srv.Env(), "CWSANDBOX_DISABLE_SIGNAL_HANDLING=1")...)
			c.end(t, syscall.SIGTERM)
			assert.Zero(t, srv.Received("DeleteSandbox"))
			assertActive(t, srv, 2)
			start(t, 1, srv.Env()...).end(t, syscall.SIGTERM)
			assertActive(t, srv, 2, "with the hook its own is stopped")
		},
		"L-141": func(t *testing.T, srv *cwsandboxtest.Server) {
			hang(srv)
			c := start(t, 2, srv.Env()...)
			took := c.end(t, syscall.SIGTERM)
			assert.Greater(t, took, 6*time.Second)
			assert.Less(t, took, 14*time.Second, "7 seconds, on a machine that has other things to do")
			for _, id := range srv.Active() {
				assert.Contains(t, c.stderr.String(), id)
			}
			assert.Contains(t, c.stderr.String(), "stopped 0 of 2\n")
		},
		"the option for the budget beats the variable": func(t *testing.T, srv *cwsandboxtest.Server) {
			hang(srv)
			for _, want := range []int{terminated, 3} {
				c := prepare(t, 0, append(srv.Env(), scriptVariable+"=has chosen its budget", "CWSANDBOX_CLEANUP_TIMEOUT=1h"))
				stdin, held, err := os.Pipe()
				require.NoError(t, err)
				c.cmd.Stdin = stdin
				c.launch(t)
				c.expectReady(t)
				if want == terminated {
					c.signal(t, syscall.SIGTERM)
				} else {
					held.Close()
				}
				assert.Equal(t, want, c.status())
				assert.Contains(t, c.stderr.String(), "stopped 0 of 2\n")
				assert.Equal(t, 2, strings.Count(c.stderr.String(), "may still be running"), "by Exit once, not by Cleanup")
				assert.NotContains(t, c.stderr.String(), "Cleanup without")
				held.Close()
				stdin.Close()
			}
		},
		"L-142 the network hangs": func(t *testing.T, srv *cwsandboxtest.Server) {
			hang(srv)
			forced(t, srv, func() *child { return start(t, 2, append(srv.Env(), noDelay)...) })
		},
		"L-142 a stop is stuck": func(t *testing.T, srv *cwsandboxtest.Server) {
			hang(srv)
			forced(t, srv, func() *child {
				before := srv.Received("DeleteSandbox")
				c := startUnder(t, 0, append(srv.Env(), noDelay, scriptVariable+"=waits for a stop"))
				c.expectReady(t)
				require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", before+1))
				return c
			})
		},
		"L-142 standard error is blocked": func(t *testing.T, srv *cwsandboxtest.Server) {
			hang(srv)
			forced(t, srv, func() *child {
				c := prepare(t, 0, append(srv.Env(), noDelay, scriptVariable+"=logs what matters"))
				c.cmd.Stderr = fullPipe(t)
				c.launch(t)
				c.expectReady(t)
				return c
			})
		},
		"a log that blocks takes no reason away": func(t *testing.T, srv *cwsandboxtest.Server) {
			srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: cwsandboxtest.Fail(codes.PermissionDenied, "not yours")})
			c := prepare(t, 0, append(srv.Env(), scriptVariable+"=logs into a full pipe", "CWSANDBOX_CLEANUP_TIMEOUT=1s"))
			c.launch(t)
			c.expectReady(t)
			c.end(t, syscall.SIGTERM)
			assert.Equal(t, 3, strings.Count(c.stderr.String(), "not yours: it may still be running\n"), &c.stderr)
		},
		"L-158": func(t *testing.T, srv *cwsandboxtest.Server) {
			for _, action := range []cwsandboxtest.Action{
				cwsandboxtest.Fail(codes.Unauthenticated, "who are you"), cwsandboxtest.Fail(codes.Unavailable, "maintenance"),
				cwsandboxtest.Hang(),
			} {
				rule := srv.Inject(cwsandboxtest.Rule{Method: "DeleteSandbox", Action: action})
				c := startUnder(t, 0, append(srv.Env(), scriptVariable+"=logs all there is", "CWSANDBOX_CLEANUP_TIMEOUT=1s"))
				c.expectReady(t)
				c.end(t, syscall.SIGTERM)
				assert.Contains(t, c.stderr.String(), "stopped 0 of 3\n")
				assert.NotContains(t, c.stderr.String(), srv.APIKey())
				rule.Release()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, cwsandboxtest.NewServer(t, cwsandboxtest.AllowLeftovers()))
		})
	}
}

// noDelay has a program that is built with the race detector end as soon as another one.
const noDelay = "GORACE=atexit_sleep_ms=0"

// forced sends programs whose cleanup hangs a second signal. It takes the fastest of several, because the machine may be
// busy: what forces an exit waits for nothing, or each of them would be late.
func forced(t *testing.T, srv *cwsandboxtest.Server, start func() *child) {
	for _, signals := range [][2]syscall.Signal{{syscall.SIGINT, syscall.SIGINT}, {syscall.SIGINT, syscall.SIGTERM}} {
		fastest := patience
		for try := 0; try < 20 && fastest > 50*time.Millisecond; try++ {
			c := start()
			before := srv.Received("DeleteSandbox")
			c.signal(t, signals[0])
			require.NoError(t, srv.WaitForCalls(t.Context(), "DeleteSandbox", before+1))
			time.Sleep(aMoment)
			begin := time.Now()
			c.signal(t, signals[1])
			status := c.status()
			fastest = min(fastest, time.Since(begin))
			require.Equal(t, 128+int(signals[1]), status)
			require.False(t, c.cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled(), "it exits")
		}
		assert.Less(t, fastest, 50*time.Millisecond)
	}
}

// fullPipe returns a pipe that takes nothing more and is not read.
func fullPipe(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	require.NoError(t, w.SetWriteDeadline(time.Now().Add(aMoment)))
	for err == nil {
		_, err = w.Write(make([]byte, 4096))
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	return w
}

// state returns the letter that /proc shows for what a process does.
func state(t *testing.T, pid int) string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(stat), ") ")
	return rest[:1]
}
