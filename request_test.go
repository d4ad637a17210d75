package cwsandbox

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestLifetime(t *testing.T) {
	for _, row := range []struct {
		name string
		opts []Option
		want int32
	}{
		{"K-047", nil, 3600},
		{"K-047", []Option{WithMaxLifetime(0)}, 0},
		{"K-048", []Option{WithMaxLifetime(1500 * time.Millisecond)}, 2},
		{"K-048", []Option{WithMaxLifetime(1)}, 1},
		{"K-048", []Option{WithMaxLifetime(math.MaxInt32 * time.Second)}, math.MaxInt32},
	} {
		t.Run(row.name, func(t *testing.T) {
			spec, _ := sent(t, nil, row.opts)
			assert.Equal(t, row.want, spec.GetMaxLifetimeSeconds())
		})
	}
	t.Run("K-049", func(t *testing.T) {
		for _, d := range []time.Duration{-1, 1 << 62, math.MaxInt32*time.Second + 1, math.MinInt64, math.MaxInt64} {
			_, err := newCreateConfig("create", environment{}, nil, []Option{WithMaxLifetime(d)})
			require.ErrorIs(t, err, ErrInvalidArgument, d)
			assert.ErrorContains(t, err, "spec.max_lifetime_seconds")
		}
	})
}

func TestCommandOfCreate(t *testing.T) {
	shell := []string{"/bin/sh", "-c", `trap "exit 0" TERM INT; sleep infinity & wait`}
	for _, row := range []struct {
		name         string
		session, own []Option
		want         []string
	}{
		{"K-071", nil, nil, shell},
		{"K-072", nil, []Option{WithCommand("echo")}, []string{"echo"}},
		{"K-073", nil, []Option{WithCommand("echo", "x")}, []string{"echo", "x"}},
		{"K-073", nil, []Option{WithCommand("echo", "")}, []string{"echo", ""}},
		{"K-075", []Option{Defaults(WithCommand("a", "b"))}, []Option{WithCommand("c")}, []string{"c"}},
		{"K-075", []Option{WithCommand("a", "b")}, []Option{WithImage("i")}, []string{"a", "b"}},
		{"K-076", []Option{WithCommand("a", "b")}, []Option{WithImageCommand()}, []string{""}},
		{"K-078", nil, []Option{WithCommand("echo $HOME")}, []string{"echo $HOME"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			_, c := sent(t, row.session, row.own)
			assert.Equal(t, row.want, append([]string{c.GetCommand()}, c.GetArgs()...))
		})
	}
	refused := func(name, field string, o Option) {
		t.Run(name, func(t *testing.T) {
			_, err := newCreateConfig("create", environment{}, nil, []Option{o})
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, field)
		})
	}
	refused("K-074", "spec.containers[0].command: must not be empty", WithCommand(""))
	refused("K-074", "spec.containers[0].command: must not be empty", WithCommand("", "x"))
	refused("K-077", "spec.containers[0].args[1]: must not contain NUL", WithCommand("a", "b", "c\x00"))
	refused("K-077", "spec.containers[0].command: must not contain NUL", WithCommand("a\x00"))
}

func TestRequest(t *testing.T) {
	t.Run("K-079", func(t *testing.T) {
		req := merged(t, nil, nil).request("id-1").(*sandboxv1.CreateSandboxRequest)
		want := &sandboxv1.CreateSandboxRequest{
			RequestId: "id-1",
			Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{
				MaxLifetimeSeconds: 3600,
				Containers: []*sandboxv1.Container{{
					Name: "main", Image: "python:3.11", Command: "/bin/sh",
					Args: []string{"-c", `trap "exit 0" TERM INT; sleep infinity & wait`},
				}},
			}},
		}
		assert.True(t, proto.Equal(want, req), "%v", req)
		assert.Nil(t, req.GetSandbox().GetSpec().GetContainers()[0].Primary)
		assert.Empty(t, req.GetSandbox().GetSpec().ProtoReflect().GetUnknown())
	})
	t.Run("K-099", func(t *testing.T) {
		spec, _ := sent(t, nil, nil)
		assert.Equal(t, sandboxv1.SandboxMode(0), spec.GetMode())
	})
	t.Run("everything that can be asked for", func(t *testing.T) {
		req := merged(t, nil, []Option{
			WithImage("golang:1.26"), WithCommand("sleep", "9"), WithEnv("A", "1"), WithDir("/w"), WithFile("/b", []byte("2")),
			WithFile("/a", nil), WithDisplayName("mine"), WithAnnotation("k", "v"), WithTags("t"), WithRunners("r"),
			WithResources(Resources{Requests: ResourceList{CPU: "1", Memory: "1Gi"}, GPU: &GPU{Count: 1, Type: "H100"}}),
			WithMaxLifetime(time.Minute),
		}).request("id-1").(*sandboxv1.CreateSandboxRequest)
		amounts := &sandboxv1.Resources{
			Cpu: "1", Memory: "1Gi", Gpu: &sandboxv1.Gpu{Count: 1, Selector: &sandboxv1.Gpu_Type{Type: "H100"}},
		}
		want := &sandboxv1.CreateSandboxRequest{
			RequestId: "id-1",
			Sandbox: &sandboxv1.Sandbox{DisplayName: "mine", Spec: &sandboxv1.SandboxSpec{
				Containers: []*sandboxv1.Container{{
					Name: "main", Image: "golang:1.26", Command: "sleep", Args: []string{"9"}, WorkingDir: "/w",
					EnvironmentVariables: map[string]string{"A": "1"},
					Files:                []*sandboxv1.FileMount{{Path: "/b", Content: []byte("2")}, {Path: "/a"}},
					ResourceRequirements: &sandboxv1.ResourceRequirements{Requests: amounts, Limits: amounts},
				}},
				MaxLifetimeSeconds: 60, Tags: []string{"t"}, RunnerIds: []string{"r"},
				Annotations: map[string]string{"k": "v"}, Mode: sandboxv1.SandboxMode_SANDBOX_MODE_CKS,
			}},
		}
		assert.True(t, proto.Equal(want, req), "%v", req)
	})
}
