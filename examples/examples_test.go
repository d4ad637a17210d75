//go:build linux || darwin

// Package examples holds programs, one a folder; it runs them as a user does.
package examples

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
)

// patience bounds what should take a moment.
const patience = 5 * time.Minute

// programs is the directory that the examples are built into.
var programs string

func TestMain(m *testing.M) {
	signaltest.Defaults()
	cwsandboxtest.Init() // the helper processes of a server with isolated sandboxes end up here
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (code int, err error) {
	programs, err = os.MkdirTemp("", "cwsandbox-examples-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(programs)
	out, err := exec.Command("go", "build", "-o", programs+"/", "./...").CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("building the examples: %w\n%s", err, out)
	}
	return m.Run(), nil
}

// scripts are the examples that end by themselves, with parts of what they print, in order.
var scripts = map[string][]string{
	"quickstart": {
		"is running\n1 squared is 1\n", "the sum is 55\nexit code: 0\nthe file it wrote: ", "stopped sandbox sb-", ": completed\n",
	},
	"cleanup-by-tag": {"has left 3 sandboxes", "a purge by this tag would end 3\nthe purge has ended 3\n"},
	"cleanup-by-age": {"has left 3 sandboxes", "dry run: 3 are older", "stopped 3\nthe young one is running\n"},
	"adopt-orphans":  {"has left 3 sandboxes", "adopted: 3\n", "part ", " is finished\n", "part ", "part "},
	"reaper":         {"victim: made sb-", "protected by the reaper: true\n", "signal: killed\n", "nothing is left after "},
	"port-forward": {
		"a server listens on 127.0.0.1:", "200 OK: this is /dialed\n200 OK: this is /forwarded\nnobody listens on port 1\n",
	},
	"network": { // in between, as far as networks can be closed here: see TestNetworkIsClosed
		"runner local-runner of group local has ", " runs on local-runner, placement cks\n",
		"the clusters are full, the sandbox went to serverless\n",
		"neither has room: cwsandbox: run: on cks: no room (CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED); then on serverless: no room (",
	},
	"large-files": {
		"upload: 25 %\n", "upload: 100 %\nuploaded 41943040 bytes\nthe checksum in the sandbox is right\n",
		"download: 100 %\ndownloaded 41943040 bytes\nthe content is the same\n",
	},
	"directory-sync": {
		"uploaded 24 bytes\nthe command has run\n", "24 names.txt\n", "2 out/count\n", "24 sorted.txt\n",
	},
	"logs-follow": {
		"the last 2 lines so far: ", "step 1\n", "step 2\n", "left the log after 2 lines, at byte 14 of session ", "step 3\n",
		"step 4\n", "step 5\n", "stopping\n", "cleaning up\n", "the log has ended: completed\n",
	},
	"streaming-exec": {
		"copied:\nstep 1\nstep 2\nstep 3\n", "exit code: 4\nline by line:\nafter ", ": step 1\n", ": step 3\n",
		"it had something to say, too: no step 4\nas with os/exec:\n", "step 3\n", "exit code: 4\n",
	},
	"stdin": {
		"sorted:\napple\npear\nplum\n", "6 times 7 is 42\n12 times 12 is 144\nno more questions\n",
	},
	"several-containers": {
		"container web is running\ncontainer client is running\neach has files of its own\nthe client got: this is /hello\n",
		"the server's log: the server is ready\nthe server's log: somebody asks for /hello\n",
	},
	"compose": {"store is running\napp is running\n", "this is app\nthis is store, and it is open\n"},
	"template": {
		"stored greeter-", "python:3.11, tags [greeter], for 5m0s, from revision 1\nhello from the template\n",
		"python:3.12, tags [greeter special], for 2m0s, from revision 1\nhello from the call\n",
	},
	"snapshot-fork": {
		"prepared 14 bytes in snapshot fss-", "fork ", " has base.txt and more.txt\nfork ", " has base.txt and more.txt\nfork ",
		"the last fork had:\nprepared once\nand changed by fork 2\n",
	},
	"remote-functions": {
		"factorizing 360\n", "360 is [2 2 2 3 3 5]\n", "an error matches: true\na panic: true division by zero\n",
		"12 has 3 prime factors\none was too small\n97 has 1 prime factors\n1001 has 3 prime factors\n", "1048576 has 20 prime",
		" sandboxes, 8 calls, 100% of them ended\n",
	},
	"opentelemetry": {
		"trace ", " CreateSandbox: OK in ", " StreamExec: OK in ", " of a trace: true\n", " DeleteSandbox: OK in ",
		"sandboxes created: 1\naverage startup is known: true\ncommands: 3, ok 2, nonzero 1, failed 0\n",
		"commands per sandbox: 3.0\n",
	},
	"batch-ctrl-c": {"5 sandboxes are working", "job 1 is done\n", "job 5 is done\n", "sandboxes left: 0\n"},
}

func TestScripts(t *testing.T) {
	for name, want := range scripts {
		t.Run(name, func(t *testing.T) {
			onBothServers(t, func(t *testing.T, env []string) {
				out, err := command(t, env, name).CombinedOutput()
				require.NoError(t, err, "%s", out)
				rest := string(out)
				for _, part := range want {
					var found bool
					_, rest, found = strings.Cut(rest, part)
					require.True(t, found, "no %q in its place in:\n%s", part, out)
				}
			})
		})
	}
}

func TestNetworkIsClosed(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	out, err := command(t, append(os.Environ(), server.Env()...), "network").CombinedOutput()
	require.NoError(t, err, "%s", out)
	if server.Isolation() == "plain" {
		assert.Contains(t, string(out), "no runner can close a network here: ")
		return
	}
	assert.Contains(t, string(out), " may reach [], name resolution: deny\na connection to the outside fails\na server in it says hello\n")
}

func TestEveryExampleIsTested(t *testing.T) {
	others := []string{"service", "settings", "shell", "web-service"} // have tests of their own
	files, err := os.ReadDir(programs)
	require.NoError(t, err)
	for _, f := range files {
		assert.True(t, scripts[f.Name()] != nil || slices.Contains(others, f.Name()), f.Name())
	}
	assert.Len(t, files, len(scripts)+len(others))
}

func TestCtrlCStopsTheBatch(t *testing.T) {
	onBothServers(t, func(t *testing.T, env []string) {
		p := start(t, env, "batch-ctrl-c", "-seconds", "1000")
		p.waitFor("press Ctrl+C")
		require.NoError(t, syscall.Kill(-p.cmd.Process.Pid, syscall.SIGINT)) // to its group, as a terminal does
		out := p.rest()
		assert.Contains(t, out, "cwsandbox: stopped ")
		assert.NotContains(t, out, "may still be running")
		p.cmd.Wait()
		status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
		assert.True(t, status.Signaled() && status.Signal() == syscall.SIGINT, "%v", p.cmd.ProcessState)
	})
}

// TestCtrlCUnderGoRun: go run hands on no signal, but the terminal sends Ctrl+C to the program, too.
func TestCtrlCUnderGoRun(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	cmd := command(t, append(os.Environ(), server.Env()...), "")
	cmd.Path, cmd.Args = goTool(t), []string{"go", "run", "./batch-ctrl-c", "-seconds", "1000"}
	p := launch(t, cmd)
	p.waitFor("press Ctrl+C")
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	out := p.rest()
	assert.Contains(t, out, "cwsandbox: stopped ")
	assert.NotContains(t, out, "may still be running")
	assert.Contains(t, out, "signal: interrupt", "how the program has ended")
	assert.Error(t, cmd.Wait())
	assert.NotEmpty(t, server.Calls("*"))
	server.AssertNoneLeft(t)
}

func goTool(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("go")
	require.NoError(t, err)
	return path
}

func TestServiceDrains(t *testing.T) {
	onBothServers(t, func(t *testing.T, env []string) {
		p := start(t, env, "service")
		_, url, _ := strings.Cut(p.waitFor("listening on "), "listening on ")
		answer := make(chan string, 1)
		go func() { answer <- post(t, url+"/run", "sleep 1; echo hello; exit 3") }()
		p.waitFor("running a program in ")
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		p.waitFor("draining")
		assert.Equal(t, "hello\nexit code 3\n", <-answer)
		assert.Equal(t, "sandboxes left: 0\n", p.rest())
		assert.NoError(t, p.cmd.Wait())
	})
}

// TestServiceLosesPatience: a request that outlasts the draining does not keep its sandbox.
func TestServiceLosesPatience(t *testing.T) {
	onBothServers(t, func(t *testing.T, env []string) {
		p := start(t, env, "service", "-drain", "100ms")
		_, url, _ := strings.Cut(p.waitFor("listening on "), "listening on ")
		answered := make(chan string, 1)
		go func() { answered <- post(t, url+"/run", "sleep 50") }()
		p.waitFor("running a program in ")
		require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
		assert.Contains(t, p.rest(), "sandboxes left: 0\n")
		assert.Error(t, p.cmd.Wait(), "it says that a request was cut")
		<-answered
	})
}

// post sends a request and returns the answer, or the error.
func post(t *testing.T, url, body string) string {
	req, err := http.NewRequestWithContext(limited(t), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(content)
}

// onBothServers runs a test with the server that an example starts for itself, and with one that has to be empty
// afterwards. The environment that the test gets leads there.
func onBothServers(t *testing.T, test func(t *testing.T, env []string)) {
	var env []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CWSANDBOX_") {
			env = append(env, pair)
		}
	}
	t.Run("without an account", func(t *testing.T) {
		t.Parallel()
		test(t, env)
	})
	t.Run("with an account", func(t *testing.T) {
		t.Parallel()
		server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes()) // fails the test should a sandbox be left
		authority := filepath.Join(t.TempDir(), "ca.pem")
		require.NoError(t, os.WriteFile(authority, server.CertificatePEM(), 0o600))
		test(t, append(append(env[:len(env):len(env)], server.Env()...), "SSL_CERT_FILE="+authority))
		assert.NotEmpty(t, server.Calls("*"))
	})
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func command(t *testing.T, env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(limited(t), filepath.Join(programs, name), args...)
	cmd.Env = env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second // should it be killed, what it has started may still hold its output
	return cmd
}

// running is an example that has been started.
type running struct {
	t      *testing.T
	cmd    *exec.Cmd
	output *bufio.Reader
	seen   strings.Builder
}

func start(t *testing.T, env []string, name string, args ...string) *running {
	t.Helper()
	return launch(t, command(t, env, name, args...))
}

func launch(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	out, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { out.Close() })
	cmd.Stdout, cmd.Stderr = w, w
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	require.NoError(t, w.Close())
	require.NoError(t, out.SetReadDeadline(time.Now().Add(patience)))
	return &running{t: t, cmd: cmd, output: bufio.NewReader(out)}
}

// waitFor returns the next line that contains text, without its end.
func (r *running) waitFor(text string) string {
	r.t.Helper()
	for {
		line, err := r.output.ReadString('\n')
		r.seen.WriteString(line)
		require.NoError(r.t, err, "no line with %q in:\n%s", text, r.seen.String())
		if strings.Contains(line, text) {
			return strings.TrimSuffix(line, "\n")
		}
	}
}

// rest returns what is printed from now on.
func (r *running) rest() string {
	r.t.Helper()
	rest, err := io.ReadAll(r.output)
	require.NoError(r.t, err)
	return string(rest)
}
