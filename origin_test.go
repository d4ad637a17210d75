package cwsandbox

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Creates from a template or a file are answered as plain ones.

func (f *fake) CreateSandboxFromTemplate(ctx context.Context, req *sandboxv1.CreateSandboxFromTemplateRequest) (*sandboxv1.Sandbox, error) {
	n := f.note(ctx, "CreateSandboxFromTemplate", req)
	return f.create(ctx, n, &sandboxv1.CreateSandboxRequest{RequestId: req.GetRequestId()})
}

func (f *fake) CreateSandboxFromFile(ctx context.Context, req *sandboxv1.CreateSandboxFromFileRequest) (*sandboxv1.Sandbox, error) {
	n := f.note(ctx, "CreateSandboxFromFile", req)
	return f.create(ctx, n, &sandboxv1.CreateSandboxRequest{RequestId: req.GetRequestId()})
}

const document = "services: {web: {image: nginx}}\n"

func composed() Option { return WithCompose(Compose{Contents: []byte(document), Primary: "web"}) }

// overridden is what a create from a template sends.
func overridden(t *testing.T, session []Option, own ...Option) *sandboxv1.CreateSandboxFromTemplateRequest {
	t.Helper()
	c := merged(t, session, own)
	c.mark(Owner{PID: 1})
	return c.request("id-1").(*sandboxv1.CreateSandboxFromTemplateRequest)
}

