//go:build linux || darwin

package process

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// mountPath is a place below the temporary directory, which is the only one that every level has, that nobody else has.
func mountPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "volume-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.Remove(dir)) }) // and nothing is left in it
	return filepath.Join(dir, "data")
}

func archiveOf(t *testing.T, sb container.Sandbox, volume string) container.Archive {
	t.Helper()
	a, err := sb.Archive(t.Context(), volume, 0)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, a.Remove()) })
	return a
}

func TestVolumes(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		host := t.TempDir()
		require.NoError(t, os.Chmod(host, 0o755))
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "work"}, {Name: "shared", HostDir: host}}})
		one, other, outside := mountPath(t), mountPath(t), mountPath(t)
		first := startContainer(t, sb, container.Spec{Mounts: []container.Mount{
			{Volume: "work", Path: one}, {Volume: "shared", Path: outside},
		}})
		second := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "work", Path: other, SubPath: "a/b"}}})

		t.Run("containers share a volume, and one may see a part of it", func(t *testing.T) {
			sh(t, first, "echo hello >"+one+"/a/b/greeting")
			assert.Equal(t, "hello", sh(t, second, "cat "+other+"/greeting"))
			require.NoError(t, second.WriteFile(t.Context(), other+"/deep/answer", []byte("hi"), false))
			got, err := first.ReadFile(t.Context(), one+"/a/b/deep/answer", fileLimit)
			require.NoError(t, err)
			assert.Equal(t, "hi", string(got))
		})
		t.Run("C-176 a directory of the host is shared live", func(t *testing.T) {
			sh(t, first, "echo inside >"+outside+"/inside")
			got, err := os.ReadFile(filepath.Join(host, "inside"))
			require.NoError(t, err)
			assert.Equal(t, "inside\n", string(got))
			_, err = sb.Archive(t.Context(), "shared", 0)
			assert.Error(t, err, "only a scratch volume can be archived")
		})
		t.Run("a volume outlives the container", func(t *testing.T) {
			require.NoError(t, first.Close())
			again := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "work", Path: one}}})
			assert.Equal(t, "hello", sh(t, again, "cat "+one+"/a/b/greeting"))
			require.NoError(t, again.Close())
		})
		require.NoError(t, second.Close())
	})
}

func TestVolumesBehindWalls(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{
			{Name: "work"}, {Name: "fast", MemoryBytes: 1 << 20}, {Name: "fixed", HostDir: t.TempDir(), ReadOnly: true},
		}})
		mounts := []container.Mount{
			{Volume: "work", Path: "/workspace"},
			{Volume: "work", Path: "/workspace/inner", SubPath: "part"},
			{Volume: "work", Path: "/opt/some/tool", ReadOnly: true},
			{Volume: "fast", Path: "/usr/share/fast"},
			{Volume: "fixed", Path: "/fixed"},
		}
		c := startContainer(t, sb, container.Spec{Mounts: mounts})
		t.Run("read-only is enforced", func(t *testing.T) {
			sh(t, c, "echo x >/workspace/file")
			assert.Equal(t, "x", sh(t, c, "cat /opt/some/tool/file"))
			for _, dir := range []string{"/opt/some/tool", "/fixed"} {
				assert.NotZero(t, shell(t, c, "echo y >"+dir+"/file").code, dir)
				requireFileError(t, c.WriteFile(t.Context(), dir+"/file", nil, false), container.FilePermission)
			}
		})
		t.Run("a volume in memory holds what it may", func(t *testing.T) {
			assert.NotZero(t, shell(t, c, "head -c 2000000 /dev/zero >/usr/share/fast/big").code)
			sh(t, c, "rm /usr/share/fast/big; echo fast >/usr/share/fast/small; grep -q '/usr/share/fast tmpfs' /proc/mounts")
			other := startContainer(t, sb, container.Spec{Mounts: mounts})
			assert.Equal(t, "fast", sh(t, other, "cat /usr/share/fast/small"), "all containers see the same memory")
			restored := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{
				{Name: "copy", MemoryBytes: 1 << 20, Restore: archiveOf(t, sb, "fast")},
			}})
			again := startContainer(t, restored, container.Spec{Mounts: []container.Mount{{Volume: "copy", Path: "/copy"}}})
			assert.Equal(t, "fast", sh(t, again, "cat /copy/small"))
		})
		t.Run("no link in a volume leads a mount to the host", func(t *testing.T) {
			sh(t, c, "ln -s ../../../../../../../../../../etc /workspace/up; ln -s /etc /workspace/abs")
			for _, sub := range []string{"up", "abs", "up/cwsandbox-new"} {
				_, err := sb.Start(t.Context(), container.Spec{Mounts: []container.Mount{{Volume: "work", Path: "/there", SubPath: sub}}})
				assert.Error(t, err, sub)
			}
		})
		t.Run("what nobody may read is archived all the same", func(t *testing.T) {
			sh(t, c, "mkdir /workspace/closed; echo secret >/workspace/closed/file; chmod 0 /workspace/closed/file /workspace/closed")
			restored := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "w", Restore: archiveOf(t, sb, "work")}}})
			again := startContainer(t, restored, container.Spec{Mounts: []container.Mount{{Volume: "w", Path: "/w"}}})
			assert.Equal(t, "0 0", sh(t, again, "echo $(stat -c %a /w/closed /w/closed/file)"))
			assert.Equal(t, "secret", sh(t, again, "cat /w/closed/file"))
		})
	})
}

