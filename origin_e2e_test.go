//go:build linux || darwin

package cwsandbox_test

import (
	"context"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// withTemplate runs a test in fake time with a template that is there.
func withTemplate(t *testing.T, test func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client, id string)) {
	synctest.Test(t, func(t *testing.T) {
		server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory())
		client := server.Client()
		made, err := client.CreateTemplate(t.Context(), "base",
			cwsandbox.WithImage("golang:1.26"), cwsandbox.WithCommand("sleep", "3600"), cwsandbox.WithEnv("A", "template"),
			cwsandbox.WithTags("of-template"), cwsandbox.WithAnnotation("k", "v"), cwsandbox.WithMaxLifetime(2*time.Hour))
		require.NoError(t, err)
		test(t, server, client, made.ID)
	})
}

func TestRunFromTemplate(t *testing.T) {
	t.Run("what the template says stays", func(t *testing.T) {
		withTemplate(t, func(t *testing.T, _ *cwsandboxtest.Server, client *cwsandbox.Client, id string) {
			sb, err := client.Run(t.Context(), cwsandbox.WithTemplate(id))
			require.NoError(t, err)
			defer sb.Stop().Wait()
			info := sb.Info()
			assert.Equal(t, id, info.TemplateID)
			assert.EqualValues(t, 1, info.TemplateRevision)
			assert.Equal(t, "golang:1.26", info.Image)
			assert.Equal(t, []string{"of-template"}, info.Tags)
			assert.Equal(t, map[string]string{"k": "v"}, info.Annotations)
			assert.Equal(t, 2*time.Hour, info.MaxLifetime)
			assert.Zero(t, info.Owner)
			out, err := sb.Output(t.Context(), "env")
			require.NoError(t, err)
			assert.Contains(t, string(out), "A=template\n")
		})
	})
	t.Run("every door, with overrides", func(t *testing.T) {
		withTemplate(t, func(t *testing.T, _ *cwsandboxtest.Server, client *cwsandbox.Client, id string) {
			s, err := client.NewSession(cwsandbox.WithTags("of-session"), cwsandbox.WithEnv("A", "session"), cwsandbox.WithMaxLifetime(time.Minute))
			require.NoError(t, err)
			defer s.Close()
			sb, err := s.Create(t.Context(), cwsandbox.WithTemplate(id), cwsandbox.WithTags("of-call"))
			require.NoError(t, err)
			require.NoError(t, sb.WaitRunning(t.Context()))
			assert.Equal(t, []string{"of-session", "of-call"}, sb.Info().Tags)
			assert.Equal(t, 2*time.Hour, sb.Info().MaxLifetime)
			out, err := sb.Output(t.Context(), "env")
			require.NoError(t, err)
			assert.Contains(t, string(out), "A=template\n")
			list, err := cwsandbox.Collect(s.List(t.Context()))
			require.NoError(t, err)
			assert.Len(t, list, 1, "its tags find it")

			err = client.RunFunc(t.Context(), func(sb *cwsandbox.Sandbox) error {
				info := sb.Info()
				assert.Equal(t, "busybox", info.Image)
				assert.Equal(t, time.Minute, info.MaxLifetime)
				assert.Equal(t, map[string]string{"l": "w"}, info.Annotations)
				assert.Equal(t, []string{"of-template"}, info.Tags)
				assert.Equal(t, "mine", info.DisplayName)
				out, err := sb.Output(t.Context(), "env")
				assert.NotContains(t, string(out), "A=", "the template's container is gone with all of it")
				return err
			}, cwsandbox.WithTemplate(id), cwsandbox.WithImage("busybox"), cwsandbox.WithCommand("sleep", "3600"),
				cwsandbox.WithMaxLifetime(time.Minute), cwsandbox.WithAnnotation("l", "w"), cwsandbox.WithDisplayName("mine"))
			require.NoError(t, err)
		})
	})
	t.Run("a lost answer", func(t *testing.T) {
		withTemplate(t, func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client, id string) {
			server.Inject(cwsandboxtest.Rule{Method: "CreateSandboxFromTemplate", Action: cwsandboxtest.DropResponse(), Times: 1})
			sb, err := client.Run(t.Context(), cwsandbox.WithTemplate(id))
			require.NoError(t, err)
			assert.Len(t, server.Active(), 1)
			assert.Len(t, server.Calls("CreateSandboxFromTemplate"), 2)
			_, err = sb.Stop().Wait()
			require.NoError(t, err)
		})
	})
	t.Run("no such template", func(t *testing.T) {
		withTemplate(t, func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client, _ string) {
			_, err := client.Run(t.Context(), cwsandbox.WithTemplate("base"))
			require.ErrorIs(t, err, cwsandbox.ErrNotFound)
			assert.Len(t, server.Calls("CreateSandboxFromTemplate"), 1)
		})
	})
}

const twoServices = `
services:
  app: {image: golang, command: sleep 3600, environment: {ROLE: app}, depends_on: [db]}
  db: {image: postgres, command: sleep 3600, environment: {ROLE: db}}
`

