//go:build linux

package cleanuptest

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestDefectsOfProcesses is the part of the tests named "defect N" that needs a process. The others are those of package
// cwsandbox.
func TestDefectsOfProcesses(t *testing.T) {
	t.Run("L-140, defect 10: a signal that is ignored ends sandboxes", func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t)
		c := startUnder(t, 2, srv.Env(), "sh", "-c", `trap "" INT HUP; exec "$0"`)
		c.expectReady(t)
		for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP} {
			assert.True(t, ignores(t, c.cmd.Process.Pid, sig), "it never arrives")
			require.NoError(t, c.cmd.Process.Signal(sig))
		}
		assert.False(t, ignores(t, c.cmd.Process.Pid, syscall.SIGTERM))
		assert.Zero(t, srv.Received("DeleteSandbox"))
		assertActive(t, srv, 2)
		c.end(t, syscall.SIGTERM)
		assertActive(t, srv, 0)
	})
	t.Run("defect 10: after a signal that was survived there is no cleanup", func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t)
		c := start(t, 2, append(srv.Env(), survivesVariable+"=1")...)
		require.NoError(t, c.cmd.Process.Signal(syscall.SIGTERM))
		c.expectReady(t)
		assertActive(t, srv, 1, "the two are stopped, another one was made")
		c.end(t, syscall.SIGINT)
		assertActive(t, srv, 0)
	})
	t.Run("L-135, defect 11: an import does something", func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t)
		c := startUnder(t, 0, srv.Env())
		assert.Equal(t, 1, c.expectReady(t), "nobody listens for signals, or does anything else")
		c.end(t, syscall.SIGTERM)
		assert.Zero(t, srv.Received("*"))
	})
}

// ignores reports whether a process has the kernel drop a signal.
func ignores(t *testing.T, pid int, sig syscall.Signal) bool {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(`SigIgn:\s*([0-9a-f]+)`).FindSubmatch(status)
	require.NotNil(t, found)
	mask, err := strconv.ParseUint(string(found[1]), 16, 64)
	require.NoError(t, err)
	return mask&(1<<(sig-1)) != 0
}
