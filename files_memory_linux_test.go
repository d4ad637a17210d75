package cwsandbox_test

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// The program that moves the file is a process of its own, so that the server's memory does not count.
const (
	memorySandbox = "CWSANDBOX_TEST_MEMORY_SANDBOX"
	memoryFile    = "CWSANDBOX_TEST_MEMORY_FILE"
	memorySize    = "CWSANDBOX_TEST_MEMORY_SIZE"
	memoryServer  = "CWSANDBOX_TEST_MEMORY_SERVER"
	memoryLimit   = 32 << 20 // above what the idle program has
)

// TestTransferMemory moves 256 MiB both ways, and 1 GiB where there is time: through files, and through a connection.
func TestTransferMemory(t *testing.T) {
	switch {
	case raceDetector:
		t.Skip("the race detector needs memory of its own")
	case testing.Short():
		t.Skip("takes some seconds: -short is set")
	}
	size := 256 << 20
	if os.Getenv(largeTests) != "" {
		size = 1 << 30
	}
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	sb := world{server, server.Client()}.run(t)
	child := exec.Command(os.Args[0], "-test.run", "^TestTransferMemoryOfThisProcess$", "-test.v")
	child.Env = append(os.Environ(), append(server.Env(), memorySandbox+"="+sb.ID(), memoryFile+"="+directory(t, sb)+"/f",
		memorySize+"="+strconv.Itoa(size), memoryServer+"="+newEcho(t))...)
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	require.NoError(t, err)
	assert.Contains(t, string(out), "--- PASS: TestTransferMemoryOfThisProcess")
}

// newEcho starts a server that sends back what it gets, and returns its address.
func newEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		if c, err := l.Accept(); err == nil {
			io.Copy(c, c)
			c.Close()
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

// TestTransferMemoryOfThisProcess is the program of TestTransferMemory.
func TestTransferMemoryOfThisProcess(t *testing.T) {
	id, path := os.Getenv(memorySandbox), os.Getenv(memoryFile)
	if id == "" {
		t.Skip("is run by TestTransferMemory")
	}
	size, err := strconv.ParseInt(os.Getenv(memorySize), 10, 64)
	require.NoError(t, err)
	client, err := cwsandbox.NewClient()
	require.NoError(t, err)
	defer client.Close()
	sb, err := client.Attach(t.Context(), id)
	require.NoError(t, err)
	for name, move := range map[string]func() (int64, error){
		"upload":     func() (int64, error) { return sb.Upload(t.Context(), path, io.LimitReader(zeros{}, size)) },
		"download":   func() (int64, error) { return sb.Download(t.Context(), path, io.Discard) },
		"connection": func() (int64, error) { return throughEcho(t, sb, size) },
	} {
		if name == "download" {
			_, err := sb.Exec(t.Context(), []string{"truncate", "-s", fmt.Sprint(size), path})
			require.NoError(t, err)
		}
		debug.FreeOSMemory()
		require.NoError(t, os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)) // the peak counts from here
		idle := memory(t, "VmRSS")
		n, err := move()
		require.NoError(t, err)
		require.EqualValues(t, size, n)
		more := memory(t, "VmHWM") - idle
		t.Logf("%s: %d KiB above idle", name, more>>10)
		assert.Less(t, more, int64(memoryLimit), name)
	}
}

// throughEcho sends bytes both ways at once, and returns how many came back.
func throughEcho(t *testing.T, sb *cwsandbox.Sandbox, size int64) (int64, error) {
	c, err := sb.DialContext(t.Context(), "tcp", os.Getenv(memoryServer))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() { io.CopyN(c, zeros{}, size) })
	return io.CopyN(io.Discard, c, size)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// memory returns a figure of this process in bytes.
func memory(t *testing.T, name string) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, found := strings.Cut(string(status), name+":")
	require.True(t, found)
	var n int64
	_, err = fmt.Sscanf(rest, "%d kB", &n)
	require.NoError(t, err)
	return n << 10
}
