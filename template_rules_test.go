package cwsandbox

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTemplatesRefuseWhatSandboxesWould(t *testing.T) {
	for want, opts := range map[string][]Option{
		"volume_mounts[0].mount_path": {WithImage("i"), WithVolumes(Volume{Name: "v", Path: "/proc/x"})},
		"owner mark":                  {WithoutOwnerMark()},
		"lease":                       {WithLease(0)},
		"spillover":                   {WithSpillover(SpilloverNone)},
		"attachments":                 {WithAttachments(map[string]any{"a": make(chan int)})},
	} {
		_, err := newTemplate(call{op: "create template"}, "name", opts)
		assert.ErrorIs(t, err, ErrInvalidArgument, want)
		assert.ErrorContains(t, err, want)
	}
	_, err := newTemplate(call{op: "create template"}, "name", []Option{WithContainers(
		Container{Image: "i", Mounts: []VolumeMount{{Volume: "of-its-user", Path: "/v"}}})})
	assert.NoError(t, err, "a template may leave the volume to its users")
}

func TestUpdatesOfTemplatesEmptyNothing(t *testing.T) {
	_, c := fakeClient(t)
	for _, o := range []Option{WithMaxLifetime(0), WithRunners(), WithPlacement(PlacementUnspecified)} {
		_, err := c.UpdateTemplate(t.Context(), "id", WithImage("i"), o)
		assert.ErrorIs(t, err, ErrInvalidArgument, "%v", o)
		assert.ErrorContains(t, err, "cannot be emptied")
	}
}

func TestTemplatesPrintNoSecrets(t *testing.T) {
	spec := TemplateSpec{JSON: []byte(`{"secret":1}`), Containers: []Container{{Image: "i", Env: map[string]string{"K": "secret"}}}}
	for _, v := range []any{spec, Template{Spec: spec}} {
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("t", "v", v)
		for _, text := range []string{fmt.Sprintf("%v %+v %#v %s %q", v, v, v, v, v), log.String()} {
			assert.NotContains(t, text, "secret")
		}
	}
}
