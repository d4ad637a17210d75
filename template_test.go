package cwsandbox

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	templateRecord = sandboxv1.SandboxTemplate
	partialSpec    = sandboxv1.PartialSandboxSpec
)

func TestCreateTemplate(t *testing.T) {
	const method = "CreateSandboxTemplate"
	attachments, err := structpb.NewStruct(map[string]any{"a": []any{1.0, "b"}})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		opts []Option
		want *templateRecord
	}{
		"nothing is taken by default": {nil, &templateRecord{Spec: &partialSpec{}}},
		"of the sandbox": {
			[]Option{
				WithTags("a"), WithAnnotation("k", "v"), WithMaxLifetime(time.Minute), WithRunners("r"),
				WithAttachments(map[string]any{"a": []any{1.0, "b"}}),
			},
			&templateRecord{
				Spec: &partialSpec{
					Tags: []string{"a"}, Annotations: map[string]string{"k": "v"}, MaxLifetimeSeconds: 60, RunnerIds: []string{"r"},
					Mode: sandboxv1.SandboxMode_SANDBOX_MODE_CKS,
				},
				Attachments: attachments,
			},
		},
		"a container": {
			[]Option{WithImage("i"), WithCommand("c", "a"), WithEnv("A", "b")},
			&templateRecord{Spec: &partialSpec{Containers: []*sandboxv1.PartialContainer{{
				Name: "main", Image: "i", Command: "c", Args: []string{"a"}, EnvironmentVariables: map[string]string{"A": "b"},
			}}}},
		},
		"a container without an image, in a bundle": {
			[]Option{Defaults(WithEnv("A", "b"))},
			&templateRecord{Spec: &partialSpec{Containers: []*sandboxv1.PartialContainer{{
				Name: "main", EnvironmentVariables: map[string]string{"A": "b"},
			}}}},
		},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.answers(&templateRecord{})
			_, err := c.CreateTemplate(t.Context(), "x", tt.opts...)
			require.NoError(t, err)
			tt.want.DisplayName = "x"
			f.requireSent(t, method, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: tt.want})
		})
	}
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		for _, name := range []string{"", " ", " x", "x\n", strings.Repeat("é", 129)} {
			requireViolations(t, errorOf(c.CreateTemplate(t.Context(), name)), "display_name")
		}
		for field, opt := range map[string]Option{
			"lease": WithLease(time.Minute), "template_id": WithTemplate("t"), "spillover": WithSpillover(SpilloverToCKS),
			"grace_period_seconds": WithGrace(0), "request timeout": WithRequestTimeout(time.Second), "data plane": WithDataPlane(DataPlaneGateway),
			"display_name": WithDisplayName("y"), "attachments": WithAttachments(map[string]any{"a": make(chan int)}),
			"spec.tags[0]": WithTags("!"), "spec": WithAnnotation("k", strings.Repeat("x", 1<<20)),
		} {
			requireViolations(t, errorOf(c.CreateTemplate(t.Context(), "x", opt)), field)
			requireViolations(t, errorOf(c.ReplaceTemplate(t.Context(), "id", "x", opt)), field)
		}
		assert.Zero(t, f.count(method))
		_, err := c.Create(t.Context(), WithAttachments(map[string]any{}))
		requireViolations(t, err, "attachments")
		assert.Zero(t, f.count("CreateSandbox"))
	})
	bubble(t, "a name that is taken", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.AlreadyExists, ""), nil)
		_, err := c.CreateTemplate(t.Context(), "x")
		require.ErrorIs(t, err, ErrConflict)
		assert.ErrorContains(t, err, `cwsandbox: create template: "x": `)
	})
	bubble(t, "an answer that was lost", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &templateRecord{})
		_, err := c.CreateTemplate(t.Context(), "x")
		require.NoError(t, err)
		calls := f.of(method)
		require.Len(t, calls, 2)
		assert.True(t, proto.Equal(calls[0].request, calls[1].request))
	})
}

func TestTemplateRecord(t *testing.T) {
	bubble(t, "as the service tells it", func(t *testing.T, f *fake, c *Client) {
		at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
		attachments, err := structpb.NewStruct(map[string]any{"a": true})
		require.NoError(t, err)
		spec := &partialSpec{
			Containers: []*sandboxv1.PartialContainer{{Name: "main", Command: "c", Args: []string{"a"}}},
			Tags:       []string{"a"}, Annotations: map[string]string{"k": "v"}, MaxLifetimeSeconds: 60, RunnerIds: []string{"r"}, Mode: 2,
			RuntimeClass: "rc", InstanceType: "it", ObjectStorageAccess: &sandboxv1.ObjectStorageAccess{Buckets: []string{"b"}, Permission: 1},
			Network: &sandboxv1.NetworkOptions{Egress: []*sandboxv1.EgressRule{{Destination: &sandboxv1.EgressRule_Any{Any: true}}}},
		}
		f.answers(&templateRecord{
			SandboxTemplateId: "id", DisplayName: "x", Spec: spec, Revision: 3, CreateUserId: "u", Deleted: true, RequiresCks: true,
			CreateTime: timestamppb.New(at), UpdateTime: timestamppb.New(at.Add(1)), DeleteTime: timestamppb.New(at.Add(2)), Attachments: attachments,
		})
		got, err := c.Template(t.Context(), "x", WithDeleted(), nil)
		require.NoError(t, err)
		f.requireSent(t, "GetSandboxTemplate", &sandboxv1.GetSandboxTemplateRequest{SandboxTemplateId: "x", ShowDeleted: true})
		var whole map[string]any
		require.NoError(t, json.Unmarshal(got.Spec.JSON, &whole))
		assert.Equal(t, "it", whole["instanceType"])
		got.Spec.JSON = nil
		assert.Equal(t, Template{
			ID: "id", Name: "x", Revision: 3, CreatorID: "u", Deleted: true, RequiresCKS: true,
			CreateTime: at, UpdateTime: at.Add(1), DeleteTime: at.Add(2), Attachments: map[string]any{"a": true},
			Spec: TemplateSpec{
				Containers: []Container{{Name: "main", Command: []string{"c", "a"}}}, Tags: []string{"a"}, Annotations: map[string]string{"k": "v"},
				MaxLifetime: time.Minute, Placement: PlacementCKS, Runners: []string{"r"}, RuntimeClass: "rc", InstanceType: "it",
				Egress: []EgressRule{{Any: true}}, ObjectStorage: ObjectStorage{Buckets: []string{"b"}, Permission: ObjectStorageRead},
			},
		}, got)
		assert.Equal(t, `cwsandbox.Template(id, "x", revision 3)`, got.String())
	})
}

