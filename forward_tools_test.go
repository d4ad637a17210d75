//go:build linux || darwin

package cwsandbox_test

import (
	"context"
	"crypto/rand"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
)

// only makes a sandbox that has nothing but these tools in its PATH: names, or a program of this machine, an equals sign
// and the name that it gets. The test is skipped when one of them is not here.
func (w world) only(t *testing.T, tools string) *cwsandbox.Sandbox {
	t.Helper()
	dir := "/tmp/cwsandbox-" + rand.Text()
	var words []string
	for _, tool := range strings.Fields(tools) {
		program, name, renamed := strings.Cut(tool, "=")
		if !renamed {
			name = program
		}
		path, err := exec.LookPath(program)
		if err != nil {
			t.Skipf("this machine has no %s", program)
		}
		if program == "busybox" {
			path += " " + name
		}
		words = append(words, path, name)
	}
	sb := w.run(t, cwsandbox.WithEnv("PATH", dir), cwsandbox.WithCommand("/bin/sleep", "1000"))
	const script = `mkdir "$0" && while [ $# -gt 0 ]; do
printf '#!/bin/sh\nPATH=%s exec %s "$@"\n' "$PATH" "$1" >"$0/$2" && chmod 755 "$0/$2" || exit 1
shift 2; done`
	res, err := sb.Exec(limited(t), append([]string{"/bin/sh", "-c", script, dir}, words...),
		cwsandbox.WithEnv("PATH", "/usr/bin:/bin"))
	require.NoError(t, err)
	require.NoError(t, res.Err(), "%s", res.Stderr)
	t.Cleanup(func() {
		_, err := sb.Exec(context.Background(), []string{"/bin/rm", "-r", dir})
		assert.NoError(t, err)
	})
	return sb
}