func TestRunFromCompose(t *testing.T) {
	document := cwsandbox.Compose{Contents: []byte(twoServices), Primary: "app"}
	inMemory := func(t *testing.T, name string, test func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory())
				test(t, server, server.Client())
			})
		})
	}
	inMemory(t, "commands in both services", func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		document := document
		document.Contents, document.File = nil, "compose.yaml"
		document.FS = fstest.MapFS{"compose.yaml": {Data: []byte(twoServices)}}
		document.Images = map[string]string{"db": "mysql"}
		document.Resources = cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "1"}}
		s, err := client.NewSession(cwsandbox.WithTags("of-session"), cwsandbox.WithEnv("ROLE", "skipped"))
		require.NoError(t, err)
		defer s.Close()
		sb, err := s.Run(t.Context(), cwsandbox.WithCompose(document), cwsandbox.WithDisplayName("mine"))
		require.NoError(t, err)
		info := sb.Info()
		require.Len(t, info.Containers, 2)
		assert.Equal(t, "db", info.Containers[0].Name, "before what depends on it")
		assert.Equal(t, "mysql", info.Containers[0].Spec.Image)
		assert.Equal(t, "1", info.Containers[1].Spec.Resources.Requests.CPU)
		assert.Equal(t, "golang", info.Image, "of the primary one")
		assert.Equal(t, time.Hour, info.MaxLifetime)
		assert.Equal(t, []string{"of-session"}, info.Tags)
		assert.Equal(t, "mine", info.DisplayName)
		for name, opts := range map[string][]cwsandbox.ExecOption{"app": nil, "db": {cwsandbox.WithContainer("db")}} {
			res, err := sb.Exec(t.Context(), []string{"env"}, opts...)
			require.NoError(t, err)
			assert.Contains(t, string(res.Stdout), "ROLE="+name+"\n")
		}
	})
	inMemory(t, "while it is being prepared", func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		prepared := 0
		server.Inject(cwsandboxtest.Rule{Method: "GetSandbox", Times: 3, Action: cwsandboxtest.Mutate(func(m proto.Message) {
			sb := m.(*sandboxv1.Sandbox)
			sb.Spec, sb.Status = nil, &sandboxv1.SandboxStatus{State: sandboxv1.State_STATE_PREPARING}
			prepared++
		})})
		sb, err := client.Run(t.Context(), cwsandbox.WithCompose(document))
		require.NoError(t, err)
		assert.Equal(t, 3, prepared)
		assert.Equal(t, cwsandbox.StateRunning, sb.Info().State)
		assert.Len(t, sb.Info().Containers, 2)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
	})
	inMemory(t, "a caller that gives up", func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		server.Inject(cwsandboxtest.Rule{Method: "CreateSandboxFromFile", Action: cwsandboxtest.DelayAfter(time.Minute), Times: 1})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Run(ctx, cwsandbox.WithCompose(document))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		calls := server.Calls("CreateSandboxFromFile")
		require.Len(t, calls, 2)
		assert.True(t, proto.Equal(calls[0].Request, calls[1].Request))
		synctest.Wait()
		assert.Empty(t, server.Active())
	})
	inMemory(t, "what the service refuses", func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		for _, row := range []struct {
			contents string
			want     error
			field    string
			text     string
		}{
			{"services: {", cwsandbox.ErrInvalidArgument, "contents", "not a YAML document"},
			{"services: {db: {image: i}}", cwsandbox.ErrInvalidArgument, "primary_service", `no service "app"`},
			{"services: {app: {build: .}}", cwsandbox.ErrNotImplemented, "", "services.app: a service without an image"},
			{"services: {app: {image: i, volumes: [a:/a]}}", cwsandbox.ErrNotImplemented, "", "services.app.volumes"},
		} {
			_, err := client.Run(t.Context(), cwsandbox.WithCompose(cwsandbox.Compose{Contents: []byte(row.contents), Primary: "app"}))
			require.ErrorIs(t, err, row.want)
			assert.ErrorContains(t, err, row.text)
			var e *cwsandbox.Error
			require.ErrorAs(t, err, &e)
			if row.field != "" {
				require.NotEmpty(t, e.Violations)
				assert.Equal(t, row.field, e.Violations[0].Field)
			}
		}
		server.Inject(cwsandboxtest.Rule{Method: "CreateSandboxFromFile", Action: cwsandboxtest.Fail(codes.Unimplemented, "no", cwsandboxtest.Reason("CWSANDBOX_NOT_IMPLEMENTED"))})
		_, err := client.Run(t.Context(), cwsandbox.WithCompose(document))
		assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonNotImplemented))
		assert.Empty(t, server.Active())
	})
}

// TestComposeProcesses: with real processes services know each other by name, and a health check holds back what depends
// on it.
func TestComposeProcesses(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	sb, err := server.Client().Run(limited(t), cwsandbox.WithCompose(cwsandbox.Compose{Primary: "app", Contents: []byte(`
services:
  app:
    image: a
    command: [sleep, infinity]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: b
    command: sh -c 'echo up >"$$HOME/ready"; sleep infinity & wait'
    healthcheck: {test: 'test "$$(cat "$$HOME/ready")" = up', interval: 1s, retries: 30}
`)}))
	require.NoError(t, err)
	defer sb.Stop().Wait()
	res, err := sb.Exec(limited(t), []string{"sh", "-c", `cat "$HOME/ready"`}, cwsandbox.WithContainer("db"))
	require.NoError(t, err)
	assert.Equal(t, "up\n", string(res.Stdout))
	if server.Isolation() == "plain" {
		return // the processes see the hosts file of this machine
	}
	out, err := sb.Output(limited(t), "sh", "-c", "echo $(getent hosts db app | cut -d' ' -f1)")
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1 127.0.0.1\n", string(out))
}
