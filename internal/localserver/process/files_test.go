//go:build linux || darwin

package process

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

const fileLimit = 32 << 20

func TestFiles(t *testing.T) {
	eachLevel(t, func(t *testing.T, r *Runtime) {
		// Relative paths work on every level; the plain one has no absolute paths of its own.
		c := newContainer(t, r, container.Spec{WorkingDir: "/workspace"})
		ctx := t.Context()
		t.Run("C-136", func(t *testing.T) {
			for _, size := range []int{0, 1, 9 << 20, fileLimit} {
				content := make([]byte, size)
				_, _ = rand.Read(content)
				require.NoError(t, c.WriteFile(ctx, "some", content, false))
				got, err := c.ReadFile(ctx, "some", fileLimit)
				require.NoError(t, err)
				assert.True(t, bytes.Equal(content, got), "%d bytes", size)
				assert.Equal(t, fmt.Sprint(size), strings.TrimSpace(sh(t, c, "wc -c <some")))
			}
		})
		t.Run("C-138", func(t *testing.T) {
			require.NoError(t, c.WriteFile(ctx, "large", make([]byte, 1001), false))
			_, err := c.ReadFile(ctx, "large", 1000)
			refused := requireFileError(t, err, container.FileTooLarge)
			assert.EqualValues(t, 1001, refused.Size)
			_, err = c.ReadFile(ctx, "large", 1001)
			assert.NoError(t, err)
		})
		t.Run("C-140", func(t *testing.T) {
			sh(t, c, "mkdir dir; touch file; ln -s nowhere dangling")
			for name, kind := range map[string]container.FileErrorKind{
				"missing": container.FileNotFound, "missing/too": container.FileNotFound, "dangling": container.FileNotFound,
				"dir": container.FileIsDirectory, "file/": container.FileIsDirectory, "dir/": container.FileIsDirectory,
			} {
				_, err := c.ReadFile(ctx, name, fileLimit)
				requireFileError(t, err, kind, name)
			}
			requireFileError(t, c.WriteFile(ctx, "dir", nil, false), container.FileIsDirectory)
			requireFileError(t, c.WriteFile(ctx, "new/", nil, false), container.FileIsDirectory)
			requireFileError(t, c.WriteFile(ctx, "none/file", nil, true), container.FileNotFound)
		})
		t.Run("C-142", func(t *testing.T) {
			sh(t, c, "mkfifo fifo; touch plain; ln -s loop loop")
			for _, name := range []string{"fifo", "plain/below", "loop", strings.Repeat("n", 300)} {
				_, err := c.ReadFile(ctx, name, fileLimit)
				requireFileError(t, err, container.FileIO, "read "+name)
				requireFileError(t, c.WriteFile(ctx, name, []byte("x"), false), container.FileIO, "write "+name)
			}
			p, err := c.Exec(ctx, container.ProcessSpec{Argv: []string{"sh", "-c", "exec 3<>fifo; echo open; cat"}, Stdin: true})
			require.NoError(t, err)
			readUntil(t, p.Stdout(), "open")
			_, err = c.ReadFile(ctx, "fifo", fileLimit)
			requireFileError(t, err, container.FileIO, "a FIFO with a peer")
			requireFileError(t, c.WriteFile(ctx, "fifo", []byte("x"), false), container.FileIO)
			require.NoError(t, p.Stdin().Close())
			finish(t, p)
		})
		t.Run("C-143", func(t *testing.T) {
			require.NoError(t, c.WriteFile(ctx, "a/b/c", []byte("1"), false))
			assert.Equal(t, "-rw-r--r--", sh(t, c, "ls -l a/b/c | cut -c1-10"))
			assert.Equal(t, "drwxr-xr-x", sh(t, c, "ls -ld a/b | cut -c1-10"))
			before := sh(t, c, "chmod 751 a/b/c; ls -i a/b/c")
			require.NoError(t, c.WriteFile(ctx, "a/b/c", []byte("22"), true))
			assert.Equal(t, before, sh(t, c, "ls -i a/b/c"))
			assert.Equal(t, "-rwxr-x--x", sh(t, c, "ls -l a/b/c | cut -c1-10"))
			assert.Equal(t, "22", sh(t, c, "cat a/b/c"))
		})
		t.Run("C-145", func(t *testing.T) { testParallelWrites(t, c) })
		t.Run("C-148", func(t *testing.T) { testFallbackCommands(t, c) })
	})
}

func requireFileError(t *testing.T, err error, kind container.FileErrorKind, about ...any) *container.FileError {
	t.Helper()
	var refused *container.FileError
	require.ErrorAs(t, err, &refused, about...)
	require.Equal(t, kind, refused.Kind, "%v: %v", about, err)
	return refused
}

