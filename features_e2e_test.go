package cwsandbox_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// created returns what the service was asked for last.
func created(t *testing.T, server *cwsandboxtest.Server) *sandboxv1.SandboxSpec {
	t.Helper()
	calls := server.Calls("CreateSandbox")
	require.NotEmpty(t, calls)
	return calls[len(calls)-1].Request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec()
}

func TestWhereTheServiceIs(t *testing.T) {
	base, other := cwsandboxtest.NewServer(t), cwsandboxtest.NewServer(t)
	asked := func(t *testing.T, opts ...cwsandbox.ClientOption) {
		t.Helper()
		c, err := cwsandbox.NewClient(append(opts, cwsandbox.WithAPIKey(base.APIKey()))...)
		require.NoError(t, err)
		defer c.Close()
		_, err = cwsandbox.Collect(c.List(t.Context()))
		require.NoError(t, err)
	}
	t.Run("the environment, with slashes at the end", func(t *testing.T) {
		t.Setenv("CWSANDBOX_BASE_URL", base.URL()+"//")
		before := base.Received("ListSandboxes")
		asked(t)
		assert.Equal(t, before+1, base.Received("ListSandboxes"))
	})
	t.Run("an option wins", func(t *testing.T) {
		t.Setenv("CWSANDBOX_BASE_URL", other.URL())
		before := base.Received("ListSandboxes")
		asked(t, cwsandbox.WithBaseURL(base.URL()))
		assert.Equal(t, before+1, base.Received("ListSandboxes"))
		assert.Zero(t, other.Received("*"))
	})
	t.Run("neither is taken as it comes", func(t *testing.T) {
		for _, url := range []string{"https://h/path", "ftp://h", "https://", "h", "http://h.example", "https://h?q", "https://user@h"} {
			_, err := cwsandbox.NewClient(cwsandbox.WithBaseURL(url), cwsandbox.WithAPIKey("k"))
			assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, url)
			t.Setenv("CWSANDBOX_BASE_URL", url)
			_, err = cwsandbox.NewClient(cwsandbox.WithAPIKey("k"))
			assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, url)
		}
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	for code, want := range map[codes.Code]error{
		codes.Unauthenticated: cwsandbox.ErrUnauthenticated, codes.PermissionDenied: cwsandbox.ErrPermissionDenied,
	} {
		rule := server.Inject(cwsandboxtest.Rule{Method: "ListSandboxes", Action: cwsandboxtest.Fail(code, "no",
			cwsandboxtest.Reason("CWSANDBOX_FUTURE"), cwsandboxtest.Metadata("action", "SANDBOX_ADMIN"))})
		_, err := cwsandbox.Collect(server.Client().List(t.Context()))
		for _, sentinel := range []error{cwsandbox.ErrUnauthenticated, cwsandbox.ErrPermissionDenied} {
			assert.Equal(t, sentinel == want, errors.Is(err, sentinel), "%v", err)
		}
		var e *cwsandbox.Error
		require.ErrorAs(t, err, &e)
		assert.EqualValues(t, "CWSANDBOX_FUTURE", e.Reason)
		assert.Equal(t, "SANDBOX_ADMIN", e.Metadata["action"])
		rule.Release()
	}
}

