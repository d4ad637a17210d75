//go:build linux

package lease

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// short is a lease that tests wait for, in real time: the shell knows no other.
const short = 500 * time.Millisecond

func TestBornArmed(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		begin := time.Now()
		r := start(t, sh.wrap(newLease(t, short), "sleep", "1000"))
		exit, _ := r.end(t)
		assert.Zero(t, exit)
		assert.GreaterOrEqual(t, time.Since(begin), short)
		assert.Contains(t, r.stderr.String(), "no heartbeat")
	})
}

func TestCommandThatWillNotEnd(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		r := start(t, sh.wrap(newLease(t, short), "/bin/sh", "-c", `trap "" TERM; while :; do sleep 0.1; done`))
		exit, _ := r.end(t)
		assert.Zero(t, exit)
	})
}

// TestCommandThatEndsWell has a tick in which the slowest machine runs a trap.
func TestCommandThatEndsWell(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		cmd := sh.wrap(newLease(t, short), "/bin/sh", "-c", `trap "echo bye; exit 3" TERM; while :; do sleep 0.01; done`)
		r := start(t, ticking(cmd, 5*time.Second, 1))
		exit, printed := r.end(t)
		assert.Zero(t, exit, "another code would have the platform start it again")
		assert.Equal(t, "bye\n", printed)
	})
}

// TestHeartbeats beats for longer than the lease, then stops.
func TestHeartbeats(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		for place := range 2 {
			l := newLease(t, 6*short)
			r := start(t, sh.wrap(l, "sleep", "1000"))
			begin, beat := time.Now(), time.NewTicker(l.Length/4)
			var last time.Time
			for n := range 8 {
				<-beat.C
				last = time.Now()
				require.NoError(t, os.WriteFile(l.Beats()[place], fmt.Appendln(nil, n), 0o600))
			}
			beat.Stop()
			exit, _ := r.end(t)
			assert.Zero(t, exit)
			assert.Greater(t, time.Since(begin), 2*l.Length)
			assert.GreaterOrEqual(t, time.Since(last), l.Length)
		}
	})
}

// TestClocksJump has heartbeats whose files come from all times.
func TestClocksJump(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		l := newLease(t, 6*short)
		r := start(t, sh.wrap(l, "sleep", "1000"))
		begin, beat := time.Now(), time.NewTicker(l.Length/4)
		defer beat.Stop()
		jump := 10 * 365 * 24 * time.Hour
		for n := range 8 {
			<-beat.C
			require.NoError(t, os.WriteFile(l.Beats()[0], fmt.Appendln(nil, n), 0o600))
			jump = -jump
			at := time.Now().Add(jump)
			require.NoError(t, os.Chtimes(l.Beats()[0], at, at))
		}
		exit, _ := r.end(t)
		assert.Zero(t, exit)
		assert.Greater(t, time.Since(begin), 2*l.Length)
	})
}

// TestContentDecides touches the file without a change of what is in it.
func TestContentDecides(t *testing.T) {
	l := newLease(t, short)
	path := l.Beats()[0]
	require.NoError(t, os.WriteFile(path, []byte("same\n"), 0o600))
	script := `while :; do echo same 1<>"$0"; sleep 0.01; done` // never empty in between
	r := start(t, shell("/bin/sh").wrap(l, "/bin/sh", "-c", script, path))
	_, _ = r.end(t)
	assert.Contains(t, r.stderr.String(), "no heartbeat")
}

func TestDisarmed(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		for place := range 2 {
			l := newLease(t, 4*short)
			require.NoError(t, os.WriteFile(l.Offs()[place], nil, 0o600))
			r := start(t, sh.wrap(l, "/bin/sh", "-c", `sleep 2; rm "$0"; sleep 3; exit 7`, l.Offs()[place]))
			exit, _ := r.end(t)
			assert.Equal(t, 7, exit)
			assert.Empty(t, r.stderr.String())
		}
	})
}

// TestGraceOfAStop has a command that takes longer to end than the lease.
func TestGraceOfAStop(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		r := start(t, sh.wrap(newLease(t, 6*short), "/bin/sh", "-c", `trap "sleep 4; exit 9" TERM; echo ready; while :; do sleep 0.01; done`))
		r.line(t)
		require.NoError(t, r.Process.Signal(syscall.SIGTERM))
		exit, _ := r.end(t)
		assert.Equal(t, 9, exit)
	})
}

// TestWithoutSleep has an image in which a lease cannot work.
func TestWithoutSleep(t *testing.T) {
	dash, err := exec.LookPath("dash")
	if err != nil {
		t.Skipf("this machine has no dash, and other shells may have a sleep of their own: %v", err)
	}
	link := filepath.Join(t.TempDir(), "sh")
	require.NoError(t, os.Symlink(dash, link))
	cmd := shell(link).wrap(newLease(t, long), "/bin/echo", "runs")
	cmd.Env = []string{"PATH=" + t.TempDir()}
	r := start(t, cmd)
	exit, printed := r.end(t)
	assert.Equal(t, 127, exit)
	assert.Empty(t, printed)
	assert.Contains(t, r.stderr.String(), "no sleep")
}

// TestSleepGoesAway has one whose sleep works once. A busybox that prefers its own sleep does not lose it.
func TestSleepGoesAway(t *testing.T) {
	dir := t.TempDir()
	once := "#!/bin/sh\n[ ! -e " + dir + "/used ] || exit 1\n: >" + dir + "/used\n"
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sleep"), []byte(once), 0o700))
	cmd := shell("/bin/sh").wrap(newLease(t, long), "cat")
	cmd.Env = []string{"PATH=" + dir + ":" + os.Getenv("PATH")}
	r := start(t, cmd)
	exit, _ := r.end(t)
	assert.Equal(t, 127, exit)
	assert.Contains(t, r.stderr.String(), "sleep 2 fails with status 1")
}

func TestKeeperIsKilled(t *testing.T) {
	underEachShell(t, func(t *testing.T, sh shell) {
		r := start(t, sh.wrap(newLease(t, Longest), self(t), "signals"))
		var child, keeper int
		_, err := fmt.Sscanf(r.line(t), "process %d %d", &child, &keeper)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(keeper, syscall.SIGKILL))
		exit, _ := r.end(t)
		assert.Equal(t, 127, exit)
		assert.Contains(t, r.stderr.String(), "keeper")
	})
}

// TestFirstProcess has the shell as pid 1, as in a container. It has to reap what others leave behind, and gets no signal
// that it does not handle.
func TestFirstProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root makes pid namespaces everywhere")
	}
	underEachShell(t, func(t *testing.T, sh shell) {
		cmd := sh.wrap(newLease(t, long), "/bin/sh", "-c", `trap "exit 7" TERM; (sleep 0.01 &); echo ready $PPID; while :; do sleep 0.01; done`)
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWPID
		r := start(t, cmd)
		r.line(t)
		require.NoError(t, r.Process.Signal(syscall.SIGTERM))
		exit, _ := r.end(t)
		assert.Equal(t, 7, exit)
	})
}
