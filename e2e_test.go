//go:build linux || darwin

package cwsandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// patience bounds what should take a moment.
const patience = 3 * time.Minute

// world is a server with real processes and a client of it.
type world struct {
	server *cwsandboxtest.Server
	client *cwsandbox.Client
}

// TestProcesses runs real commands through the public API, on one server.
func TestProcesses(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	failing, err := w.client.Create(limited(t), cwsandbox.WithCommand("sh", "-c", "exit 5"))
	require.NoError(t, err)
	t.Run("side by side", func(t *testing.T) { testSideBySide(t, w) })
	t.Run("the main process fails", func(t *testing.T) { // last: its restarts have taken some seconds by now
		info := end(t, failing)
		assert.Equal(t, cwsandbox.StateFailed, info.State)
		assert.Equal(t, 5, *info.ExitCode)
		assert.Positive(t, info.Restarts)
		assert.ErrorIs(t, info.Err(), cwsandbox.ErrFailed)
	})
}

func testSideBySide(t *testing.T, w world) {
	for _, part := range []struct {
		name string
		test func(*testing.T, world)
	}{
		{"a timeout ends all of a command", testTimeout}, // takes seconds, so it starts first
		{"output is live", testLiveOutput},
		{"exit codes and signals", testExitCodes},
		{"environment", testEnvironment},
		{"directory", testDirectory},
		{"standard input", testStdin},
		{"a cancel ends all of a command", testCancel},
		{"a context ends all of a command", testContext},
		{"a hundred at once", testHundredAtOnce},
		{"a terminal on both sides", testInteractive},
		{"a terminal without a user", testTerminal},
		{"a terminal that hangs up", testTerminalHangsUp},
		{"the uses of os/exec", testCmd},
		{"the largest file", testLargestFile},
		{"a mounted file", testMountedFile},
		{"a volume and its snapshot", testVolume},
		{"files stay in their sandbox", testIsolation},
		{"the main process ends", testMainProcessEnds},
		{"a stop lets the main process end", testGracefulStop},
		{"a stop has the last word", testStubbornMain},
		{"nothing runs after a stop", testStopped},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.test(t, w)
		})
	}
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// run makes a sandbox that is stopped when the test ends.
func (w world) run(t *testing.T, opts ...cwsandbox.Option) *cwsandbox.Sandbox {
	t.Helper()
	sb, err := w.client.Run(limited(t), opts...)
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := sb.Stop(cwsandbox.WithGrace(0)).Wait()
		assert.NoError(t, err)
	})
	return sb
}

// output runs a shell script that must succeed. Its arguments are $1 and so on.
func output(t *testing.T, sb *cwsandbox.Sandbox, script string, args ...string) string {
	t.Helper()
	out, err := sb.Output(limited(t), append([]string{"sh", "-c", script, "sh"}, args...)...)
	require.NoError(t, err)
	return strings.TrimSuffix(string(out), "\n")
}

// directory makes a directory in the sandbox that files can be exchanged through at every level of isolation.
func directory(t *testing.T, sb *cwsandbox.Sandbox) string {
	t.Helper()
	return output(t, sb, "mktemp -d")
}

func readLine(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	return strings.TrimSuffix(line, "\n")
}

func testLiveOutput(t *testing.T, w world) {
	sb := w.run(t)
	signal := directory(t, sb) + "/go"
	script := `echo first; until [ -e "$0" ]; do sleep 0.01; done; echo second; echo third >&2`
	p, err := sb.StartProcess(limited(t), []string{"sh", "-c", script, signal})
	require.NoError(t, err)
	stdout := bufio.NewReader(p.Stdout())
	assert.Equal(t, "first", readLine(t, stdout))
	select {
	case <-p.Done():
		require.FailNow(t, "the command has ended before its signal")
	default:
	}
	require.NoError(t, sb.WriteFile(limited(t), signal, nil))
	assert.Equal(t, "second", readLine(t, stdout))
	res, err := p.Wait()
	require.NoError(t, err)
	assert.Zero(t, res.ExitCode)
	assert.Equal(t, "first\nsecond\n", string(res.Stdout))
	assert.Equal(t, "third\n", string(res.Stderr))
}

