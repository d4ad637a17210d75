//go:build unix

package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// asProgram makes the test binary be the program instead.
const asProgram = "CWSANDBOX_LOCAL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	process.Main()
	if os.Getenv(asProgram) != "" {
		if before := os.Getenv(beforeProgram); before != "" {
			prepare(before)
		}
		main()
		os.Exit(0)
	}
	signaltest.Defaults()
	os.Exit(m.Run())
}

// patience bounds what should take a moment.
const patience = 3 * time.Minute

// child is the program as a process of its own.
type child struct {
	cmd      *exec.Cmd
	url, key string
	dataDir  string
	greeting string
	stderr   *strings.Builder // valid after the end
	ended    chan error       // what waiting for it returned
}

func command(t *testing.T, dataDir string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-listen", "127.0.0.1:0", "-data-dir", dataDir}, args...)...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// start starts the program and waits for its greeting.
func start(t *testing.T, dataDir string, args ...string) *child {
	t.Helper()
	return startCommand(t, dataDir, command(t, dataDir, args...))
}

func startCommand(t *testing.T, dataDir string, cmd *exec.Cmd) *child {
	t.Helper()
	c := &child{cmd: cmd, dataDir: dataDir, stderr: new(strings.Builder), ended: make(chan error, 1)}
	stdout, w, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = w, c.stderr
	require.NoError(t, cmd.Start())
	require.NoError(t, w.Close())
	go func() { c.ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-c.ended
		stdout.Close()
	})
	require.NoError(t, stdout.SetReadDeadline(time.Now().Add(patience)))
	lines := bufio.NewScanner(stdout)
	for c.key == "" && lines.Scan() {
		c.greeting += lines.Text() + "\n"
		if url, ok := strings.CutPrefix(lines.Text(), "export CWSANDBOX_BASE_URL="); ok {
			c.url = url
		}
		if key, ok := strings.CutPrefix(lines.Text(), "export CWSANDBOX_API_KEY="); ok {
			c.key = key
		}
	}
	if c.key == "" {
		err := c.wait(t)
		require.FailNow(t, "the program did not start", "%v: %s", err, c.stderr)
	}
	go io.Copy(io.Discard, stdout) // ends with the program
	return c
}

// wait waits for the end of the program.
func (c *child) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-c.ended:
		c.ended <- err
		return err
	case <-time.After(patience):
		require.FailNow(t, "the program does not end")
		return nil
	}
}

func (c *child) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, c.cmd.Process.Signal(sig))
}

// address is the host and port of the program.
func (c *child) address() string {
	_, address, _ := strings.Cut(c.url, "://")
	return address
}

// api is a client of the program.
type api struct {
	sandboxv1.SandboxServiceClient
	ctx context.Context
}

func (c *child) api(t *testing.T) *api {
	t.Helper()
	return dial(t, c.address(), c.key, insecure.NewCredentials())
}

func dial(t *testing.T, address, key string, creds credentials.TransportCredentials) *api {
	t.Helper()
	cc, err := grpc.NewClient(address, grpc.WithTransportCredentials(creds))
	require.NoError(t, err)
	t.Cleanup(func() { cc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+key)
	return &api{sandboxv1.NewSandboxServiceClient(cc), ctx}
}

// ping makes a call that needs a credential.
func (a *api) ping() error {
	_, err := a.ListSandboxes(a.ctx, &sandboxv1.ListSandboxesRequest{})
	return err
}

// running creates a sandbox with a main process and waits until it runs.
func (a *api) running(t *testing.T, command string, args ...string) string {
	t.Helper()
	container := &sandboxv1.Container{Name: "main", Image: "any", Command: command, Args: args}
	sb, err := a.CreateSandbox(a.ctx, &sandboxv1.CreateSandboxRequest{
		Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{Containers: []*sandboxv1.Container{container}}},
	})
	require.NoError(t, err)
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		got, err := a.GetSandbox(a.ctx, &sandboxv1.GetSandboxRequest{SandboxId: sb.GetSandboxId()})
		require.NoError(t, err)
		assert.Equal(t, sandboxv1.State_STATE_RUNNING, got.GetStatus().GetState(), "%v", got.GetStatus())
	}, patience, 10*time.Millisecond)
	return sb.GetSandboxId()
}

// serverFiles are what running servers keep in the data directory, or what was not removed after them.
func serverFiles(t *testing.T, dataDir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dataDir, "server-*"))
	require.NoError(t, err)
	return files
}
