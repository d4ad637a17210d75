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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

const (
	ownerRole      = "CWSANDBOX_TEST_OWNER"
	ownerProcess   = "process"
	ownerContainer = "container"
	ownerParent    = "parent"
)

// This binary is also the program that owns sandboxes in the tests below.
func init() {
	role := os.Getenv(ownerRole)
	if role == "" {
		return
	}
	if err := beOwner(role); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// beOwner obeys the lines that it reads: create and orphans. It answers each with a line of ids.
func beOwner(role string) error {
	if role == ownerContainer {
		if err := mountProc(); err != nil {
			return err
		}
	}
	client, err := cwsandbox.NewClient()
	if err != nil {
		return err
	}
	ctx := context.Background()
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		var found []*cwsandbox.Sandbox
		if input.Text() == "create" {
			sb, err := client.Create(ctx)
			if err != nil {
				return err
			}
			found = append(found, sb)
		} else if found, err = cwsandbox.Collect(client.Orphans(ctx)); err != nil {
			return err
		}
		fmt.Println(ids(found))
		if role == ownerParent {
			return standIn()
		}
	}
	return nil
}

// standIn lets a child process answer from now on.
func standIn() error {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), ownerRole+"="+ownerProcess)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

// mountProc gives the first process of a pid namespace the /proc that belongs to it, as container runtimes do.
func mountProc() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	return nil
}

// ids prints as a list.
func ids(sandboxes []*cwsandbox.Sandbox) string {
	list := []string{}
	for _, sb := range sandboxes {
		list = append(list, sb.ID())
	}
	return fmt.Sprint(list)
}

// owner is a process that runs beOwner.
type owner struct {
	cmd    *exec.Cmd
	input  io.Writer
	output *bufio.Scanner
}

func startOwner(t *testing.T, server *cwsandboxtest.Server, role string, attr *syscall.SysProcAttr) (*owner, error) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), append(server.Env(), ownerRole+"="+role)...)
	cmd.SysProcAttr, cmd.Stderr = attr, os.Stderr
	input, err := cmd.StdinPipe()
	require.NoError(t, err)
	output, err := cmd.StdoutPipe()
	require.NoError(t, err)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	o := &owner{cmd, input, bufio.NewScanner(output)}
	t.Cleanup(o.kill)
	return o, nil
}

// tell sends a line and returns the answer.
func (o *owner) tell(t *testing.T, line string) string {
	t.Helper()
	_, err := fmt.Fprintln(o.input, line)
	require.NoError(t, err)
	require.True(t, o.output.Scan(), "the owner has ended")
	require.NotContains(t, o.output.Text(), "error:")
	return o.output.Text()
}

func (o *owner) kill() {
	o.cmd.Process.Kill()
	o.cmd.Wait()
}

func TestOrphansOfProcesses(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	orphans := func() string {
		t.Helper()
		found, err := cwsandbox.Collect(client.Orphans(t.Context()))
		require.NoError(t, err)
		return ids(found)
	}
	mine, err := client.Create(t.Context())
	require.NoError(t, err)
	defer mine.Stop().Wait()
	first, err := startOwner(t, server, ownerProcess, nil)
	require.NoError(t, err)
	second, err := startOwner(t, server, ownerProcess, nil)
	require.NoError(t, err)
	lost, kept := first.tell(t, "create"), second.tell(t, "create")
	assert.Equal(t, "[]", orphans(), "everybody is alive")

	first.kill()
	assert.Equal(t, lost, orphans())
	assert.Equal(t, lost, second.tell(t, "orphans"), "whoever looks")
	found, err := cwsandbox.Collect(client.Orphans(t.Context()))
	require.NoError(t, err)
	assert.Equal(t, first.cmd.Process.Pid, found[0].Info().Owner.PID)
	_, err = found[0].Stop().Wait()
	require.NoError(t, err)
	assert.Equal(t, "[]", orphans())

	second.kill()
	require.Equal(t, kept, orphans())
	_, err = client.PurgeAll(t.Context())
	require.NoError(t, err)
}

// TestContainersDoNotJudgeEachOther has two owners that both are process 1, each of a pid namespace of its own.
func TestContainersDoNotJudgeEachOther(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	var containers []*owner
	for range 2 {
		containers = append(containers, startContainer(t, server))
	}
	a, b := containers[0], containers[1]
	a.tell(t, "create")
	b.tell(t, "create")
	requireNone := func(who string) {
		t.Helper()
		found, err := cwsandbox.Collect(client.Orphans(t.Context()))
		require.NoError(t, err)
		require.Empty(t, found, who)
	}
	for sb, err := range client.List(t.Context()) {
		require.NoError(t, err)
		require.Equal(t, 1, sb.Info().Owner.PID)
	}
	assert.Equal(t, "[]", a.tell(t, "orphans"))
	assert.Equal(t, "[]", b.tell(t, "orphans"))
	requireNone("from outside, where 1 is another process, too")
	a.kill()
	assert.Equal(t, "[]", b.tell(t, "orphans"), "dead, but nobody can know")
	requireNone("likewise")
	_, err := client.PurgeAll(t.Context())
	require.NoError(t, err)
}

// TestForeignProc has a child look for its living parent, process 1 of their pid namespace, with the /proc of another one,
// where 1 is somebody else.
func TestForeignProc(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	parent := startInNamespace(t, server, ownerParent)
	parent.tell(t, "create")
	assert.Equal(t, "[]", parent.tell(t, "orphans"))
	_, err := server.Client().PurgeAll(t.Context())
	require.NoError(t, err)
}

// startInNamespace starts an owner in a pid namespace of its own, or skips the test where the system does not allow it.
func startInNamespace(t *testing.T, server *cwsandboxtest.Server, role string) *owner {
	t.Helper()
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	o, err := startOwner(t, server, role, attr)
	if err != nil {
		t.Skip("no pid namespaces here: ", err)
	}
	return o
}

// startContainer starts an owner in a pid namespace of its own with the /proc of that, or skips the test likewise.
func startContainer(t *testing.T, server *cwsandboxtest.Server) *owner {
	t.Helper()
	o := startInNamespace(t, server, ownerContainer)
	fmt.Fprintln(o.input, "orphans")
	if !o.output.Scan() || strings.HasPrefix(o.output.Text(), "error:") {
		t.Skip("no /proc in a pid namespace here: ", o.output.Text())
	}
	return o
}
