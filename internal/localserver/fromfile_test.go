package localserver

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type fileRequestChange = func(*sandboxv1.CreateSandboxFromFileRequest)

const aDocument = `
services:
  web: {image: nginx, command: wait-for-term, depends_on: [db]}
  db: {image: postgres, command: wait-for-term}
`

func fromFile(changes ...fileRequestChange) *sandboxv1.CreateSandboxFromFileRequest {
	req := &sandboxv1.CreateSandboxFromFileRequest{
		Type: sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_COMPOSE, Contents: []byte(aDocument), PrimaryService: "web",
	}
	for _, change := range changes {
		change(req)
	}
	return req
}

func TestFromFile(t *testing.T) {
	t.Run("C-180 two services start in the order of their dependencies", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			sb, err := w.api.CreateSandboxFromFile(w.ctx, fromFile(func(r *sandboxv1.CreateSandboxFromFileRequest) {
				r.Tags, r.Annotations, r.MaxLifetimeSeconds, r.DisplayName = []string{"a"}, map[string]string{"k": "v"}, 60, "mine"
				r.Mode, r.RunnerIds = sandboxv1.SandboxMode_SANDBOX_MODE_CKS, []string{runnerID}
				r.Network = &sandboxv1.NetworkOptions{DenyEgress: proto.Bool(true)}
				r.ImageOverrides = map[string]string{"web": "caddy"}
				r.DefaultResources = &sandboxv1.ResourceRequirements{Requests: &sandboxv1.Resources{Cpu: "1"}}
			}))
			require.NoError(w, err)
			assert.Equal(w, creating, sb.GetStatus().GetState(), "PREPARING only when it is asked for")
			synctest.Wait()
			sb = w.get(sb.GetSandboxId())
			assert.Equal(w, running, sb.GetStatus().GetState())
			amounts := &sandboxv1.ResourceRequirements{Requests: &sandboxv1.Resources{Cpu: "1"}}
			want := &sandboxv1.SandboxSpec{
				Containers: []*sandboxv1.Container{
					{Name: "db", Image: "postgres", Command: "wait-for-term", ResourceRequirements: amounts},
					{Name: "web", Image: "caddy", Command: "wait-for-term", ResourceRequirements: amounts, Primary: proto.Bool(true)},
				},
				Tags: []string{"a"}, Annotations: map[string]string{"k": "v"}, MaxLifetimeSeconds: 60,
				Mode: sandboxv1.SandboxMode_SANDBOX_MODE_CKS, RunnerIds: []string{runnerID},
				Network: &sandboxv1.NetworkOptions{DenyEgress: proto.Bool(true)},
			}
			assert.True(w, proto.Equal(want, sb.GetSpec()), "%v", sb.GetSpec())
			assert.Equal(w, "mine", sb.GetDisplayName())
		})
	})
	t.Run("C-180 refused", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			unserved := func(fields ...string) refused {
				return refused{codes.Unimplemented, "CWSANDBOX_NOT_IMPLEMENTED", fields}
			}
			for _, row := range []struct {
				want   refused
				change fileRequestChange
			}{
				{badField("type"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Type = 0 }},
				{unserved("type"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Type = 2 }},
				{badField("contents"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents = nil }},
				{badField("contents"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents = make([]byte, maxComposeBytes+1) }},
				{badField("contents"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents = []byte("services: {}") }},
				{badField("primary_service"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.PrimaryService = "" }},
				{badField("primary_service"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.PrimaryService = "other" }},
				{badField("image_overrides"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.ImageOverrides = map[string]string{"other": "i"} }},
				{badField("image_overrides"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.ImageOverrides = map[string]string{"web": ""} }},
				{badField("default_resources.requests.gpu"), func(r *sandboxv1.CreateSandboxFromFileRequest) {
					r.DefaultResources = &sandboxv1.ResourceRequirements{Requests: &sandboxv1.Resources{Gpu: &sandboxv1.Gpu{Count: 1}}}
				}},
				{unserved("contents"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents = []byte("services: {web: {build: .}}") }},
				{unserved("contents", "contents"), func(r *sandboxv1.CreateSandboxFromFileRequest) {
					r.Contents = []byte("services: {web: {image: i, volumes: [], networks: []}}")
				}},
				{unserved("network_ids"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.NetworkIds = []string{"n"} }},
				{unserved("build_contexts"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.BuildContexts = map[string][]byte{"web": nil} }},
				{badField("build_contexts"), func(r *sandboxv1.CreateSandboxFromFileRequest) {
					r.BuildContexts = map[string][]byte{"web": make([]byte, maxBuildBytes+1)}
				}},
				{badField("tags[0]"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Tags = []string{"a-"} }},
				{badField("max_lifetime_seconds"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.MaxLifetimeSeconds = -1 }},
				{badField("runner_ids"), func(r *sandboxv1.CreateSandboxFromFileRequest) { r.RunnerIds = []string{"r"} }},
				{badField("containers[0].name"), func(r *sandboxv1.CreateSandboxFromFileRequest) {
					r.Contents, r.PrimaryService = []byte("services: {a_b: {image: i}}"), "a_b"
				}},
			} {
				_, err := w.api.CreateSandboxFromFile(w.ctx, fromFile(row.change))
				w.requireRefused(row.want, err)
			}
			_, err := w.api.CreateSandboxFromFile(w.ctx, fromFile(func(r *sandboxv1.CreateSandboxFromFileRequest) {
				r.Contents = []byte("services: {web: {image: i, volumes: []}}")
			}))
			assert.ErrorContains(w, err, "services.web.volumes", "by name")
		})
	})
	t.Run("C-180 a registered translator, and replays", func(t *testing.T) {
		broken := errors.New("cannot read this")
		translate := func(contents []byte) (*sandboxv1.SandboxSpec, error) {
			if string(contents) != "anything" {
				return nil, broken
			}
			return aSpec(), nil
		}
		inWorld(t, Options{TranslateFile: translate}, func(w *world) {
			req := fromFile(func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents, r.RequestId = []byte("anything"), "r-1" })
			first, err := w.api.CreateSandboxFromFile(w.ctx, req)
			require.NoError(w, err)
			synctest.Wait()
			again, err := w.api.CreateSandboxFromFile(w.ctx, req)
			require.NoError(w, err)
			assert.Equal(w, first.GetSandboxId(), again.GetSandboxId())
			assert.Equal(w, running, again.GetStatus().GetState())
			req.Contents = []byte("anything\n") // formatting counts
			_, err = w.api.CreateSandboxFromFile(w.ctx, req)
			w.requireRefused(badField("contents"), err)
			req.Contents, req.Tags = []byte("anything"), []string{"a"}
			_, err = w.api.CreateSandboxFromFile(w.ctx, req)
			w.requireRefused(badField("request_id"), err)
			assert.Len(w, w.list(&sandboxv1.ListSandboxesRequest{}), 1)
		})
	})
	t.Run("a translator may return the same spec again, or none", func(t *testing.T) {
		shared := aSpec()
		var none *sandboxv1.SandboxSpec
		translate := func(contents []byte) (*sandboxv1.SandboxSpec, error) {
			if string(contents) == "none" {
				return none, nil
			}
			return shared, nil
		}
		inWorld(t, Options{TranslateFile: translate}, func(w *world) {
			for _, tag := range []string{"a", "b"} {
				sb, err := w.api.CreateSandboxFromFile(w.ctx, fromFile(func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Tags = []string{tag} }))
				require.NoError(w, err)
				assert.Equal(w, []string{tag}, sb.GetSpec().GetTags())
			}
			assert.Len(w, w.list(&listRequest{Tags: []string{"a"}}), 1)
			assert.Empty(w, shared.GetTags())
			_, err := w.api.CreateSandboxFromFile(w.ctx, fromFile(func(r *sandboxv1.CreateSandboxFromFileRequest) { r.Contents = []byte("none") }))
			w.requireRefused(badField("containers"), err)
		})
	})
	t.Run("C-023 PREPARING, without a spec, on files only", func(t *testing.T) {
		inWorld(t, Options{PrepareDelay: time.Minute, PendingDelay: time.Second}, func(w *world) {
			assert.Equal(w, pending, w.create().GetStatus().GetState())
			sb, err := w.api.CreateSandboxFromFile(w.ctx, fromFile())
			require.NoError(w, err)
			for _, sb := range []*sandboxv1.Sandbox{sb, w.get(sb.GetSandboxId())} {
				assert.Equal(w, preparing, sb.GetStatus().GetState())
				assert.Nil(w, sb.GetSpec())
			}
			_, err = w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: sb.GetSandboxId(), Command: []string{"x"}})
			w.requireRefused(isNotRunning, err)
			time.Sleep(time.Minute)
			synctest.Wait()
			assert.Equal(w, pending, w.state(sb.GetSandboxId()))
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(w, running, w.state(sb.GetSandboxId()))
			assert.Len(w, w.get(sb.GetSandboxId()).GetSpec().GetContainers(), 2)

			sb, err = w.api.CreateSandboxFromFile(w.ctx, fromFile())
			require.NoError(w, err)
			w.delete(sb.GetSandboxId(), 0)
			synctest.Wait()
			assert.Equal(w, completed, w.state(sb.GetSandboxId()))
		})
	})
}
