package localserver

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func (w *world) fromTemplate(id string, overrides *partialSpec) (*sandboxv1.Sandbox, error) {
	return w.api.CreateSandboxFromTemplate(w.ctx, &sandboxv1.CreateSandboxFromTemplateRequest{TemplateId: id, Overrides: overrides})
}

// aTemplate is one that a sandbox can be made of as it is.
func aTemplate() *template {
	return &template{DisplayName: "base", Spec: &partialSpec{
		Containers: []*sandboxv1.PartialContainer{{
			Name: "main", Image: "python:3.12", Command: "wait-for-term", EnvironmentVariables: map[string]string{"A": "1"},
		}},
		Tags: []string{"a", "b"}, Annotations: map[string]string{"k": "v"}, MaxLifetimeSeconds: 7200,
		Network: &sandboxv1.NetworkOptions{DenyEgress: proto.Bool(true)},
	}}
}

func TestFromTemplate(t *testing.T) {
	t.Run("C-173 the sandbox records what it was made of and survives it", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			made := w.createTemplate(aTemplate())
			changed := aTemplate()
			changed.Spec.Tags = []string{"c"}
			_, err := w.updateTemplate(made.GetSandboxTemplateId(), changed)
			require.NoError(w, err)
			sb, err := w.api.CreateSandboxFromTemplate(w.ctx, &sandboxv1.CreateSandboxFromTemplateRequest{
				TemplateId: made.GetSandboxTemplateId(), DisplayName: "mine",
			})
			require.NoError(w, err)
			synctest.Wait()
			require.NoError(w, w.deleteTemplate(made.GetSandboxTemplateId()))
			for _, sb := range []*sandboxv1.Sandbox{sb, w.get(sb.GetSandboxId())} {
				assert.Equal(w, made.GetSandboxTemplateId(), sb.GetSourceTemplateId())
				assert.EqualValues(w, 2, sb.GetSourceTemplateRevision())
				assert.Equal(w, "mine", sb.GetDisplayName())
				assert.Equal(w, []string{"c"}, sb.GetSpec().GetTags())
				assert.Equal(w, map[string]string{"A": "1"}, sb.GetSpec().GetContainers()[0].GetEnvironmentVariables())
				assert.EqualValues(w, 7200, sb.GetStatus().GetEffectiveMaxLifetimeSeconds())
			}
			assert.Equal(w, running, w.state(sb.GetSandboxId()))
			_, err = w.fromTemplate(made.GetSandboxTemplateId(), nil)
			w.requireRefused(isMissing, err)
			assert.Empty(w, w.create().GetSourceTemplateId())
		})
	})
	t.Run("C-174 what is set replaces as a whole, the rest stays", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.createTemplate(aTemplate()).GetSandboxTemplateId()
			sb, err := w.fromTemplate(id, &partialSpec{
				Containers:  []*sandboxv1.PartialContainer{{Name: "other", Image: "busybox", Command: "wait-for-term"}},
				Annotations: map[string]string{"l": "w"}, Network: &sandboxv1.NetworkOptions{},
			})
			require.NoError(w, err)
			want := &sandboxv1.SandboxSpec{
				Containers: []*sandboxv1.Container{{Name: "other", Image: "busybox", Command: "wait-for-term"}},
				Tags:       []string{"a", "b"}, Annotations: map[string]string{"l": "w"}, MaxLifetimeSeconds: 7200,
				Network: &sandboxv1.NetworkOptions{},
			}
			assert.True(w, proto.Equal(want, sb.GetSpec()), "%v", sb.GetSpec())
			sb, err = w.fromTemplate(id, &partialSpec{Tags: []string{"c"}, MaxLifetimeSeconds: 60})
			require.NoError(w, err)
			assert.Equal(w, []string{"c"}, sb.GetSpec().GetTags())
			assert.EqualValues(w, 60, sb.GetSpec().GetMaxLifetimeSeconds())
			assert.Equal(w, map[string]string{"k": "v"}, sb.GetSpec().GetAnnotations())
			got, err := w.getTemplate(id, false)
			require.NoError(w, err)
			assert.True(w, proto.Equal(aTemplate().GetSpec(), got.GetSpec()), "the template is as it was")
		})
	})
	t.Run("C-174 refused", func(t *testing.T) {
		inWorld(t, twoKeys, func(w *world) {
			id := w.createTemplate(aTemplate()).GetSandboxTemplateId()
			empty := w.createTemplate(&template{DisplayName: "empty"}).GetSandboxTemplateId()
			container := func(c *sandboxv1.PartialContainer) *partialSpec {
				return &partialSpec{Containers: []*sandboxv1.PartialContainer{c}}
			}
			for _, row := range []struct {
				id        string
				overrides *partialSpec
				field     string
			}{
				{"", nil, "template_id"},
				{empty, nil, "overrides.containers"},
				{empty, container(&sandboxv1.PartialContainer{Name: "main"}), "overrides.containers[0].image"},
				{id, container(&sandboxv1.PartialContainer{Name: "main", Image: "i", Args: []string{"a"}}), "overrides.containers[0].args"},
				{id, &partialSpec{Tags: []string{"a-"}}, "overrides.tags[0]"},
				{id, &partialSpec{RunnerIds: []string{"r"}}, "overrides.runner_ids"},
			} {
				_, err := w.fromTemplate(row.id, row.overrides)
				w.requireRefused(badField(row.field), err)
				assert.NotContains(w, err.Error(), "spec.")
			}
			for _, unknown := range []string{"base", "no-uuid", "0b6bd7a4-0000-4000-8000-00000000000f"} {
				_, err := w.fromTemplate(unknown, nil)
				w.requireRefused(isMissing, err)
			}
			w.ctx = as(context.Background(), "user")
			_, err := w.fromTemplate(id, nil)
			require.NoError(w, err, "users create from templates")
			w.ctx = as(context.Background(), "other")
			_, err = w.fromTemplate(id, nil)
			w.requireRefused(isMissing, err)
		})
	})
	t.Run("C-063 replays", func(t *testing.T) {
		inWorld(t, Options{Retention: time.Hour}, func(w *world) {
			id := w.createTemplate(aTemplate()).GetSandboxTemplateId()
			req := &sandboxv1.CreateSandboxFromTemplateRequest{TemplateId: id, RequestId: "r-1"}
			first, err := w.api.CreateSandboxFromTemplate(w.ctx, req)
			require.NoError(w, err)
			require.NoError(w, w.deleteTemplate(id))
			again, err := w.api.CreateSandboxFromTemplate(w.ctx, req)
			require.NoError(w, err, "the template is not looked for")
			assert.Equal(w, first.GetSandboxId(), again.GetSandboxId())
			plain := createOf(aSpec())
			plain.RequestId = "r-1"
			other, err := w.api.CreateSandbox(w.ctx, plain)
			require.NoError(w, err)
			assert.NotEqual(w, first.GetSandboxId(), other.GetSandboxId())
			other2 := w.createTemplate(aTemplate()).GetSandboxTemplateId()
			_, err = w.api.CreateSandboxFromTemplate(w.ctx, &sandboxv1.CreateSandboxFromTemplateRequest{TemplateId: other2, RequestId: "r-1"})
			w.requireRefused(badField("request_id"), err)
		})
	})
}
