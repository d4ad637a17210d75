package process

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// upFrom leads from a directory to the root that it is seen from, and no further.
func upFrom(dir string) string { return strings.Repeat("../", strings.Count(dir, "/")) }

// TestPlantedPaths has what one container left in a volume meet the init of the next one, as root.
func TestPlantedPaths(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		t.Run("a pipe where a directory is to be mounted does not hold the start up", func(t *testing.T) {
			sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
			c := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "v", Path: "/v"}}})
			sh(t, c, "mkfifo /v/pipe")
			started := make(chan error, 1)
			go func() {
				_, err := sb.Start(t.Context(), container.Spec{Mounts: []container.Mount{{Volume: "v", Path: "/w", SubPath: "pipe"}}})
				started <- err
			}()
			select {
			case err := <-started:
				assert.ErrorContains(t, err, "not a directory")
			case <-time.After(patience):
				assert.Fail(t, "the start hangs")
			}
		})
		t.Run("the way to a mount does not lead through what init holds open", func(t *testing.T) {
			sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}, {Name: "w"}}})
			c := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "v", Path: "/v"}}})
			host := t.TempDir()
			up := upFrom(sb.(*sandbox).volumes[1].dir)
			for fd := 3; fd < 16; fd++ {
				sh(t, c, fmt.Sprintf("ln -s /proc/self/fd/%d/%s%s /v/%d", fd, up, host, fd))
				_, _ = sb.Start(t.Context(), container.Spec{Mounts: []container.Mount{
					{Volume: "v", Path: "/v"}, {Volume: "w", Path: fmt.Sprintf("/v/%d/made", fd)},
				}})
			}
			assertEmptyDir(t, host)
		})
		t.Run("a directory of the host that became a link", func(t *testing.T) {
			claim, host := t.TempDir(), t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(claim, "part"), 0o755))
			sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{
				{Name: "all", HostDir: claim}, {Name: "part", HostDir: filepath.Join(claim, "part")},
			}})
			c := startContainer(t, sb, container.Spec{Mounts: []container.Mount{{Volume: "all", Path: "/all"}}})
			sh(t, c, "rmdir /all/part; ln -s "+upFrom(claim)+host[1:]+" /all/part")
			_, err := sb.Start(t.Context(), container.Spec{Mounts: []container.Mount{{Volume: "part", Path: "/part", SubPath: "made"}}})
			assert.Error(t, err)
			assertEmptyDir(t, host)
			require.NoError(t, os.Remove(filepath.Join(claim, "part")))
		})
	})
}

func assertEmptyDir(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// TestFilesOfInitItself asks for files by names that mean something else to init than to the container.
func TestFilesOfInitItself(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.OpenFile(log, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	require.NoError(t, err)
	defer file.Close()
	_, err = file.WriteString("the server's own\n")
	require.NoError(t, err)
	standard := os.Stderr
	os.Stderr = file
	defer func() { os.Stderr = standard }()

	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{})
		sh(t, c, "ln -s /proc/self/exe /exe")
		for _, name := range []string{"/dev/stderr", "/proc/self/fd/2", "/proc/thread-self/fd/2", "/proc/1/fd/2", "/proc/self/exe", "/exe"} {
			_, err := c.ReadFile(t.Context(), name, 1<<30)
			requireFileError(t, err, container.FileIO, name)
			requireFileError(t, c.WriteFile(t.Context(), name, []byte("x"), false), container.FileIO, name)
		}
		got, err := os.ReadFile(log)
		require.NoError(t, err)
		assert.Equal(t, "the server's own\n", string(got))
	})
}

// TestMountedFilesAreReadable starts a container under a server that keeps its files to itself.
func TestMountedFilesAreReadable(t *testing.T) {
	r := newRuntime(t, Options{Isolation: Isolated})
	before := unix.Umask(0o077)
	defer unix.Umask(before)
	c := newContainer(t, r, container.Spec{
		Files:    []container.File{{Path: "/srv/given", Content: []byte("given")}},
		Security: container.Security{User: 12345, Group: 12345},
	})
	assert.Equal(t, "given", sh(t, c, "cat /srv/given"))
	assert.Equal(t, "444", sh(t, c, "stat -c %a /srv/given"))
}

// TestReadOnlyRootBehindLink mounts a volume where the image has a link to a mount of its own.
func TestReadOnlyRootBehindLink(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		link := "/var/run"
		if to, err := filepath.EvalSymlinks(link); err != nil || to != "/run" {
			t.Skip("this machine has no such link")
		}
		sb := newSandbox(t, r, container.SandboxSpec{Volumes: []container.Volume{{Name: "v"}}})
		c := startContainer(t, sb, container.Spec{
			Mounts:   []container.Mount{{Volume: "v", Path: link}},
			Security: container.Security{ReadOnlyRoot: true},
		})
		sh(t, c, "echo x >/run/file")
		assert.NotZero(t, shell(t, c, "echo x >/file").code)
	})
}

// TestExecutableOfTheServer reaches for the program behind a process of the server's own.
func TestExecutableOfTheServer(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		before, err := os.Stat(selfExecutable)
		require.NoError(t, err)
		c := newContainer(t, r, container.Spec{})
		exe := sh(t, c, "echo $(dirname $(grep -l ^"+roleIdle+" /proc/[0-9]*/cmdline))/exe")
		shell(t, c, "chmod 711 "+exe+"; touch -d @1000000000 "+exe)
		after, err := os.Stat(selfExecutable)
		require.NoError(t, err)
		assert.Equal(t, before.Mode(), after.Mode())
		assert.Equal(t, before.ModTime(), after.ModTime())
		assert.NotZero(t, shell(t, c, "echo x >"+exe).code)
		shell(t, c, "chmod 0 "+exe)
		newContainer(t, r, container.Spec{}) // which still starts
	})
}

// TestDevicesAreTheHosts tries to change what is known of them to what it is already.
func TestDevicesAreTheHosts(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{})
		for _, name := range []string{"null", "zero", "full", "random", "urandom", "tty"} {
			assert.NotZero(t, shell(t, c, "chmod 666 /dev/"+name).code, name)
		}
		assert.Equal(t, "4", sh(t, c, "echo x >/dev/null && test -w /dev/null && head -c 4 /dev/zero | wc -c"))
	})
}