func TestDefaultsArriveAtTheService(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	create := func(t *testing.T, opts ...cwsandbox.Option) (*sandboxv1.SandboxSpec, *sandboxv1.Container) {
		t.Helper()
		session, err := client.NewSession(cwsandbox.Defaults(
			cwsandbox.WithTags("team", "shared"), cwsandbox.WithEnv("A", "default"), cwsandbox.WithEnv("B", "default"),
			cwsandbox.WithAnnotation("k", "default"), cwsandbox.WithRunners("local-runner"), cwsandbox.WithMaxLifetime(time.Hour),
			cwsandbox.WithResources(cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "1", Memory: "1Gi"}}),
		))
		require.NoError(t, err)
		defer session.Close()
		_, err = session.Create(t.Context(), opts...)
		require.NoError(t, err)
		spec := created(t, server)
		return spec, spec.GetContainers()[0]
	}
	t.Run("nothing said", func(t *testing.T) {
		spec, c := create(t)
		assert.Equal(t, "python:3.11", c.GetImage())
		assert.Equal(t, "/bin/sh", c.GetCommand())
		assert.Equal(t, "-c", c.GetArgs()[0])
		assert.Equal(t, []string{"team", "shared"}, spec.GetTags())
		assert.Equal(t, []string{"local-runner"}, spec.GetRunnerIds())
		assert.Equal(t, sandboxv1.SandboxMode_SANDBOX_MODE_CKS, spec.GetMode())
		assert.EqualValues(t, 3600, spec.GetMaxLifetimeSeconds())
	})
	t.Run("a call over them", func(t *testing.T) {
		spec, c := create(t, cwsandbox.WithCommand("sleep"), cwsandbox.WithTags("mine"), cwsandbox.WithEnv("B", "call"),
			cwsandbox.WithAnnotation("k", "call"), cwsandbox.WithRunners(), cwsandbox.WithMaxLifetime(1500*time.Millisecond),
			cwsandbox.WithResources(cwsandbox.Resources{Limits: cwsandbox.ResourceList{Memory: "2Gi"}}))
		assert.Equal(t, "sleep", c.GetCommand())
		assert.Empty(t, c.GetArgs(), "a command inherits no arguments")
		assert.Equal(t, []string{"team", "shared", "mine"}, spec.GetTags())
		assert.Equal(t, map[string]string{"A": "default", "B": "call"}, c.GetEnvironmentVariables())
		assert.Equal(t, "call", spec.GetAnnotations()["k"])
		assert.Empty(t, spec.GetRunnerIds(), "cleared")
		assert.EqualValues(t, 2, spec.GetMaxLifetimeSeconds(), "rounded up")
		assert.Empty(t, c.GetResourceRequirements().GetLimits().GetCpu(), "replaced as a whole")
	})
}

