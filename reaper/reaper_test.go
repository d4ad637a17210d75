//go:build linux

package reaper_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestDeaths(t *testing.T) {
	for _, death := range []struct {
		name string
		die  func(t *testing.T, c *child)
	}{
		{"SIGKILL", func(t *testing.T, c *child) { require.Error(t, c.kill()) }},
		{"SIGKILL of the group", func(t *testing.T, c *child) {
			require.NoError(t, syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL))
			require.Error(t, c.cmd.Wait())
		}},
		{"SIGQUIT", func(t *testing.T, c *child) {
			require.NoError(t, c.cmd.Process.Signal(syscall.SIGQUIT))
			require.Error(t, c.cmd.Wait())
		}},
		{"os.Exit", func(t *testing.T, c *child) {
			fmt.Fprintln(c.input, "exit")
			require.EqualError(t, c.cmd.Wait(), "exit status 3")
		}},
		{"panic in a goroutine", func(t *testing.T, c *child) {
			fmt.Fprintln(c.input, "panic")
			require.EqualError(t, c.cmd.Wait(), "exit status 2")
		}},
		{"return from main", func(t *testing.T, c *child) {
			require.NoError(t, c.input.Close())
			require.NoError(t, c.cmd.Wait())
		}},
	} {
		t.Run(death.name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			c := launch(t, srv.URL(), srv.APIKey())
			require.Equal(t, "false", c.do(t, "protected"))
			require.NoFileExists(t, c.log, "a helper without a sandbox")
			c.create(t, 3)
			h := c.helper(t)
			death.die(t, c)
			h.wait(t)
			assert.Len(t, deletes(t, srv), 3)
			for _, call := range srv.Calls("DeleteSandbox") {
				assert.LessOrEqual(t, call.Request.(*sandboxv1.DeleteSandboxRequest).GetGracePeriodSeconds(), int32(5))
			}
			srv.AssertNoneLeft(t)
		})
	}
}

func TestStoppedSandboxesAreLeftAlone(t *testing.T) {
	for _, stop := range []string{"stop", "cleanup"} {
		t.Run(stop, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			c := launch(t, srv.URL(), srv.APIKey())
			c.create(t, 1)
			h := c.helper(t)
			c.do(t, stop)
			require.NoError(t, c.input.Close())
			require.NoError(t, c.cmd.Wait())
			h.wait(t)
			assert.Len(t, deletes(t, srv), 1)
		})
	}
}

// The service has made the sandbox, and the program dies before it learns that.
func TestDeathBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey())
	c.create(t, 1)
	h := c.helper(t)
	held := srv.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.DelayAfter(patience)})
	c.do(t, "create-aside")
	require.NoError(t, srv.WaitForCalls(t.Context(), "CreateSandbox", 2))
	require.Error(t, c.kill())
	h.wait(t)
	held.Release()
	assert.Len(t, deletes(t, srv), 2)
	creates := srv.Calls("CreateSandbox")
	require.Len(t, creates, 3)
	assert.True(t, proto.Equal(creates[1].Request, creates[2].Request), "the request was not repeated as it was")
	srv.AssertNoneLeft(t)
}

// The program's own create arrives after that of the helper was refused.
func TestCreateLandsLate(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	g := newGate(t, srv.Address())
	c := launch(t, g.url(), srv.APIKey())
	c.create(t, 1)
	h := c.helper(t)
	g.hold()
	c.do(t, "create-aside")
	g.waitHeld(t, tag)
	refusals := srv.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.Fail(codes.FailedPrecondition, "no room")})
	require.Error(t, c.kill())
	require.NoError(t, srv.WaitForCalls(t.Context(), "CreateSandbox", 2))
	for refusals.Hits() == 0 { // the call is counted a moment before it is refused
		runtime.Gosched()
	}
	g.release()
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
	srv.AssertNoneLeft(t)
}

func TestServiceIsDownAtDeath(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	g := newGate(t, srv.Address())
	r, w, err := os.Pipe()
	require.NoError(t, err)
	defer r.Close()
	c := launch(t, g.url(), srv.APIKey(), func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{w, w, w} })
	require.NoError(t, w.Close())
	c.create(t, 2)
	h := c.helper(t)
	g.shut()
	require.Error(t, c.kill())
	// The helper, which lives on, has none of the descriptors that the program was started with.
	require.NoError(t, r.SetReadDeadline(time.Now().Add(patience)))
	_, err = r.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
	require.False(t, h.ended(t, 0))

	g.waitTurnedAway(t, 3)
	g.open()
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
	srv.AssertNoneLeft(t)
}

func TestTheHelperGivesUp(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t, cwsandboxtest.AllowLeftovers())
	g := newGate(t, srv.Address())
	c := launch(t, g.url(), srv.APIKey(), with("CWSANDBOX_REAPER_TIMEOUT", "1s"))
	c.create(t, 1)
	h := c.helper(t)
	g.shut()
	require.Error(t, c.kill())
	h.wait(t)
	log, err := os.ReadFile(c.log)
	require.NoError(t, err)
	assert.Contains(t, string(log), `msg="a sandbox may be left behind" helper=`)
	assert.Contains(t, string(log), "sandbox="+srv.Active()[0])
}

