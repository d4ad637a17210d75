package main

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// beforeProgram names something to do in the child before it becomes the program.
const beforeProgram = "CWSANDBOX_LOCAL_TEST_BEFORE"

// forbidNamespaces lets nobody in the user namespace of the child make another namespace.
const forbidNamespaces = "forbid namespaces"

func prepare(what string) {
	if what != forbidNamespaces {
		panic("unknown preparation: " + what)
	}
	for _, kind := range []string{"user", "mnt", "pid"} {
		if err := os.WriteFile("/proc/sys/user/max_"+kind+"_namespaces", []byte("0"), 0); err != nil {
			panic(err)
		}
	}
}

// mark returns the argument of a sleep that no other process has.
func mark() string { return strconv.Itoa(100_000_000 + rand.IntN(100_000_000)) }

// marked returns the processes of this machine that have the mark in their command line.
func marked(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte(mark)) { // a process that is gone has no file
			found = append(found, fmt.Sprintf("%s %q", file, line))
		}
	}
	return found
}

func requireNoneMarked(t *testing.T, mark string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Empty(c, marked(t, mark))
	}, time.Second, 10*time.Millisecond)
}

func requireNoMounts(t *testing.T, dir string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	require.NotContains(t, string(mounts), dir)
}

func TestProgramLeavesNothing(t *testing.T) {
	t.Run("C-019", func(t *testing.T) {
		dir, mark := t.TempDir(), mark()
		c := start(t, dir)
		api := c.api(t)
		for range 10 {
			api.running(t, "sleep", mark)
		}
		require.NotEmpty(t, marked(t, mark))
		require.NotEmpty(t, serverFiles(t, dir))
		c.signal(t, syscall.SIGTERM)
		require.NoError(t, c.wait(t), "exit status")
		assert.Empty(t, marked(t, mark))
		assert.Empty(t, serverFiles(t, dir))
		requireNoMounts(t, dir)
	})

	t.Run("C-020", func(t *testing.T) {
		dir, mark := t.TempDir(), mark()
		c := start(t, dir)
		api := c.api(t)
		api.running(t, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done; : "+mark)
		c.signal(t, syscall.SIGTERM)
		require.Eventually(t, func() bool { return status.Code(api.ping()) == codes.Unavailable },
			patience, time.Millisecond, "the shutdown does not begin")
		c.signal(t, syscall.SIGTERM)
		err := c.wait(t)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, syscall.SIGTERM, exit.Sys().(syscall.WaitStatus).Signal())
		requireNoneMarked(t, mark)
		requireCleared(t, dir)
	})

	t.Run("C-196", func(t *testing.T) {
		dir, mark := t.TempDir(), mark()
		c := start(t, dir)
		api := c.api(t)
		for range 3 {
			api.running(t, "sleep", mark)
		}
		require.NotEmpty(t, marked(t, mark))
		c.signal(t, syscall.SIGKILL)
		require.Error(t, c.wait(t))
		requireNoneMarked(t, mark)
		requireNoMounts(t, dir)
		requireCleared(t, dir)
	})
}

// requireCleared starts the program once more and looks for what an earlier one has left.
func requireCleared(t *testing.T, dir string) {
	t.Helper()
	old := serverFiles(t, dir)
	require.NotEmpty(t, old)
	start(t, dir)
	now := serverFiles(t, dir)
	require.NotEmpty(t, now)
	for _, file := range old {
		require.NotContains(t, now, file)
	}
}

func TestProgramWithoutNamespaces(t *testing.T) {
	t.Run("C-201", func(t *testing.T) {
		// The data directory must be writable for the user that the child maps to.
		out, err := withoutNamespaces(t, command(t, t.TempDir(), "-isolation", "strict")).CombinedOutput()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, "%s", out)
		assert.Equal(t, 1, exit.ExitCode())
		assert.NotContains(t, string(out), "export")

		dir := t.TempDir()
		c := startCommand(t, dir, withoutNamespaces(t, command(t, dir)))
		assert.Contains(t, c.greeting, "Isolation: plain\n")
		warned := strings.Count(c.greeting, "Warning: ")
		assert.GreaterOrEqual(t, warned, 2, c.greeting)
		mark := mark()
		c.api(t).running(t, "sleep", mark)
		require.NotEmpty(t, marked(t, mark))
		c.signal(t, syscall.SIGTERM)
		require.NoError(t, c.wait(t))
		assert.Empty(t, marked(t, mark))
	})
}

// withoutNamespaces makes the command run where namespaces cannot be made. A machine that has none is such a place.
func withoutNamespaces(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	inside := func(c *exec.Cmd) *exec.Cmd {
		c.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		return c
	}
	if err := inside(exec.Command("true")).Run(); err != nil {
		require.True(t, errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC), "%v", err)
		return cmd
	}
	cmd.Env = append(cmd.Env, beforeProgram+"="+forbidNamespaces)
	return inside(cmd)
}