func TestTemplate(t *testing.T) {
	t.Run("nothing but the id, where nothing else is given", func(t *testing.T) {
		env := environment{maxLifetime: new(time.Duration)}
		*env.maxLifetime = time.Minute
		c, err := newCreateConfig("create", env, nil, []Option{WithTemplate("t-1")})
		require.NoError(t, err)
		c.mark(Owner{PID: 1})
		want := &sandboxv1.CreateSandboxFromTemplateRequest{
			TemplateId: "t-1", RequestId: "id-1", Overrides: &sandboxv1.PartialSandboxSpec{},
		}
		assert.True(t, proto.Equal(want, c.request("id-1")), "%v", c.request("id-1"))
	})
	t.Run("K-070", func(t *testing.T) {
		session := []Option{
			WithEnv("A", "1"), WithTags("s"), WithImage("i"), WithCommand("c"), WithDir("/d"), WithFile("/f", nil), WithRunners("r"),
			WithAnnotation("k", "v"), WithMaxLifetime(time.Minute), WithResources(Resources{Requests: ResourceList{CPU: "1"}}),
		}
		req := overridden(t, session, WithTemplate("t-1"), WithTags("c"), WithDisplayName("n"))
		want := &sandboxv1.CreateSandboxFromTemplateRequest{
			TemplateId: "t-1", RequestId: "id-1", DisplayName: "n", Overrides: &sandboxv1.PartialSandboxSpec{Tags: []string{"s", "c"}},
		}
		assert.True(t, proto.Equal(want, req), "%v", req)

		req = overridden(t, session, WithTemplate("t-1"), WithImage("j"), WithEnv("B", "2"), WithFile("/g", nil), WithAnnotation("l", "w"))
		want = &sandboxv1.CreateSandboxFromTemplateRequest{
			TemplateId: "t-1", RequestId: "id-1", Overrides: &sandboxv1.PartialSandboxSpec{
				Containers: []*sandboxv1.PartialContainer{{
					Name: "main", Image: "j", EnvironmentVariables: map[string]string{"B": "2"}, Files: []*sandboxv1.FileMount{{Path: "/g"}},
				}},
				Tags: []string{"s"}, Annotations: map[string]string{"l": "w"},
			},
		}
		assert.True(t, proto.Equal(want, req), "%v", req)
	})
	t.Run("what stands beside it, or above, is sent", func(t *testing.T) {
		bundle := Defaults(WithTemplate("t-1"), WithRunners("r"), WithMaxLifetime(time.Minute))
		for _, req := range []*sandboxv1.CreateSandboxFromTemplateRequest{
			overridden(t, []Option{bundle}, WithImage("i"), WithCommand("c", "a")),
			overridden(t, []Option{WithImage("j"), WithCommand("d"), WithTemplate("t-1")},
				WithImage("i"), WithCommand("c", "a"), WithRunners("r"), WithMaxLifetime(time.Minute)),
		} {
			want := &sandboxv1.CreateSandboxFromTemplateRequest{
				TemplateId: "t-1", RequestId: "id-1", Overrides: &sandboxv1.PartialSandboxSpec{
					Containers: []*sandboxv1.PartialContainer{{Name: "main", Image: "i", Command: "c", Args: []string{"a"}}},
					RunnerIds:  []string{"r"}, Mode: sandboxv1.SandboxMode_SANDBOX_MODE_CKS, MaxLifetimeSeconds: 60,
				},
			}
			assert.True(t, proto.Equal(want, req), "%v", req)
		}
	})
	t.Run("a network without anything in it replaces, too", func(t *testing.T) {
		req := overridden(t, []Option{WithNetwork(Network{DenyEgress: new(true)}), WithSpillover(SpilloverToCKS)}, WithTemplate("t-1"), WithNetwork(Network{}))
		assert.True(t, proto.Equal(&sandboxv1.PartialSandboxSpec{Network: &sandboxv1.NetworkOptions{}}, req.GetOverrides()), "%v", req)
		req = overridden(t, []Option{WithNetwork(Network{})}, WithTemplate("t-1"))
		assert.False(t, req.GetOverrides().ProtoReflect().Has(req.GetOverrides().ProtoReflect().Descriptor().Fields().ByName("network")))
	})
	t.Run("nothing replaces nothing", func(t *testing.T) {
		req := overridden(t, nil, WithTemplate("t-1"), WithTags(), WithRunners(), WithMaxLifetime(0))
		assert.True(t, proto.Equal(&sandboxv1.PartialSandboxSpec{}, req.GetOverrides()), "%v", req)
	})
	t.Run("a later one replaces an earlier one", func(t *testing.T) {
		assert.Equal(t, "t-2", overridden(t, []Option{WithTemplate("t-1")}, WithTemplate("t-2")).GetTemplateId())
		assert.Equal(t, "t-2", overridden(t, []Option{composed()}, WithTemplate("t-2")).GetTemplateId())
	})
	for name, o := range map[string]Option{
		"WithCommand": WithCommand("c", "a"), "WithEnv": WithEnv("A", "1"), "WithDir": WithDir("/d"), "WithFile": WithFile("/f", nil),
		"WithImageCommand": WithImageCommand(), "WithResources": WithResources(Resources{Limits: ResourceList{CPU: "1"}}),
		"WithSecrets":         WithSecrets(Secret{Store: "s", Name: "n", Env: "E"}),
		"WithStartupProbe":    WithStartupProbe(Probe{Command: []string{"true"}}),
		"WithSecurityContext": WithSecurityContext(SecurityContext{}),
		"WithPullCredentials": WithPullCredentials(PullCredentials{Registry: "r", Store: "s", Name: "n"}),
	} {
		t.Run(name+" needs an image", func(t *testing.T) {
			err := createError(o, WithTemplate("t-1"))
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.EqualError(t, err, "cwsandbox: create: overrides.containers: need an image: "+name+
				" is about a container of its own, as WithImage makes one")
			assert.NoError(t, createError(o, WithTemplate("t-1"), WithImage("i")))
			assert.NoError(t, createError(Defaults(o), WithTemplate("t-1")), "a weaker layer")
		})
	}
	t.Run("several containers", func(t *testing.T) {
		amounts := Resources{Requests: ResourceList{CPU: "1", Memory: "1Gi"}}
		req := overridden(t, nil, WithTemplate("t-1"), WithContainers(
			Container{Name: "a", Image: "i", Resources: amounts, Primary: true}, Container{Name: "b", Image: "j", Resources: amounts},
		))
		require.Len(t, req.GetOverrides().GetContainers(), 2)
		assert.Equal(t, "j", req.GetOverrides().GetContainers()[1].GetImage())
		assert.True(t, req.GetOverrides().GetContainers()[0].GetPrimary())
	})
	t.Run("refused", func(t *testing.T) {
		for want, opts := range map[string][]Option{
			"template_id: must not be empty":       {WithTemplate("")},
			"overrides.containers[0].image: ":      {WithTemplate("t-1"), WithImage("")},
			"overrides.tags[0]: ":                  {WithTags("a-"), WithTemplate("t-1")},
			"lease: needs a command to watch":      {WithTemplate("t-1"), WithImage("i"), WithCommand("c"), WithLease(time.Minute)},
			"spillover: must be none for a templ":  {WithTemplate("t-1"), WithSpillover(SpilloverToCKS)},
			"given together with a Compose docume": {WithTemplate("t-1"), composed()},
		} {
			err := createError(opts...)
			require.ErrorIs(t, err, ErrInvalidArgument, want)
			assert.ErrorContains(t, err, want)
		}
		_, err := newCreateConfig("create", environment{}, []Option{WithLease(time.Minute)}, []Option{WithTemplate("t-1")})
		require.ErrorIs(t, err, ErrInvalidArgument, "a lease of the session is not dropped in silence")
		assert.NoError(t, second(newCreateConfig("create", environment{}, []Option{WithLease(time.Minute)}, []Option{WithTemplate("t-1"), WithLease(0)})))
	})
}

