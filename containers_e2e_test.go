package cwsandbox_test

import (
	"context"
	"fmt"
	"io/fs"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

var tiny = cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "100m", Memory: "64Mi"}}

func ExampleWithContainers() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithContainers(
		cwsandbox.Container{
			Name: "helper", Image: "busybox", Resources: tiny,
			Command: []string{"sh", "-c", "echo ready; sleep infinity"},
		},
		cwsandbox.Container{Name: "main", Image: "python:3.12", Resources: tiny, Command: cwsandbox.KeepAlive(), Primary: true},
	))
	defer sb.Stop().Wait()
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, c := range sb.Info().Containers {
		fmt.Println(c.Name, c.State)
	}
	for line, err := range sb.Logs(ctx, cwsandbox.WithContainer("helper"), cwsandbox.WithFollow()) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("helper says", line.Text)
		break
	}
	// Output:
	// helper running
	// main running
	// helper says ready
}

func ExampleWithSecrets() {
	ctx := context.Background()
	server, err := cwsandboxtest.Start(ctx, cwsandboxtest.WithSecrets(cwsandboxtest.Secret{Store: "team", Name: "greeting", Value: "hello"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer server.Close()
	client := server.Client()

	sb, err := client.Run(ctx, cwsandbox.WithSecrets(cwsandbox.Secret{Store: "team", Name: "greeting", Env: "GREETING"}))
	defer sb.Stop().Wait()
	if err != nil {
		fmt.Println(err)
		return
	}
	out, err := sb.Output(ctx, "sh", "-c", "env")
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "GREETING") {
			fmt.Print(line)
		}
	}
	fmt.Println(err)
	// Output:
	// GREETING=hello
	// <nil>
}

func TestSeveralContainers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ready := make(chan struct{})
		server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.WithCommand("check", cwsandboxtest.Command{
			Run: func(context.Context, *cwsandboxtest.Proc) int {
				select {
				case <-ready:
					return 0
				default:
					return 1
				}
			},
		}))
		client, ctx := server.Client(), t.Context()
		sb, err := client.Create(ctx, cwsandbox.WithContainers(
			cwsandbox.Container{
				Name: "db", Image: "postgres", Resources: tiny, Command: []string{"sh", "-c", "echo of the db; sleep infinity"},
				Env:          map[string]string{"WHO": "db"},
				StartupProbe: cwsandbox.Probe{Command: []string{"check"}, Period: time.Second, Failures: 100},
			},
			cwsandbox.Container{Name: "job", Image: "busybox", Resources: tiny, Command: []string{"true"}},
			cwsandbox.Container{Name: "app", Image: "python:3.12", Resources: tiny, Command: cwsandbox.KeepAlive(), Primary: true},
		))
		require.NoError(t, err)
		defer sb.Stop().Wait()

		time.Sleep(10 * time.Second)
		info, err := sb.Refresh(ctx)
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.StateCreating, info.State)
		require.Len(t, info.Containers, 3)
		assert.Equal(t, []cwsandbox.State{cwsandbox.StateRunning, cwsandbox.StateCreating, cwsandbox.StateCreating},
			[]cwsandbox.State{info.Containers[0].State, info.Containers[1].State, info.Containers[2].State})
		close(ready)
		require.NoError(t, sb.WaitRunning(ctx))
		time.Sleep(time.Second)
		info, err = sb.Refresh(ctx)
		require.NoError(t, err)
		assert.Equal(t, cwsandbox.StateRunning, info.State, "a job that is done does not end the sandbox")
		assert.Equal(t, "python:3.12", info.Image)
		assert.Equal(t, cwsandbox.ResourceList{CPU: "300m", Memory: "192Mi"}, info.Resources.Requests)
		job := info.Containers[1]
		assert.Equal(t, cwsandbox.StateCompleted, job.State)
		require.NotNil(t, job.ExitCode)
		assert.Zero(t, *job.ExitCode)
		assert.Nil(t, info.Containers[0].ExitCode)
		assert.Equal(t, []string{"check"}, info.Containers[0].Spec.StartupProbe.Command)
		assert.True(t, info.Containers[2].Spec.Primary)
		assert.False(t, info.Containers[0].Spec.Primary)

		inDB := cwsandbox.WithContainer("db")
		require.NoError(t, sb.WriteFile(ctx, "/f", []byte("of the db"), inDB))
		got, err := sb.ReadFile(ctx, "/f", inDB)
		require.NoError(t, err)
		assert.Equal(t, "of the db", string(got))
		_, err = sb.ReadFile(ctx, "/f")
		assert.ErrorIs(t, err, fs.ErrNotExist, "the primary has files of its own")
		out, err := sb.Exec(ctx, []string{"cat", "/f"}, inDB)
		require.NoError(t, err)
		assert.Equal(t, "of the db", string(out.Stdout))
		out, err = sb.Exec(ctx, []string{"env"}, inDB)
		require.NoError(t, err)
		assert.Contains(t, string(out.Stdout), "WHO=db\n")
		_, err = sb.Exec(ctx, []string{"true"}, cwsandbox.WithContainer("nobody"))
		assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
		_, err = sb.Exec(ctx, []string{"true"}, cwsandbox.WithContainer("job"))
		assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
		for line, err := range sb.Logs(ctx, inDB) {
			require.NoError(t, err)
			assert.Equal(t, "of the db", line.Text)
		}

		attached, err := client.Attach(ctx, sb.ID())
		require.NoError(t, err)
		assert.Equal(t, info.Containers, attached.Info().Containers)
	})
}

func TestStartupProbeThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory()).Client()
		_, err := client.Run(t.Context(), cwsandbox.WithStartupProbe(cwsandbox.Probe{
			Command: []string{"false"}, InitialDelay: 2 * time.Second, Period: time.Second, Timeout: time.Second, Failures: 2,
		}))
		require.ErrorIs(t, err, cwsandbox.ErrFailed)
		assert.ErrorContains(t, err, "startup probe of container main failed 2 times")
	})
}

func TestSecretsOfTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.WithSecrets(
		cwsandboxtest.Secret{Store: "team", Name: "token", Value: "hidden-1"},
		cwsandboxtest.Secret{Store: "team", Name: "db", Field: "password", Value: "hidden-2"},
		cwsandboxtest.Secret{Store: "team", Name: "registry", Value: `{"username": "robot", "password": "hidden-3"}`},
	))
	client, ctx := server.Client(), t.Context()
	password := cwsandbox.Secret{Store: "team", Name: "db", Field: "password", Env: "PASSWORD"}
	s, err := client.NewSession(cwsandbox.WithSecrets(cwsandbox.Secret{Store: "team", Name: "token", Env: "TOKEN"}))
	require.NoError(t, err)
	defer s.Close()
	sb, err := s.Run(ctx, cwsandbox.WithSecrets(password), cwsandbox.WithPullCredentials(cwsandbox.PullCredentials{
		Registry: "ghcr.io", Store: "team", Name: "registry",
	}))
	require.NoError(t, err)
	out, err := sb.Output(ctx, "env")
	require.NoError(t, err)
	assert.Contains(t, string(out), "TOKEN=hidden-1\n")
	assert.Contains(t, string(out), "PASSWORD=hidden-2\n")
	assert.NotContains(t, string(out), "hidden-3")
	assert.Equal(t, password, sb.Info().Containers[0].Spec.Secrets[1])
	assert.Equal(t, "ghcr.io", sb.Info().Containers[0].Spec.PullCredentials.Registry)
	for _, method := range []string{"CreateSandbox", "GetSandbox"} {
		for _, call := range server.Calls(method) {
			assert.NotContains(t, fmt.Sprintf("%+v", call), "hidden", method)
		}
	}

	_, err = s.Run(ctx, cwsandbox.WithSecrets(cwsandbox.Secret{Store: "other", Name: "token"}))
	require.ErrorIs(t, err, cwsandbox.ErrPrecondition)
	assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonSecretStoreNotProvisioned))
	_, err = s.Run(ctx, cwsandbox.WithSecrets(cwsandbox.Secret{Store: "team", Name: "none"}))
	require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
	_, err = s.Run(ctx, cwsandbox.WithPullCredentials(cwsandbox.PullCredentials{Registry: "ghcr.io", Store: "team", Name: "token"}))
	require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
	assert.Equal(t, "team/db#password", fmt.Sprintf("%+v", cwsandboxtest.Secret{Store: "team", Name: "db", Field: "password", Value: "hidden"}))
}

func TestClassesOfTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.WithRuntimeClasses("kata"), cwsandboxtest.WithInstanceTypes("big"))
	client, ctx := server.Client(), t.Context()
	sb, err := client.Run(ctx, cwsandbox.WithRuntimeClass("kata"), cwsandbox.WithInstanceType("big"))
	require.NoError(t, err)
	defer sb.Stop().Wait()
	assert.Equal(t, "kata", sb.Info().RuntimeClass)
	other, err := client.Run(ctx)
	require.NoError(t, err)
	defer other.Stop().Wait()
	assert.Equal(t, "<node-default>", other.Info().RuntimeClass)
	for _, option := range []cwsandbox.Option{cwsandbox.WithRuntimeClass("gvisor"), cwsandbox.WithInstanceType("small")} {
		_, err := client.Run(ctx, option)
		assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
	}
	_, err = client.Run(ctx, cwsandbox.WithObjectStorage(cwsandbox.ObjectStorage{
		Buckets: []string{"b"}, Permission: cwsandbox.ObjectStorageRead,
	}))
	assert.ErrorContains(t, err, "object storage is not set up")
}

// Real containers reach each other on localhost, and each has its own files and processes.
func TestContainersAreReal(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("containers are isolated on Linux only")
	}
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	if server.Isolation() == "plain" {
		t.Skip(strings.Join(server.Warnings(), "; "))
	}
	client, ctx := server.Client(), t.Context()
	const serve = `import http.server, os
os.makedirs("/tmp/www")
os.chdir("/tmp/www")
open("hello", "w").write("from the web container")
s = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
open("port", "w").write(str(s.server_port))
print("serving", flush=True)
s.serve_forever()`
	sb, err := client.Run(ctx, cwsandbox.WithContainers(
		cwsandbox.Container{
			Name: "web", Image: "python:3.12", Resources: tiny, Command: []string{"python3", "-c", serve},
			StartupProbe: cwsandbox.Probe{Command: []string{"test", "-s", "/tmp/www/port"}, Period: time.Second, Failures: 60},
		},
		cwsandbox.Container{
			Name: "app", Image: "python:3.12", Resources: tiny, Command: cwsandbox.KeepAlive(), Primary: true,
			SecurityContext: cwsandbox.SecurityContext{ReadOnlyRootFilesystem: new(true), CapabilitiesDrop: []string{"ALL"}},
		},
	))
	require.NoError(t, err)
	defer sb.Stop().Wait()
	port, err := sb.ReadFile(ctx, "/tmp/www/port", cwsandbox.WithContainer("web"))
	require.NoError(t, err)
	get := fmt.Sprintf(`import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:%s/hello").read().decode(), end="")`, port)
	out, err := sb.Output(ctx, "python3", "-c", get)
	require.NoError(t, err)
	assert.Equal(t, "from the web container", string(out))
	_, err = sb.ReadFile(ctx, "/tmp/www/port")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	res, err := sb.Exec(ctx, []string{"sh", "-c", "echo x >/tmp/x"})
	require.NoError(t, err)
	assert.NotZero(t, res.ExitCode, "the root is read-only")
	res, err = sb.Exec(ctx, []string{"sh", "-c", "echo x >/tmp/x"}, cwsandbox.WithContainer("web"))
	require.NoError(t, err)
	assert.Zero(t, res.ExitCode)

	// A connection into the sandbox begins in the primary container and reaches the other one.
	transport := &http.Transport{DialContext: sb.DialContext}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get("http://127.0.0.1:" + string(port) + "/hello")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)

	if server.Isolation() != "isolated" {
		return
	}
	other, err := client.Run(ctx, cwsandbox.WithSecurityContext(cwsandbox.SecurityContext{RunAsUser: new(1234), RunAsGroup: new(0)}))
	require.NoError(t, err)
	defer other.Stop().Wait()
	out, err = other.Output(ctx, "id", "-u")
	require.NoError(t, err)
	assert.Equal(t, "1234\n", string(out))
	assert.ErrorIs(t, other.WriteFile(ctx, "/etc/x", nil), fs.ErrPermission)
	require.NotNil(t, other.Info().Containers[0].Spec.SecurityContext.RunAsGroup)
}