func TestUpdateTemplate(t *testing.T) {
	const method = "UpdateSandboxTemplate"
	type request = sandboxv1.UpdateSandboxTemplateRequest
	bubble(t, "a mask of what the options name", func(t *testing.T, f *fake, c *Client) {
		f.answers(&templateRecord{})
		_, err := c.UpdateTemplate(t.Context(), "id", WithDisplayName("y"), WithTags("b"), WithImage("i"), WithAttachments(nil))
		require.NoError(t, err)
		f.requireSent(t, method, &request{
			SandboxTemplateId: "id",
			SandboxTemplate: &templateRecord{
				DisplayName: "y",
				Spec:        &partialSpec{Tags: []string{"b"}, Containers: []*sandboxv1.PartialContainer{{Name: "main", Image: "i"}}},
			},
			UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name", "spec.containers", "spec.tags", "attachments"}},
		})
	})
	bubble(t, "a full replacement has no mask", func(t *testing.T, f *fake, c *Client) {
		f.fails(1, failure(codes.Unavailable, ""), &templateRecord{})
		_, err := c.ReplaceTemplate(t.Context(), "id", "y", WithTags("b"))
		require.NoError(t, err)
		calls := f.of(method)
		require.Len(t, calls, 2)
		assert.True(t, proto.Equal(&request{
			SandboxTemplateId: "id", SandboxTemplate: &templateRecord{DisplayName: "y", Spec: &partialSpec{Tags: []string{"b"}}},
		}, calls[1].request))
	})
	bubble(t, "refusals", func(t *testing.T, f *fake, c *Client) {
		requireViolations(t, errorOf(c.UpdateTemplate(t.Context(), "id")), "update_mask")
		requireViolations(t, errorOf(c.UpdateTemplate(t.Context(), "", WithTags("!"))), "spec.tags[0]", "sandbox_template_id")
		requireViolations(t, errorOf(c.UpdateTemplate(t.Context(), "id", WithDisplayName(" y"))), "display_name")
		requireViolations(t, errorOf(c.UpdateTemplate(t.Context(), "id",
			WithTags("b"), WithRuntimeClass(""), WithInstanceType(""), WithObjectStorage(ObjectStorage{}))),
			"spec.instance_type", "spec.object_storage_access", "spec.runtime_class")
		for _, err := range []error{
			errorOf(c.Template(t.Context(), "")), errorOf(c.ReplaceTemplate(t.Context(), "", "y")), c.DeleteTemplate(t.Context(), " "),
		} {
			requireViolations(t, err, "sandbox_template_id")
		}
		assert.Empty(t, f.of(method))
	})
}

func TestTemplateLists(t *testing.T) {
	bubble(t, "pages", func(t *testing.T, f *fake, c *Client) {
		f.admin = func(_ context.Context, n int, _ string, _ proto.Message) (proto.Message, error) {
			page := &sandboxv1.ListSandboxTemplatesResponse{SandboxTemplates: []*templateRecord{{Revision: int64(n)}}}
			if n < 3 {
				page.NextPageToken = strings.Repeat("t", n)
			}
			return page, nil
		}
		all, err := Collect(c.Templates(t.Context(), WithDeleted()))
		require.NoError(t, err)
		require.Len(t, all, 3)
		assert.EqualValues(t, 3, all[2].Revision)
		last := f.of("ListSandboxTemplates")[2].request
		assert.True(t, proto.Equal(&sandboxv1.ListSandboxTemplatesRequest{PageToken: "tt", ShowDeleted: true}, last), "%v", last)
	})
	bubble(t, "delete", func(t *testing.T, f *fake, c *Client) {
		f.fails(2, failure(codes.NotFound, ""), &templateRecord{})
		err := c.DeleteTemplate(t.Context(), "id")
		require.ErrorIs(t, err, ErrNotFound)
		require.NoError(t, c.DeleteTemplate(t.Context(), "id", MissingOK()))
		require.NoError(t, c.DeleteTemplate(t.Context(), "id"))
		assert.Equal(t, 3, f.count("DeleteSandboxTemplate"))
	})
}