func testExitCodes(t *testing.T, w world) {
	sb := w.run(t)
	for _, c := range []struct {
		argv []string
		code int
	}{
		{[]string{"true"}, 0},
		{[]string{"false"}, 1},
		{[]string{"sh", "-c", "exit 255"}, 255},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15},
		{[]string{"sh", "-c", "kill -KILL $$"}, 128 + 9},
		{[]string{"cwsandbox-no-such-command"}, 127},
		{[]string{"/dev/null"}, 126},
	} {
		res, err := sb.Exec(limited(t), c.argv)
		if assert.NoError(t, err, c.argv) {
			assert.Equal(t, c.code, res.ExitCode, c.argv)
		}
	}
}

func testEnvironment(t *testing.T, w world) {
	sb := w.run(t, cwsandbox.WithEnv("COLOR", "red"), cwsandbox.WithEnv("SHAPE", "round"))
	argv := []string{"sh", "-c", `echo "$COLOR, $SHAPE, $SIZE"`}
	res, err := sb.Exec(limited(t), argv, cwsandbox.WithEnv("COLOR", "$(blue)"), cwsandbox.WithEnv("SIZE", "large"))
	require.NoError(t, err)
	assert.Equal(t, "$(blue), round, large\n", string(res.Stdout))
	assert.Equal(t, "red, round,", strings.TrimSpace(output(t, sb, argv[2])))
}

func testDirectory(t *testing.T, w world) {
	sb := w.run(t, cwsandbox.WithDir("/usr"))
	where := output(t, sb, "pwd")
	if w.server.Isolation() == "plain" { // the sandbox has no root of its own
		assert.True(t, strings.HasSuffix(where, "/usr"), where)
	} else {
		assert.Equal(t, "/usr", where)
	}

	dir := directory(t, sb) + "/it's a $dir"
	output(t, sb, `mkdir "$1"`, dir)
	res, err := sb.Exec(limited(t), []string{"sh", "-c", "echo here > file; exit 3"}, cwsandbox.WithDir(dir))
	require.NoError(t, err)
	assert.Equal(t, 3, res.ExitCode)
	data, err := sb.ReadFile(limited(t), dir+"/file")
	require.NoError(t, err)
	assert.Equal(t, "here\n", string(data))
}

func testStdin(t *testing.T, w world) {
	sb := w.run(t)
	data := random(1 << 20)
	res, err := sb.Exec(limited(t), []string{"cat"}, cwsandbox.WithStdin(bytes.NewReader(data)))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, res.Stdout), "%d bytes came back", len(res.Stdout))
	assert.Equal(t, "0", strings.TrimSpace(output(t, sb, "wc -c")), "bytes of input that nobody gave")
}

func random(n int) []byte {
	data := make([]byte, n)
	rand.Read(data)
	return data
}

// family is a command with children, and a witness that ends when the last of them has: all hold a pipe open for
// writing, from which the witness reads.
type family struct {
	command, witness *cwsandbox.Process
}

// startFamily returns when all processes run.
func startFamily(t *testing.T, ctx context.Context, sb *cwsandbox.Sandbox, opts ...cwsandbox.ExecOption) family {
	t.Helper()
	pipe := directory(t, sb) + "/pipe"
	output(t, sb, `mkfifo "$1"`, pipe)
	witness, err := sb.StartProcess(limited(t), []string{"cat", pipe})
	require.NoError(t, err)
	const script = `exec 3>"$0"; sh -c "sleep 1000 & sleep 1000" & sleep 1000 & echo started; wait`
	command, err := sb.StartProcess(ctx, []string{"sh", "-c", script, pipe}, opts...)
	require.NoError(t, err)
	require.Equal(t, "started", readLine(t, bufio.NewReader(command.Stdout())))
	return family{command, witness}
}

// requireEnd expects that the command has failed in this way, and that nothing is left of it.
func (f family) requireEnd(t *testing.T, reason error) {
	t.Helper()
	_, err := f.command.Wait()
	require.ErrorIs(t, err, reason)
	res, err := f.witness.Wait()
	require.NoError(t, err, "some of the processes live on")
	require.NoError(t, res.Err())
}

func testTimeout(t *testing.T, w world) {
	sb := w.run(t)
	f := startFamily(t, limited(t), sb, cwsandbox.WithTimeout(time.Millisecond))
	f.requireEnd(t, cwsandbox.ErrCommandTimeout)
	assert.Equal(t, "fine", output(t, sb, "echo fine"))
}

