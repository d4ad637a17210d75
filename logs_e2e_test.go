//go:build linux || darwin

package cwsandbox_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestProcessLogs reads the logs of real processes.
func TestProcessLogs(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	for _, part := range []struct {
		name string
		test func(*testing.T, world)
	}{
		{"a program from beginning to end", testProgramLogs},
		{"a choice of lines", testChosenLogs},
		{"a large log", testLargeLog},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.test(t, w)
		})
	}
}

// linesOf collects a log by lines.
func linesOf(t *testing.T, sb *cwsandbox.Sandbox, opts ...cwsandbox.LogOption) []string {
	t.Helper()
	var lines []string
	for line, err := range sb.Logs(limited(t), opts...) {
		require.NoError(t, err)
		lines = append(lines, line.Text)
	}
	return lines
}

func testProgramLogs(t *testing.T, w world) {
	path := "${TMPDIR:-/tmp}/go"
	sb := w.run(t, cwsandbox.WithCommand("sh", "-c",
		`echo started >&2; until [ -e "`+path+`" ]; do sleep 0.01; done; echo going on; printf 'the end'`))
	output(t, sb, "echo not in the log; echo neither >&2")
	var lines []string
	for line, err := range sb.Logs(limited(t), cwsandbox.WithFollow()) {
		require.NoError(t, err)
		lines = append(lines, line.Text)
		assert.Equal(t, line.Text == "the end", line.Partial)
		assert.WithinDuration(t, time.Now(), line.Time, patience)
		if line.Text == "started" {
			_, _ = sb.Exec(limited(t), []string{"sh", "-c", `touch "` + path + `"`}) // the sandbox may end before the command
		}
	}
	assert.Equal(t, []string{"started", "going on", "the end"}, lines)
	end(t, sb)
	_, err := cwsandbox.Collect(sb.Logs(limited(t)))
	assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
}

func testChosenLogs(t *testing.T, w world) {
	path := "${TMPDIR:-/tmp}/go"
	sb := w.run(t, cwsandbox.WithCommand("sh", "-c",
		`echo 1; echo 2; until [ -e "`+path+`" ]; do sleep 0.01; done; echo 3; echo 4; echo 5; sleep 1000`))
	times := make(map[string]time.Time)
	for line, err := range sb.Logs(limited(t), cwsandbox.WithFollow(), cwsandbox.WithTimestamps()) {
		require.NoError(t, err)
		stamp, text, _ := strings.Cut(line.Text, " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		require.NoError(t, err)
		assert.True(t, at.Equal(line.Time))
		if times[text] = line.Time; text == "2" {
			output(t, sb, `touch "`+path+`"`)
		}
		if text == "5" {
			break
		}
	}
	assert.Equal(t, []string{"1", "2", "3", "4", "5"}, linesOf(t, sb))
	assert.Equal(t, []string{"4", "5"}, linesOf(t, sb, cwsandbox.WithTail(2)))
	assert.Equal(t, []string{"3", "4", "5"}, linesOf(t, sb, cwsandbox.WithSince(times["3"])))
	assert.Equal(t, []string{"5"}, linesOf(t, sb, cwsandbox.WithSince(times["3"]), cwsandbox.WithTail(1)))
	_, err := cwsandbox.Collect(sb.Logs(limited(t), cwsandbox.WithContainer("none")))
	assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
}

// testLargeLog reads what several cuts of the connection leave of a log: all of it.
func testLargeLog(t *testing.T, w world) {
	const count = 50_000
	sb := w.run(t, cwsandbox.WithCommand("sh", "-c", fmt.Sprintf("seq %d; sleep 1000", count)))
	for range 3 {
		w.server.Inject(cwsandboxtest.Rule{
			Method: "StreamLogs", Times: 1,
			When:   func(c cwsandboxtest.Call) bool { return c.SandboxID == sb.ID() },
			Action: cwsandboxtest.CutStream(cwsandboxtest.Bytes(count), cwsandboxtest.EndStatus(codes.Unavailable, "cut")),
		})
	}
	n := 0
	for line, err := range sb.Logs(limited(t), cwsandbox.WithFollow()) {
		require.NoError(t, err)
		n++
		require.Equal(t, fmt.Sprint(n), line.Text)
		if n == count {
			break
		}
	}
	assert.Equal(t, count, n)
}
