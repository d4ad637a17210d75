//go:build linux

package reaper_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// patience bounds what should take a moment.
const patience = 3 * time.Minute

// child is the program as a process of its own.
type child struct {
	cmd     *exec.Cmd
	input   *os.File
	answers *bufio.Scanner
	stderr  *strings.Builder // valid after the end
	log     string           // file of the helper
}

// launch starts the program.
func launch(t *testing.T, url, key string, adjust ...func(*exec.Cmd)) *child {
	t.Helper()
	c := &child{cmd: exec.Command(os.Args[0]), stderr: new(strings.Builder), log: filepath.Join(t.TempDir(), "helper.log")}
	input, w, err := os.Pipe()
	require.NoError(t, err)
	r, output, err := os.Pipe()
	require.NoError(t, err)
	c.input, c.answers = w, bufio.NewScanner(r)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = input, output, c.stderr
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Env = append(os.Environ(), asProgram+"=1", "CWSANDBOX_REAPER_LOG="+c.log,
		"CWSANDBOX_BASE_URL="+url, "CWSANDBOX_API_KEY="+key)
	for _, fn := range adjust {
		fn(c.cmd)
	}
	require.NoError(t, c.cmd.Start())
	require.NoError(t, input.Close())
	require.NoError(t, output.Close())
	t.Cleanup(func() {
		c.kill()
		w.Close()
		r.Close()
		if t.Failed() {
			log, _ := os.ReadFile(c.log)
			t.Logf("the program's standard error:\n%s\nthe helper's log:\n%s", c.stderr, log)
		}
	})
	require.NoError(t, r.SetReadDeadline(time.Now().Add(patience)))
	return c
}

// with sets a variable of the program.
func with(name, value string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, name+"="+value) }
}

// kill ends the program, if that has not happened, and waits until it has gone.
func (c *child) kill() error {
	_ = c.cmd.Process.Kill()
	return c.cmd.Wait()
}

// do has the program carry out a command.
func (c *child) do(t *testing.T, command string) string {
	t.Helper()
	_, err := c.input.WriteString(command + "\n")
	require.NoError(t, err)
	require.True(t, c.answers.Scan(), "%s: %v", command, c.answers.Err())
	return c.answers.Text()
}

// create has the program make sandboxes, and waits until they are protected.
func (c *child) create(t *testing.T, n int) {
	t.Helper()
	for range n {
		_, err := time.ParseDuration(c.do(t, "create"))
		require.NoError(t, err)
	}
	require.Equal(t, "true", c.do(t, "await-protection"))
}

// helper is a helper process that runs.
type helper struct {
	pid int
	fd  int // readable once it has ended
}

var runs = regexp.MustCompile(`msg="the helper runs" helper=(\d+)`)

// helper finds the helper that was started last. It has confirmed something, so that its log has begun.
func (c *child) helper(t *testing.T) *helper {
	t.Helper()
	log, err := os.ReadFile(c.log)
	require.NoError(t, err)
	found := runs.FindAllSubmatch(log, -1)
	require.NotEmpty(t, found)
	pid, err := strconv.Atoi(string(found[len(found)-1][1]))
	require.NoError(t, err)
	fd, err := unix.PidfdOpen(pid, 0)
	require.NoError(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	return &helper{pid, fd}
}

// wait waits for the end of the helper.
func (h *helper) wait(t *testing.T) {
	t.Helper()
	require.True(t, h.ended(t, patience), "the helper does not end")
}

// ended reports whether the helper ends within a time.
func (h *helper) ended(t *testing.T, within time.Duration) bool {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline)).Milliseconds()))
		if err == unix.EINTR {
			continue
		}
		require.NoError(t, err)
		return n > 0
	}
}

func (h *helper) signal(t *testing.T, sig syscall.Signal) {
	t.Helper()
	require.NoError(t, unix.PidfdSendSignal(h.fd, sig, nil, 0))
}

// deletes returns the ids of the sandboxes that were deleted, and fails when one was deleted twice.
func deletes(t *testing.T, srv *cwsandboxtest.Server) []string {
	t.Helper()
	var ids []string
	for _, call := range srv.Calls("DeleteSandbox") {
		require.NotContains(t, ids, call.SandboxID)
		ids = append(ids, call.SandboxID)
	}
	return ids
}
