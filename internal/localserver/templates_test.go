package localserver

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/structpb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	template    = sandboxv1.SandboxTemplate
	partialSpec = sandboxv1.PartialSandboxSpec
)

func (w *world) templates() sandboxv1.SandboxTemplateServiceClient {
	return sandboxv1.NewSandboxTemplateServiceClient(w.cc)
}

func (w *world) createTemplate(t *template) *template {
	w.Helper()
	got, err := w.templates().CreateSandboxTemplate(w.ctx, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: t})
	require.NoError(w, err)
	return got
}

func (w *world) getTemplate(id string, deleted bool) (*template, error) {
	return w.templates().GetSandboxTemplate(w.ctx, &sandboxv1.GetSandboxTemplateRequest{SandboxTemplateId: id, ShowDeleted: deleted})
}

func (w *world) updateTemplate(id string, t *template, paths ...string) (*template, error) {
	return w.templates().UpdateSandboxTemplate(w.ctx, &sandboxv1.UpdateSandboxTemplateRequest{
		SandboxTemplateId: id, SandboxTemplate: t, UpdateMask: maskOf(paths),
	})
}

func (w *world) deleteTemplate(id string) error {
	_, err := w.templates().DeleteSandboxTemplate(w.ctx, &sandboxv1.DeleteSandboxTemplateRequest{SandboxTemplateId: id})
	return err
}

func maskOf(paths []string) *fieldmaskpb.FieldMask {
	if paths == nil {
		return nil
	}
	return &fieldmaskpb.FieldMask{Paths: paths}
}

var (
	isMissing = refused{code: codes.NotFound}
	isTaken   = refused{code: codes.AlreadyExists}
	isDenied  = refused{code: codes.PermissionDenied}
)

// twoKeys are those of an admin and of a user of one organization.
var twoKeys = Options{Keys: []Key{{Token: "a-key", User: "ann", Admin: true}, {Token: "user", User: "bob"}, {Token: "other", Organization: "other-org", Admin: true}}}