func TestPlainVolumesRefuse(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Plain})
	_, err := r.NewSandbox(t.Context(), container.SandboxSpec{Volumes: []container.Volume{{Name: "v", MemoryBytes: 1}}})
	require.ErrorContains(t, err, "memory")
	sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
	for text, m := range map[string]container.Mount{
		"outside": {Volume: "v", Path: "/workspace"},
		"written": {Volume: "v", Path: filepath.Join(os.TempDir(), "v"), ReadOnly: true},
	} {
		_, err := sb.Start(t.Context(), container.Spec{Mounts: []container.Mount{m}})
		assert.ErrorContains(t, err, text)
	}
}

func TestArchive(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		at := mountPath(t)
		spec := container.Spec{Mounts: []container.Mount{{Volume: "v", Path: at}}}
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
		c := startContainer(t, sb, spec)
		sh(t, c, `cd `+at+` && mkdir -p d/e && echo hello >d/e/f && chmod 750 d && chmod 4711 d/e/f && touch -d @1000000000 d/e/f d/e &&
			ln -s d/e/f link && ln -s /nowhere dangling && ln d/e/f hard && mkfifo pipe && truncate -s 40M hole && echo end >>hole`)
		seen := `cd ` + at + ` && stat -c '%n %a %Y' d/e/f d/e && stat -c '%n %a' d && readlink link dangling && test -p pipe &&
			test d/e/f -ef hard && stat -c %s hole && tail -c 4 hole && test $(du -k hole | cut -f1) -lt 1000 && cat link`
		want := sh(t, c, seen)

		t.Run("C-150 a restored volume is the same, and changing it does not change the archive", func(t *testing.T) {
			a := archiveOf(t, sb, "v")
			assert.EqualValues(t, 40<<20+4+6, a.Size(), "a file with two names counts once")
			require.NoError(t, c.Close())
			require.NoError(t, sb.Close())
			for range 2 {
				restored := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v", Restore: a}}})
				again := startContainer(t, restored, spec)
				assert.Equal(t, want, sh(t, again, seen))
				sh(t, again, "cd "+at+" && chmod u+w d/e/f && echo changed >d/e/f && rm hard")
				require.NoError(t, again.Close())
				require.NoError(t, restored.Close())
			}
		})
	})
}

func TestArchiveEnds(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		at := mountPath(t)
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
		c := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "v", Path: at}}})
		sh(t, c, "echo 12345678 >"+at+"/file")

		_, err := sb.Archive(t.Context(), "v", 8)
		var large *container.SizeError
		require.ErrorAs(t, err, &large)
		assert.EqualValues(t, 8, large.Limit)
		_, err = sb.Archive(t.Context(), "v", 9)
		require.NoError(t, err)

		sh(t, c, "truncate -s 4T "+at+"/endless || truncate -s 200G "+at+"/endless")
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := sb.Archive(ctx, "v", 0)
			ended <- err
		}()
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		left, err := os.ReadDir(filepath.Join(r.data.path, archivesDir))
		require.NoError(t, err)
		assert.Len(t, left, 1, "a copy that was given up is removed")
		require.NoError(t, c.Close())
	})
}

func TestPlainLeavesNoDirectories(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Plain})
	sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
	at := mountPath(t) // whose directory nothing may be left in
	c := startContainer(t, sb, container.Spec{
		WorkingDir: at + "/made/dir",
		Mounts:     []container.Mount{{Volume: "v", Path: at + "/volumes/v"}},
		Files:      []container.File{{Path: at + "/files/deeper/file"}, {Path: at + "/files/other/file"}},
	})
	sh(t, c, "echo x >"+at+"/volumes/v/file; pwd")
	require.NoError(t, c.Close())
	_, err := os.Lstat(at)
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = sb.Start(t.Context(), container.Spec{
		Mounts: []container.Mount{{Volume: "v", Path: at + "/a/v"}, {Volume: "v", Path: "/elsewhere"}},
	})
	assert.Error(t, err)
}