func TestCompose(t *testing.T) {
	all := Compose{
		Contents: []byte(document), Primary: "web", Images: map[string]string{"web": "nginx:2"},
		Resources: Resources{Requests: ResourceList{CPU: "1"}, Limits: ResourceList{CPU: "2"}},
	}
	t.Run("the request", func(t *testing.T) {
		c := merged(t, []Option{WithImage("i"), WithEnv("A", "1"), WithTags("s"), WithAnnotation("k", "v")},
			[]Option{WithCompose(all), WithTags("c"), WithRunners("r"), WithDisplayName("n"), WithNetwork(Network{DenyEgress: new(true)})})
		c.mark(Owner{PID: 1})
		want := &sandboxv1.CreateSandboxFromFileRequest{
			Type: sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_COMPOSE, Contents: []byte(document), PrimaryService: "web",
			ImageOverrides: map[string]string{"web": "nginx:2"},
			DefaultResources: &sandboxv1.ResourceRequirements{
				Requests: &sandboxv1.Resources{Cpu: "1"}, Limits: &sandboxv1.Resources{Cpu: "2"},
			},
			Mode: sandboxv1.SandboxMode_SANDBOX_MODE_CKS, MaxLifetimeSeconds: 3600, Tags: []string{"s", "c"},
			Annotations: map[string]string{"k": "v"}, RunnerIds: []string{"r"}, RequestId: "id-1", DisplayName: "n",
			Network: &sandboxv1.NetworkOptions{DenyEgress: new(true)},
		}
		assert.True(t, proto.Equal(want, c.request("id-1")), "%v", c.request("id-1"))
	})
	t.Run("the document is a copy, and not shown", func(t *testing.T) {
		contents := []byte("services: {web: {image: nginx, environment: {K: sesame}}}")
		o := WithCompose(Compose{Contents: contents, Primary: "web"})
		clear(contents)
		assert.Contains(t, string(merged(t, nil, []Option{o}).origin.compose.contents), "sesame")
		assert.Equal(t, `Defaults(WithCompose(57 bytes, primary "web"))`, Defaults(o).(bundle).String())
	})
	t.Run("from a file", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "compose.yaml")
		o := WithCompose(Compose{File: file, Primary: "web"})
		err := createError(o)
		require.ErrorIs(t, err, ErrInvalidArgument)
		require.ErrorIs(t, err, fs.ErrNotExist)
		assert.ErrorContains(t, err, "contents: ")
		require.NoError(t, os.WriteFile(file, []byte(document), 0o600))
		assert.Equal(t, document, string(merged(t, nil, []Option{o}).origin.compose.contents))
		assert.Contains(t, Defaults(o).(bundle).String(), "compose.yaml")

		memory := fstest.MapFS{"a/compose.yaml": {Data: []byte(document)}}
		o = WithCompose(Compose{File: "a/compose.yaml", FS: memory, Primary: "web"})
		assert.Equal(t, document, string(merged(t, nil, []Option{o}).origin.compose.contents))
	})
	t.Run("refused", func(t *testing.T) {
		dir := t.TempDir()
		large := append([]byte(document), make([]byte, maxCompose)...)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), large, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "empty"), nil, 0o600))
		change := func(set func(*Compose)) []Option {
			d := all
			set(&d)
			return []Option{WithCompose(d)}
		}
		from := func(file string) []Option { return []Option{WithCompose(Compose{File: file, Primary: "web"})} }
		for _, row := range []struct {
			field, rule string
			opts        []Option
		}{
			{"contents", "must not be empty", change(func(d *Compose) { d.Contents = nil })},
			{"contents", "must not be empty", from(filepath.Join(dir, "empty"))},
			{"contents", "must have at most 262144 bytes", change(func(d *Compose) { d.Contents = large })},
			{"contents", "must have at most 262144 bytes", from(filepath.Join(dir, "large"))},
			{"contents", "UTF-8", change(func(d *Compose) { d.Contents = []byte("a\xff") })},
			{"contents", "is not a regular file", from(dir)},
			{"contents", "need the name of a file in FS", change(func(d *Compose) { d.Contents, d.FS = nil, os.DirFS(dir) })},
			{"contents", "must not be given beside a file", change(func(d *Compose) { d.File = "f" })},
			{"primary_service", "must not be empty", change(func(d *Compose) { d.Primary = "" })},
			{"primary_service", "blank", change(func(d *Compose) { d.Primary = " " })},
			{"image_overrides", "must not be empty", change(func(d *Compose) { d.Images = map[string]string{"": "i"} })},
			{`image_overrides["web"]`, "blank", change(func(d *Compose) { d.Images = map[string]string{"web": "\t"} })},
			{"default_resources.requests.gpu", "must not be set", change(func(d *Compose) { d.Resources.GPU = &GPU{Count: 1} })},
			{"default_resources.requests.cpu", "", change(func(d *Compose) { d.Resources.Requests.CPU = "x" })},
			{"contents", "cannot be given together with WithImage", []Option{composed(), WithImage("i")}},
			{"contents", "cannot be given together with WithCommand", []Option{composed(), WithCommand("c", "a")}},
			{"contents", "cannot be given together with WithImageCommand", []Option{composed(), WithImageCommand()}},
			{"contents", "cannot be given together with WithEnv", []Option{composed(), WithEnv("A", "1")}},
			{"contents", "cannot be given together with WithDir", []Option{composed(), WithDir("/d")}},
			{"contents", "cannot be given together with WithFile", []Option{composed(), WithFile("/f", nil)}},
			{"contents", "cannot be given together with WithResources", []Option{composed(), WithResources(all.Resources)}},
			{"contents", "cannot be given together with WithContainers", []Option{composed(), WithContainers(Container{Image: "i"})}},
			{"contents", "cannot be given together with WithRuntimeClass", []Option{composed(), WithRuntimeClass("r")}},
			{"contents", "cannot be given together with WithInstanceType", []Option{composed(), WithInstanceType("r")}},
			{"lease", "needs a command to watch", []Option{composed(), WithLease(time.Minute)}},
			{"template_id", "together", []Option{composed(), WithTemplate("t-1")}},
			{"tags[0]", "must be of letters", []Option{composed(), WithTags("a-")}},
		} {
			err := createError(row.opts...)
			require.ErrorIs(t, err, ErrInvalidArgument, row.field)
			var e *Error
			require.ErrorAs(t, err, &e)
			require.Len(t, e.Violations, 1, "%v", err)
			assert.Equal(t, row.field, e.Violations[0].Field)
			assert.Contains(t, e.Violations[0].Description, row.rule)
		}
	})
}

