//go:build linux

package killtrials

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// patience bounds what should take a moment.
const patience = 5 * time.Minute

// plan is how a program ends.
type plan struct {
	*rand.Rand        // for whatever else belongs to the trial
	seed       uint64 // of the program

	calls   int           // the first blow falls when the server has got that many,
	pause   time.Duration // and some time has gone by
	blows   []syscall.Signal
	between time.Duration
}

func newPlan(seed uint64, trial int) *plan {
	r := chance(seed, uint64(trial))
	p := &plan{Rand: r, seed: r.Uint64()}
	p.calls = r.IntN(30)
	p.pause = p.upTo(5 * time.Millisecond)
	if p.calls < 4 { // while the program starts, or makes its first sandbox
		p.calls, p.pause = 0, p.upTo(150*time.Millisecond)
	}
	p.blows = append(p.blows, p.blow())
	if r.IntN(4) == 0 {
		p.blows, p.between = append(p.blows, p.blow()), p.upTo(20*time.Millisecond)
	}
	return p
}

// blow picks a signal: those that nothing can be done about most often.
func (p *plan) blow() syscall.Signal {
	if p.IntN(2) == 0 {
		return syscall.SIGKILL
	}
	signals := []syscall.Signal{
		syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS,
		syscall.SIGILL, syscall.SIGFPE, syscall.SIGTRAP, syscall.SIGSYS,
	}
	sig := signals[p.IntN(len(signals))]
	if signal.Ignored(sig) { // in a job in the background, for instance: so will the program
		return syscall.SIGKILL
	}
	return sig
}

func (p *plan) upTo(d time.Duration) time.Duration { return time.Duration(p.Int64N(int64(d))) }

func (p *plan) String() string {
	return fmt.Sprintf("%v, %v apart, after %d calls and %v", p.blows, p.between, p.calls, p.pause)
}

// kill runs a program in a role, kills it as planned, and returns when it is dead. What was active just before the first
// blow is returned.
func (p *plan) kill(t *testing.T, srv *cwsandboxtest.Server, role string, env ...string) (active int) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CWSANDBOX_") {
			cmd.Env = append(cmd.Env, pair)
		}
	}
	cmd.Env = append(append(cmd.Env, srv.Env()...), env...)
	cmd.Env = append(cmd.Env, roleVariable+"="+role, fmt.Sprintf("%s=%d", seedVariable, p.seed))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	input, err := cmd.StdinPipe() // closed when this process ends
	require.NoError(t, err)
	defer input.Close()
	before := srv.Received("*")
	require.NoError(t, cmd.Start())
	killer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%v; the program's standard error:\n%s", p, &stderr)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = srv.WaitForCalls(ctx, "*", before+p.calls)
	if err == nil {
		time.Sleep(p.pause)
		active = len(srv.Active())
	}
	for i, sig := range p.blows {
		if i > 0 {
			time.Sleep(p.between)
		}
		cmd.Process.Signal(sig) // it may be dead by now
	}
	cmd.Wait()
	require.True(t, killer.Stop(), "the program does not die")
	require.NoError(t, err, "the program does nothing")
	return active
}

// expectNoneLeft waits until no sandbox is active.
func expectNoneLeft(t *testing.T, srv *cwsandboxtest.Server) {
	t.Helper()
	require.Eventually(t, func() bool { return len(srv.Active()) == 0 }, patience, 5*time.Millisecond, "sandboxes are left")
}

// lifeline is a file for the log of helpers that tells when there are none any more: a pipe with a name.
type lifeline struct {
	path       string
	read, held *os.File
}

func newLifeline(t *testing.T) *lifeline {
	l := &lifeline{path: t.TempDir() + "/helper.log"}
	require.NoError(t, syscall.Mkfifo(l.path, 0o600))
	var err error
	l.read, err = os.OpenFile(l.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	require.NoError(t, err)
	t.Cleanup(func() { l.read.Close() })
	l.held, err = os.OpenFile(l.path, os.O_WRONLY, 0) // else it would have ended before the first helper
	require.NoError(t, err)
	t.Cleanup(func() { l.held.Close() })
	return l
}

// wait waits until the program and all of its helpers have gone, and returns what those have logged.
func (l *lifeline) wait(t *testing.T) string {
	require.NoError(t, l.held.Close())
	require.NoError(t, l.read.SetReadDeadline(time.Now().Add(patience)))
	log, err := io.ReadAll(l.read)
	require.NoError(t, err, "the helper does not end; it says:\n%s", log)
	return string(log)
}
