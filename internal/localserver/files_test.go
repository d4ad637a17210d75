package localserver

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func (w *world) writeFile(id, path string, content []byte) error {
	_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: path, Content: content})
	return err
}

func (w *world) readFile(id, path string) ([]byte, error) {
	resp, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: path})
	return resp.GetContent(), err
}

// fileRefused is the refusal of a file operation, for a reason without its prefix.
func fileRefused(reason string) refused {
	r := refused{code: codes.Internal, reason: "CWSANDBOX_FILE_" + reason}
	if reason == "TOO_LARGE" {
		r.code = codes.FailedPrecondition
	}
	return r
}

func TestFiles(t *testing.T) {
	t.Run("C-136", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			for _, size := range []int{0, 1, 9 << 20, 32 << 20} {
				content := bytes.Repeat([]byte{7}, size)
				require.NoError(t, w.writeFile(id, "/data/f", content))
				got, err := w.readFile(id, "/data/f")
				require.NoError(t, err)
				assert.True(t, bytes.Equal(content, got), "%d bytes", size)
			}
		})
	})
	tooLarge := func(w *world, err error, operation, size, limit string) {
		w.Helper()
		w.requireRefused(fileRefused("TOO_LARGE"), err)
		assert.Equal(w, map[string]string{
			"filepath": "/f", "operation": operation, "size_bytes": size, "max_size_bytes": limit,
		}, w.info(err).GetMetadata())
		assert.Contains(w, err.Error(), "max-file-operation-bytes")
	}
	t.Run("C-137", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			tooLarge(w, w.writeFile(id, "/f", make([]byte, 32<<20+1)), "write", "33554433", "33554432")
			_, err := w.readFile(id, "/f")
			w.requireRefused(fileRefused("NOT_FOUND"), err)
		})
	})
	t.Run("C-139", func(t *testing.T) {
		inWorld(t, Options{MaxFileBytes: 1_000_000}, func(w *world) {
			id := w.run(mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/f", Content: make([]byte, 1_000_001)}} }))
			_, err := w.readFile(id, "/f")
			tooLarge(w, err, "read", "1000001", "1000000")
		})
	})
	t.Run("C-140", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			_, err := w.readFile(id, "//none/../none")
			w.requireRefused(fileRefused("NOT_FOUND"), err)
			assert.Equal(t, map[string]string{"filepath": "//none/../none", "operation": "read"}, w.info(err).GetMetadata())
			for _, path := range []string{"/tmp", "/tmp/", "/none/"} {
				_, err = w.readFile(id, path)
				w.requireRefused(fileRefused("IS_DIRECTORY"), err)
				w.requireRefused(fileRefused("IS_DIRECTORY"), w.writeFile(id, path, nil))
			}
		})
	})
	t.Run("C-141", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(mainContainer(func(c *ctnr) { c.Files = []*sandboxv1.FileMount{{Path: "/m", Content: []byte("mounted")}} }))
			w.requireRefused(fileRefused("PERMISSION_DENIED"), w.writeFile(id, "/m", nil))
			got, err := w.readFile(id, "/m")
			require.NoError(t, err)
			assert.Equal(t, "mounted", string(got))
		})
	})
	t.Run("C-142", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			require.NoError(t, w.writeFile(id, "/f", nil))
			w.requireRefused(fileRefused("IO_FAILED"), w.writeFile(id, "/f/below", nil))
		})
	})
	t.Run("parents", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(mainContainer(func(c *ctnr) { c.WorkingDir = "/srv/job" }))
			require.NoError(t, w.writeFile(id, "a/b/c", []byte("x")))
			got, err := w.readFile(id, "/srv/job/a/b/c")
			require.NoError(t, err)
			assert.Equal(t, "x", string(got))
		})
		inWorld(t, Options{StrictParents: true}, func(w *world) {
			id := w.run()
			w.requireRefused(fileRefused("NOT_FOUND"), w.writeFile(id, "/a/b", nil))
			require.NoError(t, w.writeFile(id, "/tmp/b", nil))
		})
	})
	t.Run("C-144", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := w.readFile("sb-unknown", "/f")
			for _, err := range []error{err, w.writeFile("sb-unknown", "/f", nil)} {
				w.requireRefused(isGone, err)
				assert.Equal(t, map[string]string{"sandbox_id": "sb-unknown"}, w.info(err).GetMetadata())
			}
		})
	})
	t.Run("C-145", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			var all sync.WaitGroup
			for i := range 32 {
				content := bytes.Repeat([]byte{byte(i)}, 100_000)
				all.Go(func() {
					assert.NoError(t, w.writeFile(id, fmt.Sprint("/own/", i), content))
					assert.NoError(t, w.writeFile(id, "/shared", content))
					got, err := w.readFile(id, fmt.Sprint("/own/", i))
					assert.NoError(t, err)
					assert.True(t, bytes.Equal(content, got))
				})
			}
			all.Wait()
			got, err := w.readFile(id, "/shared")
			require.NoError(t, err)
			assert.Equal(t, strings.Repeat(string(got[:1]), 100_000), string(got))
		})
	})
	t.Run("a restart brings fresh files", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.create(command("sh", "-c", "sleep 1; exit 1")).GetSandboxId()
			synctest.Wait()
			require.NoError(t, w.writeFile(id, "/f", nil))
			w.exec(id, "sleep", "2") // is killed by the restart
			synctest.Wait()          // which is over
			_, err := w.readFile(id, "/f")
			w.requireRefused(fileRefused("NOT_FOUND"), err)
			w.delete(id, 0)
		})
	})
}

func TestPathLocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var locks pathLocks
		unlock, ok := locks.lock(t.Context(), "/a")
		require.True(t, ok)
		other, ok := locks.lock(t.Context(), "/b")
		require.True(t, ok, "another path is free")
		other()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, ok = locks.lock(ctx, "/a")
		assert.False(t, ok)
		got := make(chan func())
		go func() {
			unlock, _ := locks.lock(t.Context(), "/a")
			got <- unlock
		}()
		synctest.Wait()
		unlock()
		(<-got)()
		assert.Empty(t, locks.byPath)
	})
}
