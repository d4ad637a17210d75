package localserver

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// leveled is a runtime that says that it isolates otherwise than it does.
type leveled struct {
	container.Runtime
	level string
}

func (l leveled) Isolation() string { return l.level }

func TestSecurityContext(t *testing.T) {
	const at = "spec.containers[0].security_context."
	free := []*sandboxv1.SecurityContext{
		nil, {}, {Privileged: new(false)}, {AllowPrivilegeEscalation: new(true)}, {SeccompProfile: "Unconfined"},
		{SeccompProfile: "RuntimeDefault"}, {ReadOnlyRootFilesystem: new(false)}, {CapabilitiesAdd: []string{"CHOWN", "CAP_KILL"}},
	}
	own := []*sandboxv1.SecurityContext{
		{ReadOnlyRootFilesystem: new(true)}, {CapabilitiesDrop: []string{"ALL"}}, {AllowPrivilegeEscalation: new(false)},
		{RunAsUser: new(uint32(0))}, {RunAsGroup: new(uint32(0))},
	}
	others := map[string]*sandboxv1.SecurityContext{
		"run_as_user": {RunAsUser: new(uint32(1000))}, "run_as_group": {RunAsGroup: new(uint32(1000))},
	}
	for _, level := range []string{"isolated", "rootless", "plain", "scripted"} {
		t.Run(level, func(t *testing.T) {
			inWorld(t, Options{Runtime: leveled{scripted.New(programs...), level}}, func(w *world) {
				create := func(sc *sandboxv1.SecurityContext) error {
					_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(mainContainer(func(c *ctnr) { c.SecurityContext = sc }))))
					return err
				}
				for _, sc := range free {
					assert.NoError(t, create(sc), "%v", sc)
				}
				for _, sc := range own {
					if level == "plain" {
						w.requireRefused(noRunner(), create(sc))
					} else {
						assert.NoError(t, create(sc), "%v", sc)
					}
				}
				for field, sc := range others {
					switch level {
					case "plain":
						w.requireRefused(noRunner(), create(sc))
						assert.Equal(t, "security_context", w.info(create(sc)).GetMetadata()["constraint"])
					case "rootless":
						w.requireRefused(badField(at+field), create(sc))
					default:
						assert.NoError(t, create(sc), "%v", sc)
					}
				}
			})
		})
	}
	t.Run("a read-only root", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(mainContainer(func(c *ctnr) { c.SecurityContext = &sandboxv1.SecurityContext{ReadOnlyRootFilesystem: new(true)} }))
			w.requireRefused(fileRefused("PERMISSION_DENIED"), w.writeFile(id, "/f", nil))
			sc := w.get(id).GetSpec().GetContainers()[0].GetSecurityContext()
			assert.True(t, sc.GetReadOnlyRootFilesystem())
			assert.Nil(t, sc.Privileged)
		})
	})
	t.Run("capabilities", func(t *testing.T) {
		for _, row := range []struct {
			add, drop, want []string
		}{
			{nil, nil, nil},
			{nil, []string{"CAP_CHOWN", "NET_RAW", "SYS_ADMIN"}, []string{"CHOWN", "NET_RAW"}},
			{[]string{"CHOWN"}, []string{"CAP_CHOWN"}, nil},
		} {
			got := securityOf(&sandboxv1.SecurityContext{CapabilitiesAdd: row.add, CapabilitiesDrop: row.drop})
			assert.Equal(t, row.want, got.Drop)
		}
		got := securityOf(&sandboxv1.SecurityContext{CapabilitiesAdd: []string{"CAP_KILL"}, CapabilitiesDrop: []string{"ALL"}}).Drop
		assert.Len(t, got, len(container.DefaultCapabilities)-1)
		assert.NotContains(t, got, "KILL")
	})
}

func TestNamedContainers(t *testing.T) {
	t.Run("C-118", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(twoContainers("wait-for-term"))
			for _, container := range []string{"", "helper"} {
				_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{
					SandboxId: id, Path: "/who", Content: []byte("in " + container), Container: container,
				})
				require.NoError(t, err)
			}
			for container, want := range map[string]string{"": "in ", "main": "in ", "helper": "in helper"} {
				resp, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"cat", "/who"}, Container: container})
				require.NoError(t, err)
				assert.Equal(t, want, string(resp.GetStdout()), container)
				file, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/who", Container: container})
				require.NoError(t, err)
				assert.Equal(t, want, string(file.GetContent()), container)
			}
			_, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}, Container: "dns-egress"})
			w.requireRefused(badField("container"), err)
		})
	})
}
