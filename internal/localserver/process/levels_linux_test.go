package process

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// withoutNamespaces makes this program one that cannot host isolated sandboxes.
func withoutNamespaces(t *testing.T) {
	mainCalled.Store(false)
	t.Cleanup(func() { mainCalled.Store(true) })
}

// systemAllows asks the system's own tool whether there can be namespaces like those of a level. Where it cannot tell,
// the level is expected of nobody.
func systemAllows(level string) bool {
	flags := map[string]string{Isolated: "-mpf", Rootless: "-Urmpf"}[level]
	known, err := os.ReadFile("/proc/filesystems")
	return err == nil && strings.Contains(string(known), "\toverlay\n") &&
		exec.Command("unshare", flags, "--mount-proc", "true").Run() == nil
}

func TestParseMount(t *testing.T) {
	m, ok := parseMount(`36 35 98:0 /mnt1 /with\040space\134 rw,noatime master:1 shared:2 - ext4 /dev/root rw`)
	require.True(t, ok)
	assert.Equal(t, mountPoint{path: `/with space\`, fstype: "ext4"}, m)
	for _, line := range []string{"", "36 35 98:0 / /x rw", " - ext4", "36 35 98:0 / /x rw - "} {
		_, ok := parseMount(line)
		assert.False(t, ok, line)
	}
	assert.Equal(t, `a\9`, unescapeMount(`a\9`))
}

func TestMountsLeftOut(t *testing.T) {
	for rel, want := range map[string]bool{
		"proc": true, "proc/sys": true, "tmp/x": true, "var/lib/docker/overlay2/x": true,
		"home": false, "process": false, "var/lib": false, "usr": false,
	} {
		assert.Equal(t, want, leftOut(rel), rel)
	}
	assert.True(t, holdsFiles("ext4"))
	assert.False(t, holdsFiles("nfs4"))
}

func TestDataDirWithOddName(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		dir := t.TempDir() + `/a,b:c\d e`
		require.NoError(t, os.Mkdir(dir, 0o700))
		odd := newRuntime(t, Options{Isolation: r.Isolation(), DataDir: dir})
		assert.Equal(t, "fine", sh(t, newContainer(t, odd, container.Spec{}), "echo fine >/etc/new && cat /etc/new"))
	})
}

// TestNestedRuntime starts a server inside of a sandbox, where the data directory may lie on an overlay and most
// rights are gone.
func TestNestedRuntime(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Isolated})
	binary, err := os.ReadFile(selfExecutable)
	require.NoError(t, err)
	c := newContainer(t, r, container.Spec{WorkingDir: "/workspace"})
	require.NoError(t, c.WriteFile(t.Context(), "inner", binary, false))
	got := run(t, c, container.ProcessSpec{
		Argv: []string{"sh", "-c", "chmod +x inner && exec ./inner -test.run '^TestLevels$' -test.v"},
		Env:  map[string]string{"TMPDIR": "/workspace"},
	})
	assert.Zero(t, got.code, got.stdout)
	assert.Contains(t, got.stdout, "--- PASS: TestLevels")
}
