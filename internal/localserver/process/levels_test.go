//go:build linux || darwin

package process

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

func TestLevels(t *testing.T) {
	t.Run("the best that works", func(t *testing.T) {
		r := newRuntime(t, Options{})
		assert.NotEmpty(t, r.Warnings())
		assert.Contains(t, r.Warnings()[len(r.Warnings())-1], "not a security boundary")
		for _, l := range levels {
			if l.name == r.Isolation() {
				break
			}
			assert.Contains(t, strings.Join(r.Warnings(), "\n"), l.name+" does not work: ")
		}
	})
	t.Run("C-201", func(t *testing.T) {
		withoutNamespaces(t)
		_, err := New(Options{Isolation: Strict, DataDir: t.TempDir()})
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "\n")
		for _, l := range levels {
			if l.name != Plain {
				assert.ErrorContains(t, err, l.name+" does not work: ")
			}
		}
		r := newRuntime(t, Options{Isolation: Auto})
		assert.Equal(t, Plain, r.Isolation())
		assert.Contains(t, r.Warnings()[0], "NO ISOLATION")
		assert.Len(t, r.Warnings(), len(levels)+3, "one for each level that failed")
	})
	t.Run("C-200", func(t *testing.T) {
		eachLevel(t, func(t *testing.T, r *Runtime) {
			assert.Contains(t, strings.Join(r.Warnings(), "\n"), "memory, CPU and process limits are not enforced")
		})
	})
	t.Run("unknown", func(t *testing.T) {
		_, err := New(Options{Isolation: "cardboard", DataDir: t.TempDir()})
		assert.ErrorContains(t, err, `got "cardboard"`)
	})
	t.Run("a data directory that cannot be", func(t *testing.T) {
		_, err := New(Options{DataDir: filepath.Join(os.DevNull, "below")})
		assert.ErrorContains(t, err, "data directory")
	})
	t.Run("closed", func(t *testing.T) {
		eachLevel(t, func(t *testing.T, r *Runtime) {
			sb := newSandbox(t, r, container.SandboxSpec{})
			c := startContainer(t, sb, container.Spec{})
			require.NoError(t, r.Close())
			require.NoError(t, r.Close())
			awaitDone(t, c.Main())
			assert.Equal(t, 137, c.Main().ExitCode())
			_, err := r.NewSandbox(t.Context(), container.SandboxSpec{ID: "sb-late"})
			assert.Error(t, err)
			_, err = sb.Start(t.Context(), container.Spec{})
			assert.Error(t, err)
			_, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"true"}})
			assert.Error(t, err)
			assert.NoDirExists(t, r.data.path)
		})
	})
}

func TestImages(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("C-203", func(t *testing.T) {
			named := newRuntime(t, Options{
				Isolation: r.Isolation(),
				Images: map[string]Image{
					"*broken*": {Refuse: "manifest unknown"},
					"greeter":  {Command: []string{"sh", "-c", "echo $PATH"}, Path: []string{"/extra/bin"}},
				},
			})
			sb := newSandbox(t, named, container.SandboxSpec{})
			_, err := sb.Start(t.Context(), container.Spec{Image: "example.com/broken:1"})
			assert.EqualError(t, err, `image "example.com/broken:1" cannot be pulled: manifest unknown`)

			greeter := startContainer(t, sb, container.Spec{Image: "greeter"})
			assert.True(t, strings.HasPrefix(finish(t, greeter.Main()).stdout, "/extra/bin:"))
			c := startContainer(t, sb, container.Spec{Image: "anything:else", Command: "sh", Args: []string{"-c", "exit 4"}})
			assert.Equal(t, 4, finish(t, c.Main()).code)

			t.Setenv("PATH", defaultPath)
			if _, err := lookPath("python3", hostRootPath, defaultPath); err == nil {
				c := startContainer(t, sb, container.Spec{Image: "python:3.11"})
				assert.Equal(t, "works", sh(t, c, "python -c 'print(\"works\")'"))
			}
		})
		t.Run("only those that are mapped", func(t *testing.T) {
			strict := newRuntime(t, Options{
				Isolation: r.Isolation(), RequireImage: true, Images: map[string]Image{"known:*": {}}, Logger: slog.Default(),
			})
			sb := newSandbox(t, strict, container.SandboxSpec{})
			startContainer(t, sb, container.Spec{Image: "known:1"})
			_, err := sb.Start(t.Context(), container.Spec{Image: "other:1"})
			assert.ErrorContains(t, err, `"other:1"`)
		})
	})
}