func testParallelWrites(t *testing.T, c container.Container) {
	parallel(t, 32, func(i int) error {
		name, content := fmt.Sprint("own-", i), bytes.Repeat([]byte{byte(i)}, 1<<16)
		if err := c.WriteFile(context.Background(), name, content, false); err != nil {
			return err
		}
		got, err := c.ReadFile(context.Background(), name, fileLimit)
		if err == nil && !bytes.Equal(got, content) {
			err = fmt.Errorf("%s has another content", name)
		}
		return err
	})
	parallel(t, 32, func(i int) error {
		return c.WriteFile(context.Background(), "same", bytes.Repeat([]byte{byte(i)}, 1<<16+i), false)
	})
	got, err := c.ReadFile(context.Background(), "same", fileLimit)
	require.NoError(t, err)
	assert.Equal(t, bytes.Repeat(got[:1], 1<<16+int(got[0])), got)
}

// testFallbackCommands moves a file with the commands that clients use for what is too large for one call.
func testFallbackCommands(t *testing.T, c container.Container) {
	content := make([]byte, 45<<20)
	_, _ = rand.Read(content)
	p, err := c.Exec(t.Context(), container.ProcessSpec{
		Argv: []string{"/bin/sh", "-c", fmt.Sprintf(
			`head -c %d >t.part && test "$(wc -c <t.part)" -eq %d && mv t.part t`, len(content), len(content))},
		Stdin: true,
	})
	require.NoError(t, err)
	_, err = p.Stdin().Write(content)
	require.NoError(t, err)
	assert.Equal(t, result{}, finish(t, p))

	p, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"cat", "t"}})
	require.NoError(t, err)
	got, err := io.ReadAll(p.Stdout())
	require.NoError(t, err)
	awaitDone(t, p)
	assert.True(t, bytes.Equal(content, got))
}

func TestFilesOfWalledLevels(t *testing.T) {
	eachWalledLevel(t, func(t *testing.T, r *Runtime) {
		c := newContainer(t, r, container.Spec{
			WorkingDir: "/workspace",
			Files:      []container.File{{Path: "/etc/app/config", Content: []byte("given")}},
		})
		ctx := t.Context()
		t.Run("C-141", func(t *testing.T) {
			requireFileError(t, c.WriteFile(ctx, "/etc/app/config", []byte("changed"), false), container.FilePermission)
			requireFileError(t, c.WriteFile(ctx, "/proc/sys/kernel/hostname", []byte("x"), false), container.FilePermission)
			got, err := c.ReadFile(ctx, "/etc/app/config", fileLimit)
			require.NoError(t, err)
			assert.Equal(t, "given", string(got))
		})
		t.Run("C-142", func(t *testing.T) {
			for _, name := range []string{"/dev/null", "/dev/zero", "/dev/ptmx"} {
				_, err := c.ReadFile(ctx, name, fileLimit)
				requireFileError(t, err, container.FileIO, name)
			}
		})
		t.Run("C-146", func(t *testing.T) {
			got, err := c.ReadFile(ctx, "/proc/self/status", fileLimit)
			require.NoError(t, err)
			assert.Contains(t, string(got), "Pid:\t1\n")
			_, err = c.ReadFile(ctx, "/proc/self/status", 10)
			assert.EqualValues(t, -1, requireFileError(t, err, container.FileTooLarge).Size)
		})
		t.Run("C-147", func(t *testing.T) {
			before, err := os.ReadFile("/etc/passwd")
			require.NoError(t, err)
			sh(t, c, "ln -s /etc/passwd link; ln -s ../../../../../../etc/passwd far")
			for _, name := range []string{"link", "far"} {
				// Without a right to the file inside there is nothing to write, which is as well.
				if err := c.WriteFile(ctx, name, []byte("changed"), false); err != nil {
					requireFileError(t, err, container.FilePermission)
				}
			}
			after, err := os.ReadFile("/etc/passwd")
			require.NoError(t, err)
			assert.Equal(t, before, after)
		})
	})
}

func TestPlainKeepsFilesInside(t *testing.T) {
	c := newContainer(t, newRuntime(t, Options{Isolation: Plain}), container.Spec{})
	sh(t, c, "ln -s /etc/passwd link")
	for _, name := range []string{"/etc/passwd", "link", strings.Repeat("../", 30) + "etc/passwd"} {
		_, err := c.ReadFile(t.Context(), name, fileLimit)
		requireFileError(t, err, container.FilePermission, name)
	}
	requireFileError(t, c.WriteFile(t.Context(), "/etc/cwsandbox-test", nil, false), container.FilePermission)
	shared := os.TempDir() + "/" + t.Name()
	require.NoError(t, c.WriteFile(t.Context(), shared, []byte("x"), false))
	assert.FileExists(t, shared)
	require.NoError(t, os.Remove(shared))
}