func TestTemplates(t *testing.T) {
	t.Run("C-173 create, get, name lookup", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			began := time.Now()
			spec := &partialSpec{Tags: []string{"a"}, MaxLifetimeSeconds: 60}
			made := w.createTemplate(&template{
				SandboxTemplateId: "mine", DisplayName: "  first\n", Spec: spec, Revision: 7, Deleted: true, RequiresCks: true, CreateUserId: "me",
			})
			assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, made.GetSandboxTemplateId())
			assert.Equal(t, "first", made.GetDisplayName())
			assert.True(t, proto.Equal(spec, made.GetSpec()), "no container is needed")
			assert.EqualValues(t, 1, made.GetRevision())
			assert.WithinDuration(t, began, made.GetCreateTime().AsTime(), 0)
			assert.Equal(t, "ann", made.GetCreateUserId())
			assert.False(t, made.GetDeleted())
			assert.False(t, made.GetRequiresCks())

			w.ctx = as(context.Background(), "user") // users read
			for _, id := range []string{made.GetSandboxTemplateId(), strings.ToUpper(made.GetSandboxTemplateId()), "first"} {
				got, err := w.getTemplate(id, false)
				require.NoError(t, err, id)
				assert.True(t, proto.Equal(made, got), id)
			}
			w.ctx = as(context.Background(), "other")
			for _, id := range []string{made.GetSandboxTemplateId(), "first"} {
				_, err := w.getTemplate(id, false)
				w.requireRefused(isMissing, err)
			}
			w.createTemplate(&template{DisplayName: "first"}) // names are an organization's own
		})
	})
	t.Run("C-173 a text that reads as a UUID is only an id", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			const name = "0b6bd7a4-0000-4000-8000-00000000000f"
			w.createTemplate(&template{DisplayName: name})
			_, err := w.getTemplate(name, false)
			w.requireRefused(isMissing, err)
		})
	})
	t.Run("C-173 attachments need the caller's own cluster", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			attachments, err := structpb.NewStruct(map[string]any{"a": 1})
			require.NoError(t, err)
			made := w.createTemplate(&template{DisplayName: "x", Attachments: attachments})
			assert.True(t, made.GetRequiresCks())
			made, err = w.updateTemplate(made.GetSandboxTemplateId(), &template{}, "attachments")
			require.NoError(t, err)
			assert.False(t, made.GetRequiresCks())
		})
	})
	t.Run("C-173 update raises the revision", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			made := w.createTemplate(&template{DisplayName: "x", Spec: &partialSpec{Tags: []string{"a"}, InstanceType: "i"}})
			id := made.GetSandboxTemplateId()
			time.Sleep(time.Minute)

			got, err := w.updateTemplate(id, &template{DisplayName: "ignored", Spec: &partialSpec{Tags: []string{"b"}}}, "spec.tags")
			require.NoError(t, err)
			assert.EqualValues(t, 2, got.GetRevision())
			assert.Equal(t, time.Minute, got.GetUpdateTime().AsTime().Sub(made.GetCreateTime().AsTime()))
			assert.Equal(t, "x", got.GetDisplayName())
			assert.True(t, proto.Equal(&partialSpec{Tags: []string{"b"}, InstanceType: "i"}, got.GetSpec()))

			got, err = w.updateTemplate(id, &template{DisplayName: " y "})
			require.NoError(t, err)
			assert.EqualValues(t, 3, got.GetRevision())
			assert.Equal(t, "y", got.GetDisplayName())
			assert.Nil(t, got.GetSpec(), "no mask replaces everything")

			got, err = w.updateTemplate(id, &template{DisplayName: "y"}, "*")
			require.NoError(t, err)
			assert.EqualValues(t, 4, got.GetRevision())
			read, err := w.getTemplate("y", false)
			require.NoError(t, err)
			assert.True(t, proto.Equal(got, read))
		})
	})
	t.Run("C-173 soft delete and show_deleted", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			first := w.createTemplate(&template{DisplayName: "x"})
			id := first.GetSandboxTemplateId()
			require.NoError(t, w.deleteTemplate(id))
			w.requireRefused(isMissing, w.deleteTemplate(id))
			_, err := w.updateTemplate(id, &template{DisplayName: "y"})
			w.requireRefused(isMissing, err)
			for _, key := range []string{id, "x"} {
				_, err = w.getTemplate(key, false)
				w.requireRefused(isMissing, err)
				got, err := w.getTemplate(key, true)
				require.NoError(t, err)
				assert.True(t, got.GetDeleted())
				assert.NotNil(t, got.GetDeleteTime())
				assert.EqualValues(t, 1, got.GetRevision())
			}
			second := w.createTemplate(&template{DisplayName: "x"}) // the name is free again
			got, err := w.getTemplate("x", true)
			require.NoError(t, err)
			assert.Equal(t, second.GetSandboxTemplateId(), got.GetSandboxTemplateId())

			kept := w.srv.template(identity{organization: "local-org"}, id)
			assert.True(t, kept.GetDeleted(), "creates can tell a deleted one from one that never was")

			list := func(deleted bool) int {
				resp, err := w.templates().ListSandboxTemplates(w.ctx, &sandboxv1.ListSandboxTemplatesRequest{ShowDeleted: deleted})
				require.NoError(t, err)
				return len(resp.GetSandboxTemplates())
			}
			assert.Equal(t, 1, list(false))
			assert.Equal(t, 2, list(true))
			w.ctx = as(context.Background(), "user")
			assert.Equal(t, 1, list(false))
			_, err = w.templates().ListSandboxTemplates(w.ctx, &sandboxv1.ListSandboxTemplatesRequest{ShowDeleted: true})
			w.requireRefused(isDenied, err)
			_, err = w.getTemplate(id, true)
			w.requireRefused(isDenied, err)
		})
	})
	t.Run("C-007 C-173 writes need the admin action", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			w.ctx = as(context.Background(), "user")
			_, err := w.templates().CreateSandboxTemplate(w.ctx, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: &template{DisplayName: "x"}})
			w.requireRefused(isDenied, err)
			_, err = w.updateTemplate("x", &template{})
			w.requireRefused(isDenied, err)
			w.requireRefused(isDenied, w.deleteTemplate("x"))
		})
	})
	t.Run("C-173 names are unique among active templates", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.createTemplate(&template{DisplayName: "x"})
			other := w.createTemplate(&template{DisplayName: "y"})
			_, err := w.templates().CreateSandboxTemplate(w.ctx, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: &template{DisplayName: " x "}})
			w.requireRefused(isTaken, err)
			_, err = w.updateTemplate(other.GetSandboxTemplateId(), &template{DisplayName: "x"}, "display_name")
			w.requireRefused(isTaken, err)
			_, err = w.updateTemplate(other.GetSandboxTemplateId(), &template{DisplayName: "y"}, "display_name")
			require.NoError(t, err, "its own name is not taken")
		})
	})
	t.Run("requests are checked", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			create := func(t *template) error {
				_, err := w.templates().CreateSandboxTemplate(w.ctx, &sandboxv1.CreateSandboxTemplateRequest{SandboxTemplate: t})
				return err
			}
			w.requireRefused(badField("sandbox_template"), create(nil))
			w.requireRefused(badField("display_name"), create(&template{DisplayName: " \t"}))
			w.requireRefused(badField("display_name"), create(&template{DisplayName: strings.Repeat("é", 129)}))
			require.NoError(t, create(&template{DisplayName: strings.Repeat("é", 128)}))
			large := &partialSpec{Annotations: map[string]string{"a": strings.Repeat("x", 1<<20)}}
			w.requireRefused(badField("display_name", "spec"), create(&template{Spec: large}))
			pulls := &partialSpec{Containers: []*sandboxv1.PartialContainer{{ImagePullCredentials: &sandboxv1.ImagePullCredentials{}}}}
			const at = "spec.containers[0].image_pull_credentials."
			w.requireRefused(badField(at+"registry", at+"credentials.store_name", at+"credentials.path"), create(&template{DisplayName: "x", Spec: pulls}))

			made := w.createTemplate(&template{DisplayName: "x"})
			id := made.GetSandboxTemplateId()
			_, err := w.updateTemplate("", nil)
			w.requireRefused(badField("sandbox_template_id", "sandbox_template"), err)
			for _, id := range []string{"x", "nonsense", newUUID()} { // updates and deletes are by id
				_, err = w.updateTemplate(id, &template{DisplayName: "x"})
				w.requireRefused(isMissing, err)
				w.requireRefused(isMissing, w.deleteTemplate(id))
			}
			for _, path := range []string{"nonsense", "revision", "sandbox_template_id", "spec.nonsense", "display_name.x", "deleted", ""} {
				_, err = w.updateTemplate(id, &template{DisplayName: "x"}, path)
				w.requireRefused(badField("update_mask"), err)
			}
			_, err = w.updateTemplate(id, &template{})
			w.requireRefused(badField("display_name"), err)
			got, err := w.getTemplate(id, false)
			require.NoError(t, err)
			assert.True(t, proto.Equal(made, got), "what was refused changes nothing")
			_, err = w.getTemplate("", false)
			w.requireRefused(badField("sandbox_template_id"), err)
			w.requireRefused(badField("sandbox_template_id"), w.deleteTemplate(""))
		})
	})
	t.Run("creates are repeatable", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			create := func(name, key string) (*template, error) {
				return w.templates().CreateSandboxTemplate(w.ctx, &sandboxv1.CreateSandboxTemplateRequest{
					SandboxTemplate: &template{DisplayName: name}, RequestId: key,
				})
			}
			first, err := create("x", "k")
			require.NoError(t, err)
			_, err = w.updateTemplate(first.GetSandboxTemplateId(), &template{DisplayName: "later"})
			require.NoError(t, err)
			again, err := create("x", "k")
			require.NoError(t, err)
			assert.True(t, proto.Equal(first, again), "the first result")
			_, err = create("y", "k")
			w.requireRefused(badField("request_id"), err)
			_, err = create("later", "l")
			w.requireRefused(isTaken, err)
			_, err = create("y", "l")
			require.NoError(t, err, "a create that failed leaves no trace")
		})
	})
	t.Run("pages", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for i := range 5 {
				w.createTemplate(&template{DisplayName: fmt.Sprint(i)})
			}
			req := &sandboxv1.ListSandboxTemplatesRequest{PageSize: 2}
			var names []string
			for {
				resp, err := w.templates().ListSandboxTemplates(w.ctx, req)
				require.NoError(t, err)
				for _, tm := range resp.GetSandboxTemplates() {
					names = append(names, tm.GetDisplayName())
				}
				if len(names) == 2 {
					w.createTemplate(&template{DisplayName: "while walking"})
					_, err := w.templates().ListSandboxTemplates(w.ctx, &sandboxv1.ListSandboxTemplatesRequest{PageToken: resp.GetNextPageToken(), ShowDeleted: true})
					w.requireRefused(badField("page_token"), err)
				}
				if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
					break
				}
			}
			assert.Equal(t, []string{"4", "3", "2", "1", "0"}, names)
			for field, req := range map[string]*sandboxv1.ListSandboxTemplatesRequest{"page_size": {PageSize: -1}, "page_token": {PageToken: "x"}} {
				_, err := w.templates().ListSandboxTemplates(w.ctx, req)
				w.requireRefused(badField(field), err)
			}
		})
	})
}