func TestImagePatterns(t *testing.T) {
	for _, row := range []struct {
		pattern, name string
		want          bool
	}{
		{"python", "python", true}, {"python", "python:3", false}, {"python:*", "python:3.11", true}, {"*", "", true},
		{"*/tool:*", "example.com/team/tool:1", true}, {"a*b*c", "abc", true}, {"a*b*c", "acb", false},
		{"ab*ba", "aba", false}, {"*x", "xx", true}, {"", "", true}, {"", "x", false},
	} {
		assert.Equal(t, row.want, matches(row.pattern, row.name), "%q %q", row.pattern, row.name)
	}
	set := images{known: map[string]Image{
		"*": {Refuse: "short"}, "python*": {Refuse: "longer"}, "python:3": {Command: []string{"exact"}},
	}}
	_, err := set.resolve("python:2")
	assert.ErrorContains(t, err, "longer")
	image, err := set.resolve("python:3")
	require.NoError(t, err)
	assert.Equal(t, []string{"exact"}, image.Command)
}

func TestConvenienceLinks(t *testing.T) {
	host := func(commands ...string) func(string) (string, bool) {
		return func(name string) (string, bool) {
			for _, c := range commands {
				if c == name {
					return "/bin/" + c, true
				}
			}
			return "", false
		}
	}
	for _, row := range []struct {
		image        string
		host         []string
		name, target string
	}{
		{"python:3.11.4-slim", []string{"python3", "python3.11"}, "python", "/bin/python3.11"},
		{"example.com:5000/library/python@sha256:00", []string{"python3"}, "python", "/bin/python3"},
		{"python:3.11", []string{"python", "python3"}, "", ""},
		{"python:3.11", nil, "", ""},
		{"node:22", []string{"nodejs"}, "node", "/bin/nodejs"},
		{"golang:1.26", []string{"python3", "nodejs"}, "", ""},
	} {
		name, target := convenienceLink(row.image, host(row.host...))
		assert.Equal(t, []string{row.name, row.target}, []string{name, target}, row.image)
	}
}

func TestImageRootsAreChecked(t *testing.T) {
	for _, root := range []string{"relative", "/no/such/directory", os.DevNull} {
		_, err := New(Options{Images: map[string]Image{"some": {Root: root}}})
		assert.ErrorContains(t, err, `image "some": root`)
	}
}

func TestDataDir(t *testing.T) {
	base := filepath.Join(t.TempDir(), "state")
	first, stale, err := openDataDir(base)
	require.NoError(t, err)
	assert.Empty(t, stale)
	info, err := os.Stat(base)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	locked := filepath.Join(first.path, "locked", "deeper")
	require.NoError(t, os.MkdirAll(locked, 0o700))
	require.NoError(t, os.Chmod(locked, 0))
	require.NoError(t, os.Chmod(filepath.Dir(locked), 0))
	second, _, err := openDataDir(base)
	require.NoError(t, err)
	assert.DirExists(t, first.path, "its runtime lives")

	require.NoError(t, first.lock.Close()) // as the end of its process does
	third, stale, err := openDataDir(base)
	require.NoError(t, err)
	assert.Empty(t, stale)
	assert.NoDirExists(t, first.path)
	assert.DirExists(t, second.path)
	require.NoError(t, second.close())
	require.NoError(t, third.close())
	entries, err := os.ReadDir(base)
	require.NoError(t, err)
	assert.Len(t, entries, 1, "what is left is the common lock")
}

func TestDefaultDataDir(t *testing.T) {
	state := t.TempDir()
	t.Setenv("XDG_STATE_HOME", state)
	dir, err := defaultDataDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(state, "cwsandbox", "local"), dir)

	t.Setenv("XDG_STATE_HOME", "")
	t.Setenv("HOME", state)
	dir, err = defaultDataDir()
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(state, ".local", "state", "cwsandbox", "local"), dir)

	t.Setenv("HOME", "/no/such/home")
	t.Setenv("TMPDIR", state)
	dir, err = defaultDataDir()
	require.NoError(t, err)
	assert.Equal(t, state, filepath.Dir(dir))
	require.NoError(t, os.Chmod(dir, 0o755))
	_, err = defaultDataDir()
	assert.ErrorContains(t, err, "not a private directory")
}

func TestDataDirLocks(t *testing.T) {
	base, elsewhere := t.TempDir(), filepath.Join(t.TempDir(), "made")
	// What is left when a server dies between the removal of its directory and that of its lock.
	require.NoError(t, os.WriteFile(filepath.Join(base, serverPrefix+"1"+lockSuffix), nil, 0o600))
	d, stale, err := openDataDir(base)
	require.NoError(t, err)
	assert.Empty(t, stale)
	require.NoError(t, d.close())
	require.NoError(t, os.Remove(filepath.Join(base, "lock")), "which is all that is left")
	require.NoError(t, os.Symlink(elsewhere, filepath.Join(base, "lock")))
	_, _, err = openDataDir(base)
	assert.Error(t, err)
	assert.NoFileExists(t, elsewhere)
	require.NoError(t, os.Remove(filepath.Join(base, "lock")))
	entries, err := os.ReadDir(base)
	require.NoError(t, err)
	assert.Empty(t, entries)
}