func TestPrivateRoots(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	g := newTLSGate(t, srv.Address())
	c := launch(t, g.url(), srv.APIKey(), with(withRoots, g.root))
	c.create(t, 2)
	h := c.helper(t)
	require.Error(t, c.kill())
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
	srv.AssertNoneLeft(t)
}

// The newest token is used for everything, also for what was sent with an older one.
func TestNewestToken(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), "an-old-token")
	held := srv.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.Delay(patience)})
	c.do(t, "create-aside")
	require.NoError(t, srv.WaitForCalls(t.Context(), "CreateSandbox", 1))
	c.do(t, "token "+srv.APIKey())
	c.create(t, 1)
	h := c.helper(t)
	require.Error(t, c.kill())
	h.wait(t)
	held.Release()
	assert.Len(t, deletes(t, srv), 2)
	srv.AssertNoneLeft(t)
}

// A sandbox of a W&B user is that user's alone: the same key and entity have to stop it.
func TestWandBKey(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), "a-key", with(withWandB, "1"))
	c.create(t, 2)
	h := c.helper(t)
	require.Error(t, c.kill())
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
	srv.AssertNoneLeft(t)
}

func TestDialOptions(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey(), with(withDialOptions, "1"))
	c.do(t, "create")
	c.do(t, "create")
	assert.Equal(t, "false", c.do(t, "protected"))
	c.do(t, "cleanup")
	require.Error(t, c.kill())
	assert.Equal(t, 1, bytes.Count([]byte(c.stderr.String()), []byte(`msg="the reaper does not cover a client"`)))
	assert.NoFileExists(t, c.log)
}

func TestBadSettings(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]string{"CWSANDBOX_REAPER_TIMEOUT": "soon", "CWSANDBOX_REAPER_LOG": "/"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := cwsandboxtest.NewServer(t)
			c := launch(t, srv.URL(), srv.APIKey(), with(name, bad))
			c.do(t, "create")
			c.do(t, "create")
			assert.Equal(t, "false", c.do(t, "protected"))
			c.do(t, "cleanup")
			require.Error(t, c.kill())
			assert.Equal(t, 1, bytes.Count([]byte(c.stderr.String()), []byte(`msg="the reaper's helper does not start`)))
			assert.Contains(t, c.stderr.String(), name)
		})
	}
}

func TestSignalsDoNotReachTheHelper(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey())
	c.create(t, 1)
	h := c.helper(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGPIPE} {
		h.signal(t, sig)
	}
	c.create(t, 1) // confirmed by the same helper
	require.False(t, h.ended(t, 0))
	require.Error(t, c.kill())
	h.wait(t)
	assert.Len(t, deletes(t, srv), 2)
}

func TestKilledHelperIsReplaced(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey())
	c.create(t, 2)
	first := c.helper(t)
	first.signal(t, syscall.SIGKILL)
	first.wait(t)
	c.create(t, 1)
	second := c.helper(t)
	require.NotEqual(t, first.pid, second.pid)
	assert.Empty(t, deletes(t, srv))
	require.Error(t, c.kill())
	second.wait(t)
	assert.Len(t, deletes(t, srv), 3)
	assert.Contains(t, c.stderr.String(), `level=WARN msg="the reaper's helper has ended`)
}

func TestHelperThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey())
	c.create(t, 1)
	h := c.helper(t)
	h.signal(t, syscall.SIGSTOP)
	first, err := time.ParseDuration(c.do(t, "create"))
	require.NoError(t, err)
	second, err := time.ParseDuration(c.do(t, "create"))
	require.NoError(t, err)
	assert.Less(t, second, first, "only one create may wait for it")
	assert.Equal(t, "false", c.do(t, "protected"))
	require.Error(t, c.kill())
	h.signal(t, syscall.SIGCONT)
	h.wait(t)
	assert.Len(t, deletes(t, srv), 3)
	assert.Equal(t, 1, bytes.Count([]byte(c.stderr.String()), []byte(`msg="the reaper's helper does not answer`)))
}

// Neither the helper's arguments and environment nor what the program starts show anything.
func TestNothingShows(t *testing.T) {
	t.Parallel()
	srv := cwsandboxtest.NewServer(t)
	c := launch(t, srv.URL(), srv.APIKey(), with("HTTPS_PROXY", "http://user:password@127.0.0.1:1"))
	inherited := c.do(t, "sh ls /proc/self/fd")
	c.create(t, 1)
	h := c.helper(t)
	for _, name := range []string{"cmdline", "environ"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", h.pid, name))
		require.NoError(t, err)
		assert.NotContains(t, string(content), srv.APIKey())
		assert.NotContains(t, string(content), "password")
		assert.NotContains(t, string(content), asProgram)
	}
	assert.Equal(t, inherited, c.do(t, "sh ls /proc/self/fd"))
	assert.Equal(t, "", c.do(t, "sh env | grep REAPER_ROLE || true"))
	log, err := os.ReadFile(c.log)
	require.NoError(t, err)
	assert.NotContains(t, string(log), srv.APIKey())
	c.do(t, "cleanup")
}
