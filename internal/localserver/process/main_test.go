//go:build linux || darwin

package process

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
)

func TestMain(m *testing.M) {
	Main()
	if serve := os.Getenv(serveVariable); serve != "" {
		serveUntilKilled(serve)
	}
	signaltest.Defaults()
	os.Exit(m.Run())
}

// patience bounds what must happen soon, on a machine that is busy with other things.
const patience = 3 * time.Minute

// eachLevel runs test on every level that this machine allows.
func eachLevel(t *testing.T, test func(t *testing.T, r *Runtime)) {
	ran := 0
	for _, l := range levels {
		t.Run(l.name, func(t *testing.T) {
			test(t, newRuntime(t, Options{Isolation: l.name}))
			ran++
		})
	}
	require.NotZero(t, ran, "not even the plain level works")
}

// eachWalledLevel is eachLevel for what plain does not promise.
func eachWalledLevel(t *testing.T, test func(t *testing.T, r *Runtime)) {
	for _, name := range []string{Isolated, Rootless} {
		t.Run(name, func(t *testing.T) { test(t, newRuntime(t, Options{Isolation: name})) })
	}
}

// newRuntime makes a runtime, or skips the test where the system cannot have one of this level.
func newRuntime(t *testing.T, o Options) *Runtime {
	t.Helper()
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	r, err := New(o)
	if err != nil && o.Isolation != Plain && o.Isolation != Auto && !systemAllows(o.Isolation) {
		t.Skipf("this machine does not allow it: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, r.Close()) })
	return r
}

func newSandbox(t *testing.T, r *Runtime, spec container.SandboxSpec) container.Sandbox {
	t.Helper()
	if spec.ID == "" {
		spec.ID = "sb-test"
	}
	sb, err := r.NewSandbox(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, sb.Close()) })
	return sb
}

func startContainer(t *testing.T, sb container.Sandbox, spec container.Spec) container.Container {
	t.Helper()
	c, err := sb.Start(t.Context(), spec)
	require.NoError(t, err)
	return c
}

// newContainer starts a container that waits, in a sandbox of its own.
func newContainer(t *testing.T, r *Runtime, spec container.Spec) container.Container {
	t.Helper()
	return startContainer(t, newSandbox(t, r, container.SandboxSpec{}), spec)
}

// A result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a command to its end.
func run(t *testing.T, c container.Container, spec container.ProcessSpec) result {
	t.Helper()
	p, err := c.Exec(context.Background(), spec)
	require.NoError(t, err)
	return finish(t, p)
}

// finish collects a process's output and waits for its end.
func finish(t *testing.T, p container.Process) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(&stdout, p.Stdout()) })
	if p.Stderr() != nil {
		wg.Go(func() { _, _ = io.Copy(&stderr, p.Stderr()) })
	}
	awaitDone(t, p)
	wg.Wait()
	return result{stdout.String(), stderr.String(), p.ExitCode()}
}

func awaitDone(t *testing.T, p container.Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		require.FailNow(t, "the process did not end")
	}
}

// sh runs a shell script and returns what it printed. The script must succeed.
func sh(t *testing.T, c container.Container, script string) string {
	t.Helper()
	r := shell(t, c, script)
	require.Zero(t, r.code, "%s\nstdout: %s\nstderr: %s", script, r.stdout, r.stderr)
	return strings.TrimSuffix(r.stdout, "\n")
}

func shell(t *testing.T, c container.Container, script string) result {
	t.Helper()
	return run(t, c, container.ProcessSpec{Argv: []string{"/bin/sh", "-c", script}})
}

// readUntil reads until the output contains want.
func readUntil(t *testing.T, r io.Reader, want string) string {
	t.Helper()
	var seen strings.Builder
	found := make(chan error, 1)
	go func() {
		chunk := make([]byte, 4096)
		for !strings.Contains(seen.String(), want) {
			n, err := r.Read(chunk)
			seen.Write(chunk[:n])
			if err != nil {
				found <- err
				return
			}
		}
		found <- nil
	}()
	select {
	case err := <-found:
		require.NoError(t, err, "got %q, want %q", seen.String(), want)
	case <-time.After(patience):
		require.FailNow(t, "output does not come", "want %q", want)
	}
	return seen.String()
}
