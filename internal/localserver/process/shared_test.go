//go:build linux || darwin

package process

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// TestWritesToASharedFile lets two containers write to one file of a volume at the same time.
func TestWritesToASharedFile(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
		var files []string
		var writers []container.Container
		for range 2 {
			at := mountPath(t)
			c := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "v", Path: at}}})
			t.Cleanup(func() { assert.NoError(t, c.Close()) })
			writers, files = append(writers, c), append(files, at+"/file")
		}
		for round := range 20 {
			parallel(t, 8, func(i int) error {
				return writers[i%2].WriteFile(t.Context(), files[i%2], bytes.Repeat([]byte{byte(i)}, 1<<20+i), false)
			})
			got, err := writers[0].ReadFile(t.Context(), files[0], fileLimit)
			require.NoError(t, err)
			require.Equal(t, 1<<20+int(got[0]), len(got), "round %d", round)
			require.Equal(t, len(got), bytes.Count(got, got[:1]), "round %d", round)
		}
	})
}
