//go:build linux || darwin

package examples

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestSettings: the example makes no sandbox, and puts back what it has made.
func TestSettings(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.WithClaim("team", "datasets", t.TempDir()))
	env := append(os.Environ(), server.Env()...)
	run := func(args ...string) string {
		out, err := command(t, env, "settings", args...).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	out := run()
	for _, part := range []string{
		"snapshots go to a bucket that is managed: ", "object storage is not set up\n",
		"secret store example-store: wandb, team engineering\n", "volume of team/datasets is validating\n", "it is ready, access modes [ReadWriteMany]\n",
	} {
		_, rest, found := strings.Cut(out, part)
		require.True(t, found, "no %q in its place in:\n%s", part, out)
		out = rest
	}
	assert.Contains(t, run("-claim", "team/none"), "it cannot be mounted, it is in state error: ")

	client := server.Client()
	for s, err := range client.SecretStores(t.Context()) {
		require.NoError(t, err)
		assert.Fail(t, "left", s.Name)
	}
	for v, err := range client.RegisteredVolumes(t.Context()) {
		require.NoError(t, err)
		assert.Fail(t, "left", v.ID)
	}
}