func testCancel(t *testing.T, w world) {
	sb := w.run(t)
	f := startFamily(t, limited(t), sb)
	f.command.Cancel()
	f.requireEnd(t, cwsandbox.ErrClosed)
	assert.Equal(t, "fine", output(t, sb, "echo fine"))
}

func testContext(t *testing.T, w world) {
	sb := w.run(t)
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	f := startFamily(t, ctx, sb)
	cancel()
	f.requireEnd(t, context.Canceled)
	assert.Equal(t, "fine", output(t, sb, "echo fine"))
}

func testHundredAtOnce(t *testing.T, w world) {
	const n = 100
	sb, ctx := w.run(t), limited(t)
	var commands []*cwsandbox.Future[*cwsandbox.Result]
	for i := range n {
		commands = append(commands, cwsandbox.Go(func() (*cwsandbox.Result, error) {
			return sb.Exec(ctx, []string{"sh", "-c", `echo "number $0"; exit "$0"`, fmt.Sprint(i)})
		}))
	}
	results, err := cwsandbox.WaitAll(ctx, commands...)
	require.NoError(t, err)
	require.Len(t, results, n)
	for i, res := range results {
		assert.Equal(t, fmt.Sprintf("number %d\n", i), string(res.Stdout))
		assert.Equal(t, i, res.ExitCode)
	}
	stats := sb.Stats()
	assert.EqualValues(t, n, stats.Commands)
	assert.EqualValues(t, n-1, stats.NonZero)
}

func testLargestFile(t *testing.T, w world) {
	const largest = 32 << 20
	sb, ctx := w.run(t), limited(t)
	path, data := directory(t, sb)+"/file", random(largest+1)
	require.NoError(t, sb.WriteFile(ctx, path, data[:largest]))
	got, err := sb.ReadFile(ctx, path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data[:largest], got), "%d bytes came back", len(got))

	require.NoError(t, sb.WriteFile(ctx, path, data), "beyond it the file is streamed")
	got, err = sb.ReadFile(ctx, path)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(data, got), "%d bytes came back", len(got))
}

// testVolume: a volume at a path that every level has.
func testVolume(t *testing.T, w world) {
	path := filepath.Join(os.TempDir(), "cwsandbox-"+rand.Text())
	sb := w.run(t, cwsandbox.WithScratch(path, "1Gi"))
	output(t, sb, `mkdir "$1/a" && echo hello >"$1/a/file" && chmod 640 "$1/a/file" && ln -s a/file "$1/link"`, path)
	taken, err := sb.Snapshot(limited(t))
	require.NoError(t, err)
	assert.EqualValues(t, 6, taken.SizeBytes)
	output(t, sb, `echo later >"$1/a/file"`, path)
	result, err := sb.Stop(cwsandbox.WithStopSnapshot()).WaitContext(limited(t))
	require.NoError(t, err)
	require.Len(t, result.SnapshotIDs, 1)

	fork := w.run(t, cwsandbox.WithRestored(path, taken.ID))
	assert.Equal(t, "hello a/file 640", output(t, fork, `echo $(cat "$1/link") $(readlink "$1/link") $(ls -l "$1/a/file" | cut -c2-10 | sed s/rw-r-----/640/)`, path))
	_, err = fork.Stop(cwsandbox.WithGrace(0)).WaitContext(limited(t)) // at the plain level two cannot have one path
	require.NoError(t, err)
	last := w.run(t, cwsandbox.WithRestored(path, result.SnapshotIDs[0]))
	data, err := last.ReadFile(limited(t), path+"/a/file")
	require.NoError(t, err)
	assert.Equal(t, "later\n", string(data))
}

func testMountedFile(t *testing.T, w world) {
	path := filepath.Join(os.TempDir(), "cwsandbox-"+rand.Text(), "program.sh")
	program := []byte("echo \"run by $1\"; exit 9\n")
	sb := w.run(t, cwsandbox.WithFile(path, program))
	res, err := sb.Exec(limited(t), []string{"sh", path, "hand"})
	require.NoError(t, err)
	assert.Equal(t, "run by hand\n", string(res.Stdout))
	assert.Equal(t, 9, res.ExitCode)
	data, err := sb.ReadFile(limited(t), path)
	require.NoError(t, err)
	assert.Equal(t, program, data)
	if w.server.Isolation() != "plain" { // there it is an ordinary file
		assert.ErrorIs(t, sb.WriteFile(limited(t), path, nil), cwsandbox.ErrFile)
	}
}

