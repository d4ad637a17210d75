package cwsandbox_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

const (
	tenantRole = "CWSANDBOX_TEST_TENANT"
	// shortLease is waited for in real time.
	shortLease = 4 * time.Second
	// busyMachine is what the end of a lease may take longer because other tests run.
	busyMachine = 30 * time.Second
)

// This binary is also the program that has a leased sandbox in the tests below.
func init() {
	role := os.Getenv(tenantRole)
	if role == "" {
		return
	}
	if err := beTenant(role == "detach"); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beTenant makes a leased sandbox, prints its id, and leaves it alone.
func beTenant(detach bool) error {
	client, err := cwsandbox.NewClient()
	if err != nil {
		return err
	}
	sb, err := client.Run(context.Background(), cwsandbox.WithLease(shortLease))
	if err != nil {
		return err
	}
	if detach {
		if err := sb.Detach(context.Background()); err != nil {
			return err
		}
	}
	fmt.Println(sb.ID())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// tenant is such a program, and the sandbox as another client sees it.
type tenant struct {
	*exec.Cmd
	sandbox *cwsandbox.Sandbox
}

func (w world) tenant(t *testing.T, role string) tenant {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), w.server.Env()...), tenantRole+"="+role)
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe() // closed when this process ends
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	require.False(t, strings.HasPrefix(line, "error"), line)
	sb, err := w.client.Attach(limited(t), strings.TrimSpace(line))
	require.NoError(t, err)
	t.Cleanup(func() { sb.Stop(cwsandbox.WithGrace(0)).Wait() })
	return tenant{cmd, sb}
}

// TestLeases runs leased sandboxes as real processes.
func TestLeases(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	t.Run("side by side", func(t *testing.T) {
		for name, test := range map[string]func(*testing.T, world){
			"the program is killed":             testTenantKilled,
			"the program is paused":             testTenantPaused,
			"the sandbox was detached":          testTenantDetached,
			"commands know nothing of it":       testLeaseAndCommands,
			"signals and codes of the main one": testLeaseAndMain,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				test(t, w)
			})
		}
	})
}

func testTenantKilled(t *testing.T, w world) {
	owner := w.tenant(t, "keep")
	assert.Equal(t, shortLease, owner.sandbox.Info().Lease)
	killed := time.Now()
	require.NoError(t, owner.Process.Kill())
	info := end(t, owner.sandbox)
	assert.Equal(t, cwsandbox.StateCompleted, info.State)
	assert.Zero(t, *info.ExitCode)
	assert.Zero(t, info.Restarts)
	assert.Greater(t, info.EndTime.Sub(killed), shortLease/2)
	assert.Less(t, info.EndTime.Sub(killed), shortLease*11/10+busyMachine)
}

func testTenantPaused(t *testing.T, w world) {
	owner := w.tenant(t, "keep")
	for range 2 {
		require.NoError(t, owner.Process.Signal(syscall.SIGSTOP))
		outlast(t, owner.sandbox, shortLease*6/10)
		require.NoError(t, owner.Process.Signal(syscall.SIGCONT))
		outlast(t, owner.sandbox, shortLease/2)
	}
}

// outlast runs a command for a while, which only a running sandbox can.
func outlast(t *testing.T, sb *cwsandbox.Sandbox, d time.Duration) {
	t.Helper()
	assert.Equal(t, "still here", output(t, sb, `sleep "$1"; echo still here`, fmt.Sprint(d.Seconds())))
}

func testTenantDetached(t *testing.T, w world) {
	owner := w.tenant(t, "detach")
	require.NoError(t, owner.Process.Kill())
	outlast(t, owner.sandbox, shortLease*3/2)
}

func testLeaseAndCommands(t *testing.T, w world) {
	sb := w.run(t, cwsandbox.WithLease(shortLease), cwsandbox.WithEnv("A", "1"))
	assert.Equal(t, "1", output(t, sb, `echo "$A"`))
	outlast(t, sb, shortLease*3/2)
}

func testLeaseAndMain(t *testing.T, w world) {
	info := end(t, w.run(t, cwsandbox.WithLease(time.Minute), cwsandbox.WithCommand("sh", "-c", "exit 0")))
	assert.Equal(t, cwsandbox.StateCompleted, info.State)

	sb := w.trapping(t, "exit 7", cwsandbox.WithLease(time.Minute))
	result, err := sb.Stop(cwsandbox.WithGrace(patience)).Wait()
	require.NoError(t, err)
	require.NotNil(t, result.Info.ExitCode)
	assert.Equal(t, 7, *result.Info.ExitCode)
}