func TestResourcesArriveAtTheService(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	type list = cwsandbox.ResourceList
	guaranteed := &sandboxv1.Resources{Cpu: "500m", Memory: "1.5Gi"}
	for name, row := range map[string]struct {
		given            cwsandbox.Resources
		requests, limits *sandboxv1.Resources
		echo             cwsandbox.Resources
	}{
		"requests alone": {
			cwsandbox.Resources{Requests: list{CPU: "500m", Memory: "1.5Gi"}}, guaranteed, guaranteed,
			cwsandbox.Resources{Requests: list{CPU: "500m", Memory: "1.5Gi"}, Limits: list{CPU: "500m", Memory: "1.5Gi"}},
		},
		"limits alone": {
			cwsandbox.Resources{Limits: list{CPU: "500m", Memory: "1.5Gi"}}, guaranteed, guaranteed,
			cwsandbox.Resources{Requests: list{CPU: "500m", Memory: "1.5Gi"}, Limits: list{CPU: "500m", Memory: "1.5Gi"}},
		},
		"both": {
			cwsandbox.Resources{Requests: list{CPU: "0.25", Memory: "64Mi"}, Limits: list{CPU: "2", Memory: "1G"}},
			&sandboxv1.Resources{Cpu: "0.25", Memory: "64Mi"}, &sandboxv1.Resources{Cpu: "2", Memory: "1G"},
			cwsandbox.Resources{Requests: list{CPU: "0.25", Memory: "64Mi"}, Limits: list{CPU: "2", Memory: "1G"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			sb, err := client.Run(t.Context(), cwsandbox.WithResources(row.given))
			require.NoError(t, err)
			defer sb.Stop().Wait()
			sent := created(t, server).GetContainers()[0].GetResourceRequirements()
			assert.True(t, proto.Equal(row.requests, sent.GetRequests()), "%v", sent)
			assert.True(t, proto.Equal(row.limits, sent.GetLimits()), "%v", sent)
			assert.Nil(t, created(t, server).GetContainers()[0].GetResources())
			assert.Equal(t, row.echo, sb.Info().Resources)
		})
	}
	t.Run("nothing invalid is sent", func(t *testing.T) {
		before := server.Received("CreateSandbox")
		for _, r := range []cwsandbox.Resources{
			{Requests: list{CPU: "2"}, Limits: list{CPU: "1500m"}},
			{Requests: list{Memory: "1Gi"}, Limits: list{Memory: "1G"}},
			{GPU: &cwsandbox.GPU{}},
			{GPU: &cwsandbox.GPU{Count: 1, Type: "H100", MemoryGB: 80}},
		} {
			_, err := client.Create(t.Context(), cwsandbox.WithResources(r))
			assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, "%v", r)
		}
		for _, amount := range []string{" ", "-1", "+1", "1_0", "1e3", "1e3Ki", "1n", "1u", "NaN", "Infinity", "1KB", "1.", ".5", "1 Gi", "0x10", "1K"} {
			_, err := client.Create(t.Context(), cwsandbox.WithResources(cwsandbox.Resources{Requests: list{Memory: amount}}))
			assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument, amount)
			var e *cwsandbox.Error
			if assert.ErrorAs(t, err, &e) && assert.Len(t, e.Violations, 1) {
				assert.Equal(t, "spec.containers[0].resource_requirements.requests.memory", e.Violations[0].Field)
			}
		}
		assert.Equal(t, before, server.Received("CreateSandbox"))
	})
	t.Run("every suffix", func(t *testing.T) {
		for _, amount := range []string{"1000m", "1", "2.5", "1Ki", "1Mi", "0.5Gi", "1k", "1M", "1G"} {
			sb, err := client.Create(t.Context(), cwsandbox.WithResources(cwsandbox.Resources{Requests: list{Memory: amount}}))
			require.NoError(t, err, amount)
			require.NoError(t, client.Delete(t.Context(), sb.ID()))
			assert.Equal(t, amount, created(t, server).GetContainers()[0].GetResourceRequirements().GetLimits().GetMemory(), "as it was given")
		}
	})
	t.Run("refused by the service", func(t *testing.T) {
		_, err := client.Create(t.Context(), cwsandbox.WithResources(cwsandbox.Resources{Requests: list{CPU: "129"}}))
		assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
		assert.True(t, cwsandbox.HasReason(err, "CWSANDBOX_RESOURCE_CEILING_EXCEEDED"))
		var e *cwsandbox.Error
		require.ErrorAs(t, err, &e)
		require.Len(t, e.Violations, 1)
		assert.Contains(t, e.Violations[0].Field, "spec.containers[0].resource")
		assert.True(t, strings.Contains(err.Error(), e.Violations[0].Field), "%v", err)

		_, err = client.Create(t.Context(), cwsandbox.WithResources(cwsandbox.Resources{GPU: &cwsandbox.GPU{Count: 1, Type: "H100"}}))
		assert.ErrorIs(t, err, cwsandbox.ErrPrecondition)
		assert.True(t, cwsandbox.HasReason(err, "CWSANDBOX_GPU_NOT_ALLOWED"))
		both := server.Calls("CreateSandbox")
		sent := both[len(both)-1].Request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec().GetContainers()[0].GetResourceRequirements()
		assert.Equal(t, "H100", sent.GetRequests().GetGpu().GetType())
		assert.Equal(t, "H100", sent.GetLimits().GetGpu().GetType(), "on both sides")
	})
}

func TestListsAreOfTheRightSandboxes(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	session, err := client.NewSession(cwsandbox.WithTags("session"))
	require.NoError(t, err)
	defer session.Close()
	mine, err := session.Run(t.Context(), cwsandbox.WithTags("first"))
	require.NoError(t, err)
	other, err := client.Run(t.Context(), cwsandbox.WithTags("first"))
	require.NoError(t, err)
	defer other.Stop().Wait()
	ids := func(list []*cwsandbox.Sandbox, err error) []string {
		t.Helper()
		require.NoError(t, err)
		var ids []string
		for _, sb := range list {
			ids = append(ids, sb.ID())
		}
		return ids
	}
	assert.ElementsMatch(t, []string{mine.ID(), other.ID()}, ids(cwsandbox.Collect(client.List(t.Context(), cwsandbox.WithTags("first")))))
	assert.Equal(t, []string{mine.ID()}, ids(cwsandbox.Collect(client.List(t.Context(), cwsandbox.WithTags("first", "session")))))
	assert.Equal(t, []string{mine.ID()}, ids(cwsandbox.Collect(session.List(t.Context(), cwsandbox.WithTags("first")))), "the session's tags")
	_, err = mine.Stop().Wait()
	require.NoError(t, err)
	ended := cwsandbox.WithState(mine.Info().State)
	assert.Empty(t, ids(cwsandbox.Collect(session.List(t.Context()))))
	assert.Equal(t, []string{mine.ID()}, ids(cwsandbox.Collect(session.List(t.Context(), ended))), "a state of the end includes what has ended")
}