func testIsolation(t *testing.T, w world) {
	if w.server.Isolation() == "plain" {
		t.Skip("this machine allows no isolation: sandboxes share the files of the host")
	}
	writer, other := w.run(t), w.run(t)
	path := "/tmp/cwsandbox-" + rand.Text()
	output(t, writer, `echo secret >"$1"`, path)
	data, err := writer.ReadFile(limited(t), path)
	require.NoError(t, err)
	assert.Equal(t, "secret\n", string(data))

	assert.NoFileExists(t, path, "on the host")
	_, err = other.ReadFile(limited(t), path)
	assert.ErrorIs(t, err, fs.ErrNotExist, "in another sandbox")

	host := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(host, []byte("host"), 0o600))
	output(t, writer, `mkdir -p "$(dirname "$1")" && echo sandbox >"$1"`, host)
	data, err = os.ReadFile(host)
	require.NoError(t, err)
	assert.Equal(t, "host", string(data))
}

func testMainProcessEnds(t *testing.T, w world) {
	info := end(t, w.run(t, cwsandbox.WithCommand("true")))
	assert.Equal(t, cwsandbox.StateCompleted, info.State)
	assert.Zero(t, *info.ExitCode)
	assert.NoError(t, info.Err())
}

// end waits for a sandbox that ends by itself, with an exit code.
func end(t *testing.T, sb *cwsandbox.Sandbox) cwsandbox.Info {
	t.Helper()
	info, err := sb.WaitDone(limited(t))
	require.NoError(t, err)
	require.NotNil(t, info.ExitCode, "%+v", info)
	return info
}

// trapping makes a sandbox whose main process has set a trap for SIGTERM.
func (w world) trapping(t *testing.T, action string, opts ...cwsandbox.Option) *cwsandbox.Sandbox {
	t.Helper()
	const script = `trap "$0" TERM; touch "${TMPDIR:-/tmp}/trapped"; while :; do sleep 0.01; done`
	sb := w.run(t, append(opts, cwsandbox.WithCommand("sh", "-c", script, action))...)
	output(t, sb, `until [ -e "${TMPDIR:-/tmp}/trapped" ]; do sleep 0.01; done`)
	return sb
}

func testGracefulStop(t *testing.T, w world) {
	sb := w.trapping(t, "exit 7")
	result, err := sb.Stop(cwsandbox.WithGrace(patience)).Wait()
	require.NoError(t, err)
	assert.True(t, result.Accepted)
	require.NotNil(t, result.Info.ExitCode, "%+v", result.Info)
	assert.Equal(t, 7, *result.Info.ExitCode)
	assert.ErrorIs(t, result.Info.Err(), cwsandbox.ErrTerminated)
}

func testStubbornMain(t *testing.T, w world) {
	const grace = time.Second
	sb, begin := w.trapping(t, ""), time.Now() // an empty action ignores the signal
	result, err := sb.Stop(cwsandbox.WithGrace(grace)).Wait()
	require.NoError(t, err)
	assert.GreaterOrEqual(t, time.Since(begin), grace)
	require.NotNil(t, result.Info.ExitCode, "%+v", result.Info)
	assert.Equal(t, 128+9, *result.Info.ExitCode)
}

func testStopped(t *testing.T, w world) {
	sb := w.run(t)
	p, err := sb.StartProcess(limited(t), []string{"sh", "-c", "echo started; sleep 1000"})
	require.NoError(t, err)
	require.Equal(t, "started", readLine(t, bufio.NewReader(p.Stdout())))
	_, err = sb.Stop(cwsandbox.WithGrace(0)).Wait()
	require.NoError(t, err)

	res, err := p.Wait() // the service still tells how it ended
	require.NoError(t, err)
	assert.Equal(t, 128+9, res.ExitCode)
	_, err = sb.Exec(limited(t), []string{"true"})
	assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
	_, err = sb.ReadFile(limited(t), "/etc/hostname")
	assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
	assert.NotErrorIs(t, err, cwsandbox.ErrFile)

	attached, err := w.client.Attach(limited(t), sb.ID())
	require.NoError(t, err)
	_, err = attached.Exec(limited(t), []string{"true"})
	assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
}