// TestOriginsAreUndone: what holds of plain creates holds of the others.
func TestOriginsAreUndone(t *testing.T) {
	for method, o := range map[string]Option{
		"CreateSandboxFromTemplate": WithTemplate("t-1"),
		"CreateSandboxFromFile":     composed(),
	} {
		bubble(t, "K-101 "+method, func(t *testing.T, f *fake, c *Client) {
			f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				if n <= 2 {
					return nil, failure(codes.Unavailable, "")
				}
				sb := record("sb-1", runningV)
				sb.SourceTemplateId, sb.SourceTemplateRevision = "t-1", 7
				return sb, nil
			}
			sb, err := c.Create(t.Context(), o, WithTags("a"), WithAnnotation("k", "v"), WithAnnotation("l", "w"))
			require.NoError(t, err)
			assert.Equal(t, "t-1", sb.Info().TemplateID)
			assert.EqualValues(t, 7, sb.Info().TemplateRevision)
			calls := f.of(method)
			require.Len(t, calls, 3)
			for _, call := range calls {
				assert.True(t, proto.Equal(calls[0].request, call.request))
				assert.Len(t, call.request.(createRequest).GetRequestId(), 36)
			}
			assert.Equal(t, 1, c.registry.count(c))
			assert.Zero(t, f.count("CreateSandbox"))
		})
		bubble(t, "K-103 "+method, func(t *testing.T, f *fake, c *Client) {
			f.committed(t)
			ctx, cancel := context.WithCancel(t.Context())
			create := Go(func() (*Sandbox, error) { return c.Create(ctx, o) })
			synctest.Wait()
			assert.Equal(t, 1, c.registry.count(c), "tracked before the answer")
			cancel()
			_, err := create.Wait()
			require.ErrorIs(t, err, context.Canceled)
			calls := f.of(method)
			require.Len(t, calls, 2)
			assert.True(t, proto.Equal(calls[0].request, calls[1].request))
			assert.Equal(t, "sb-lost", f.lastDelete(t).GetSandboxId())
			assert.Zero(t, c.registry.count(c))
		})
		bubble(t, "the helper process undoes it too: "+method, func(t *testing.T, f *fake, c *Client) {
			req := merged(t, nil, []Option{o, WithTags("a")}).request("id-1")
			frozen := guard{to: struct{ hook.Guardian }{}}.freeze(req)
			thawed, err := thaw(frozen)
			require.NoError(t, err)
			assert.True(t, proto.Equal(req, thawed))
			made, err := c.undoCreate(t.Context(), thawed)
			require.NoError(t, err)
			assert.True(t, made)
			require.Len(t, f.of(method), 1)
			assert.True(t, proto.Equal(req, f.of(method)[0].request))
			assert.Equal(t, 1, f.count("DeleteSandbox"))
		})
		bubble(t, "states without a spec: "+method, func(t *testing.T, f *fake, c *Client) {
			bare := func(sb *sandboxv1.Sandbox) *sandboxv1.Sandbox {
				sb.Spec = nil
				return sb
			}
			f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return bare(record("sb-1", preparing)), nil
			}
			f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
				if n < 3 {
					return bare(record(id, preparing)), nil
				}
				return record(id, runningV), nil
			}
			s, err := c.NewSession()
			require.NoError(t, err)
			sb, err := s.Run(t.Context(), o)
			require.NoError(t, err)
			assert.Equal(t, StateRunning, sb.Info().State)
			assert.Equal(t, "python:3.11", sb.Info().Image)
			require.NoError(t, s.Close())
			assert.Equal(t, 1, f.count("DeleteSandbox"))
		})
	}
	_, err := thaw([]byte("\x0a\x01x"))
	require.Error(t, err)
	frozen, err := anypb.New(&sandboxv1.GetSandboxRequest{})
	require.NoError(t, err)
	bytes, err := proto.Marshal(frozen)
	require.NoError(t, err)
	_, err = thaw(bytes)
	assert.ErrorContains(t, err, "makes no sandbox")
}
