//go:build linux || darwin

package cwsandbox_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// largeTests is the environment variable that adds what takes long: every size of file both ways, up to 300 MiB, and the
// memory that a transfer of 1 GiB takes.
const largeTests = "CWSANDBOX_TEST_LARGE"

// TestFileTransfers moves files through the public API, by the tools of this machine and by those of busybox.
func TestFileTransfers(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	t.Run("tools", func(t *testing.T) { transfers(t, w.run(t)) })
	t.Run("300 MiB", func(t *testing.T) { testLargerThanAnyPiece(t, w.run(t)) })
	t.Run("busybox", func(t *testing.T) { transfers(t, w.withBusybox(t)) })
}

// withBusybox makes a sandbox whose tools are those of busybox.
func (w world) withBusybox(t *testing.T) *cwsandbox.Sandbox {
	t.Helper()
	tools := "/tmp/cwsandbox-" + rand.Text()
	sb := w.run(t, cwsandbox.WithEnv("PATH", tools), cwsandbox.WithCommand("/bin/sleep", "1000"))
	script := `b=$(command -v busybox) && mkdir "$0" && for a; do ln -s "$b" "$0/$a"; done`
	applets := strings.Fields("cat chmod chown dd head mkdir mktemp mv readlink rm rmdir sh stat tar wc ln")
	res, err := sb.Exec(limited(t), append([]string{"/bin/sh", "-c", script, tools}, applets...),
		cwsandbox.WithEnv("PATH", "/usr/bin:/bin"))
	require.NoError(t, err)
	if res.ExitCode != 0 {
		t.Skipf("this machine has no busybox: %s", res.Stderr)
	}
	t.Cleanup(func() { assert.NoError(t, sb.RemoveAll(context.Background(), tools)) })
	return sb
}

func transfers(t *testing.T, sb *cwsandbox.Sandbox) {
	for _, part := range []struct {
		name string
		test func(*testing.T, *cwsandbox.Sandbox)
	}{
		{"content", testContent},
		{"permissions", testPermissions},
		{"names", testNames},
		{"trees", testTrees},
		{"a file system", testFS},
		{"open files", testOpenFiles},
		{"directories", testDirectories},
	} {
		t.Run(part.name, func(t *testing.T) {
			t.Parallel()
			part.test(t, sb)
		})
	}
}

// sizes are those around the limits of frames and of calls.
func sizes() []int {
	if os.Getenv(largeTests) == "" {
		return []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 32<<20 - 1, 32<<20 + 1}
	}
	return []int{0, 1, 64<<10 - 1, 64 << 10, 64<<10 + 1, 32<<20 - 1, 32 << 20, 32<<20 + 1, 300 << 20}
}

// contents are of the same size. Much of it is text only where there is time.
func contents(n int) map[string][]byte {
	all := map[string][]byte{"binary": random(n)}
	if n < 1<<20 || os.Getenv(largeTests) != "" {
		all["text"] = bytes.Repeat([]byte("lorem ipsum\r\n"), n/13+1)[:n]
	}
	return all
}

func testContent(t *testing.T, sb *cwsandbox.Sandbox) {
	dir := directory(t, sb)
	for _, n := range sizes() {
		ctx := limited(t)
		for kind, data := range contents(n) {
			path := fmt.Sprintf("%s/%s-%d", dir, kind, n)
			for _, r := range []io.Reader{bytes.NewReader(data), struct{ io.Reader }{bytes.NewReader(data)}} {
				got, err := sb.Upload(ctx, path, r)
				require.NoError(t, err)
				require.EqualValues(t, n, got)
				var back bytes.Buffer
				back.Grow(n)
				got, err = sb.Download(ctx, path, &back)
				require.NoError(t, err)
				require.EqualValues(t, n, got)
				require.True(t, bytes.Equal(data, back.Bytes()), "%s, %d bytes", kind, n)
			}
			if n <= 256<<20 {
				require.NoError(t, sb.WriteFile(ctx, path, data))
				back, err := sb.ReadFile(ctx, path)
				require.NoError(t, err)
				require.True(t, bytes.Equal(data, back), "%s, %d bytes in one piece", kind, n)
			} else {
				assert.ErrorIs(t, sb.WriteFile(ctx, path, data), cwsandbox.ErrFileTooLarge)
				_, err := sb.ReadFile(ctx, path)
				assert.ErrorIs(t, err, cwsandbox.ErrFileTooLarge)
			}
			require.NoError(t, sb.Remove(ctx, path))
		}
	}
	entries, err := sb.ReadDir(limited(t), dir)
	require.NoError(t, err)
	assert.Empty(t, entries, "temporary files are gone")
}

// testLargerThanAnyPiece moves what only a stream can carry, once each way.
func testLargerThanAnyPiece(t *testing.T, sb *cwsandbox.Sandbox) {
	switch {
	case raceDetector:
		t.Skip("takes a minute with the race detector")
	case testing.Short():
		t.Skip("takes some seconds: -short is set")
	}
	const size = 300 << 20
	content := func() io.Reader { return io.LimitReader(mathrand.NewChaCha8([32]byte{}), size) }
	path := directory(t, sb) + "/large"
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	n, err := sb.Upload(ctx, path, content(), cwsandbox.WithLength(size))
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	same := &comparing{with: content()}
	n, err = sb.Download(ctx, path, same)
	require.NoError(t, err)
	require.EqualValues(t, size, n)
	_, err = sb.ReadFile(ctx, path)
	assert.ErrorIs(t, err, cwsandbox.ErrFileTooLarge)
	require.NoError(t, sb.Remove(ctx, path))
}

// comparing takes only what a reader has, too.
type comparing struct {
	with io.Reader
	buf  []byte
}

func (c *comparing) Write(p []byte) (int, error) {
	c.buf = slices.Grow(c.buf[:0], len(p))[:len(p)]
	if _, err := io.ReadFull(c.with, c.buf); err != nil {
		return 0, err
	}
	if !bytes.Equal(p, c.buf) {
		return 0, errors.New("the content differs")
	}
	return len(p), nil
}

func testPermissions(t *testing.T, sb *cwsandbox.Sandbox) {
	dir, ctx := directory(t, sb), limited(t)
	mode := func(path string) fs.FileMode {
		info, err := sb.Stat(ctx, path)
		require.NoError(t, err)
		return info.Mode()
	}
	path := dir + "/a/b/file"
	_, err := sb.Upload(ctx, path, strings.NewReader("x"))
	assert.ErrorIs(t, err, fs.ErrNotExist)
	_, err = sb.Upload(ctx, path, strings.NewReader("x"), cwsandbox.WithParents(), cwsandbox.WithPerm(0o640))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o640), mode(path))
	require.NoError(t, sb.WriteFile(ctx, path, make([]byte, 32<<20+1)))
	assert.Equal(t, fs.FileMode(0o640), mode(path), "it stays beyond the limit of one call too")
	require.NoError(t, sb.WriteFile(ctx, path, nil, cwsandbox.WithPerm(0o751)))
	assert.Equal(t, fs.FileMode(0o751), mode(path))

	output(t, sb, `ln -s b/file "$1/a/link"`, dir)
	_, err = sb.Upload(ctx, dir+"/a/link", strings.NewReader("through the link"))
	require.NoError(t, err)
	data, err := sb.ReadFile(ctx, path)
	require.NoError(t, err)
	assert.Equal(t, "through the link", string(data))

	_, err = sb.Upload(ctx, dir+"/a", strings.NewReader("x"))
	assert.ErrorIs(t, err, cwsandbox.ErrIsDirectory)
	_, err = sb.Download(ctx, dir+"/a", io.Discard)
	assert.ErrorIs(t, err, cwsandbox.ErrIsDirectory)
	_, err = sb.Download(ctx, dir+"/missing", io.Discard)
	assert.ErrorIs(t, err, fs.ErrNotExist)
}

func testNames(t *testing.T, sb *cwsandbox.Sandbox) {
	dir, ctx := directory(t, sb), limited(t)
	names := []string{" ", "-rf", "$HOME", "new\nline\n", "quote'd\"", "umläut", "\xff\xfe"}
	for _, name := range names {
		path := dir + "/" + name
		require.NoError(t, sb.WriteFile(ctx, path, []byte(name)))
		data, err := sb.ReadFile(ctx, path)
		require.NoError(t, err)
		assert.Equal(t, name, string(data))
		_, err = sb.Upload(ctx, path, strings.NewReader("by stream"))
		require.NoError(t, err)
	}
	entries, err := sb.ReadDir(ctx, dir)
	require.NoError(t, err)
	var listed []string
	for _, e := range entries {
		listed = append(listed, e.Name())
	}
	assert.ElementsMatch(t, names, listed)
	assert.IsIncreasing(t, listed)
	require.NoError(t, sb.RemoveAll(ctx, dir))
}

// plant makes a tree on this machine.
func plant(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{
		"file": 0o640, "program": 0o755, "sub/deep/file": 0o600, "sub/" + strings.Repeat("long", 40): 0o644, "sub/blank and 'quote'": 0o644,
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o750))
		require.NoError(t, os.WriteFile(path, []byte("content of "+name), 0o600))
		require.NoError(t, os.Chmod(path, mode))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "large"), random(1<<20), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o700))
	require.NoError(t, os.Symlink("sub/deep", filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("../../file", filepath.Join(dir, "sub/deep/up")))
	return dir
}

func testTrees(t *testing.T, sb *cwsandbox.Sandbox) {
	source, target, ctx := plant(t), directory(t, sb)+"/made/here", limited(t)
	var moved int64
	require.NoError(t, sb.UploadFS(ctx, target, os.DirFS(source), cwsandbox.WithProgress(func(n int64) { moved = n })))
	assert.Greater(t, moved, int64(1<<20))
	assert.Equal(t, "content of file", output(t, sb, `cat "$1/link/up"`, target))
	entries, err := sb.ReadDir(ctx, target)
	require.NoError(t, err)
	assert.Len(t, entries, 6, "and no marker")

	local := filepath.Join(t.TempDir(), "made", "here")
	require.NoError(t, sb.DownloadDir(ctx, target, local))
	sameTree(t, source, local)
	require.NoError(t, sb.DownloadDir(ctx, target, local), "onto what is there")
	sameTree(t, source, local)

	filtered := t.TempDir()
	noSub := cwsandbox.WithFilter(func(path string, d fs.DirEntry) bool { return path != "sub" && path != "link" })
	require.NoError(t, sb.DownloadDir(ctx, target, filtered, noSub))
	assert.NoDirExists(t, filepath.Join(filtered, "sub"))
	assert.FileExists(t, filepath.Join(filtered, "large"))
	require.NoError(t, sb.UploadFS(ctx, target+"/filtered", os.DirFS(source), noSub))
	_, err = sb.Stat(ctx, target+"/filtered/sub")
	assert.ErrorIs(t, err, fs.ErrNotExist)

	output(t, sb, `ln -s /etc/passwd "$1/out"`, target)
	err = sb.DownloadDir(ctx, target, t.TempDir())
	assert.ErrorIs(t, err, cwsandbox.ErrFile)
	assert.ErrorContains(t, err, "out is a link that leads outside")
	assert.ErrorIs(t, sb.DownloadDir(ctx, target+"/missing", t.TempDir()), fs.ErrNotExist)

	broken := fstest.MapFS{"socket": &fstest.MapFile{Mode: fs.ModeSocket}}
	assert.ErrorContains(t, sb.UploadFS(ctx, target, broken), "socket is no file, directory or link")
	require.NoError(t, sb.UploadFS(ctx, target+"/none", fstest.MapFS{}))
	entries, err = sb.ReadDir(ctx, target+"/none")
	require.NoError(t, err)
	assert.Empty(t, entries)
}

// sameTree compares names, modes, times, links and contents.
func sameTree(t *testing.T, want, got string) {
	t.Helper()
	assert.Equal(t, describe(t, want), describe(t, got))
}

func describe(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.Mode().String()
		switch info.Mode().Type() {
		case 0:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %d %x", info.ModTime().Unix(), data)
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			text += " to " + target
		}
		name, err := filepath.Rel(dir, path)
		all[name] = text
		return err
	})
	require.NoError(t, err)
	return all
}

func testFS(t *testing.T, sb *cwsandbox.Sandbox) {
	dir, ctx := directory(t, sb), limited(t)
	require.NoError(t, sb.UploadFS(ctx, dir, fstest.MapFS{
		"file":          &fstest.MapFile{Data: []byte("hello"), Mode: 0o640},
		"sub/other":     &fstest.MapFile{Data: []byte("more")},
		"sub/deep/none": &fstest.MapFile{},
	}))
	output(t, sb, `ln -s file "$1/link"`, dir)
	fsys := sb.FS(ctx, dir)
	require.NoError(t, fstest.TestFS(fsys, "file", "link", "sub/other", "sub/deep/none"))

	target, err := fs.ReadLink(fsys, "link")
	require.NoError(t, err)
	assert.Equal(t, "file", target)
	output(t, sb, `ln -s nowhere "$1/dangling"`, dir)
	_, err = fs.Stat(fsys, "dangling")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	info, err := fs.Lstat(fsys, "dangling")
	require.NoError(t, err)
	assert.Equal(t, fs.ModeSymlink, info.Mode().Type())
	_, err = fsys.Open("missing")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	var pathError *fs.PathError
	require.ErrorAs(t, err, &pathError)
	assert.Equal(t, "missing", pathError.Path)
	_, err = fs.ReadFile(fsys, "sub")
	assert.ErrorIs(t, err, cwsandbox.ErrIsDirectory)
	_, err = fs.Stat(sb.FS(ctx, dir, cwsandbox.WithInPlace()), ".")
	assert.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
}

func testOpenFiles(t *testing.T, sb *cwsandbox.Sandbox) {
	dir := directory(t, sb)
	data := random(3 << 20)
	require.NoError(t, sb.WriteFile(limited(t), dir+"/large", data))
	ctx, cancel := context.WithCancel(limited(t))
	defer cancel()
	fsys := sb.FS(ctx, dir)
	open := func() fs.File {
		f, err := fsys.Open("large")
		require.NoError(t, err)
		return f
	}
	f := open()
	assert.NoError(t, iotest.TestReader(f, data))
	require.NoError(t, f.Close())
	assert.ErrorIs(t, f.Close(), fs.ErrClosed)
	_, err := f.Read(make([]byte, 1))
	assert.ErrorIs(t, err, fs.ErrClosed)

	f = open() // left in the middle
	_, err = io.ReadFull(f, make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, f.Close())

	f = open()
	_, err = io.ReadFull(f, make([]byte, 100))
	require.NoError(t, err)
	cancel()
	_, err = io.Copy(io.Discard, f)
	assert.ErrorIs(t, err, context.Canceled)
	require.NoError(t, f.Close())
	_, err = fsys.Open("large")
	assert.ErrorIs(t, err, context.Canceled)
}

func testDirectories(t *testing.T, sb *cwsandbox.Sandbox) {
	dir, ctx := directory(t, sb), limited(t)
	require.NoError(t, sb.MkdirAll(ctx, dir+"/a/b", cwsandbox.WithPerm(0o711)))
	info, err := sb.Stat(ctx, dir+"/a/b")
	require.NoError(t, err)
	assert.Equal(t, "b", info.Name())
	assert.Equal(t, fs.ModeDir|0o711, info.Mode())
	require.NoError(t, sb.MkdirAll(ctx, dir+"/a/b"))
	require.NoError(t, sb.WriteFile(ctx, dir+"/a/file", []byte("x")))
	assert.ErrorIs(t, sb.MkdirAll(ctx, dir+"/a/file"), fs.ErrExist)
	assert.ErrorIs(t, sb.Remove(ctx, dir+"/a"), cwsandbox.ErrFile, "it is not empty")
	require.NoError(t, sb.Remove(ctx, dir+"/a/b"))
	require.NoError(t, sb.Remove(ctx, dir+"/a/file"))
	assert.ErrorIs(t, sb.Remove(ctx, dir+"/a/file"), fs.ErrNotExist)
	require.NoError(t, sb.WriteFile(ctx, dir+"/a/file", []byte("x")))
	require.NoError(t, sb.RemoveAll(ctx, dir+"/a"))
	require.NoError(t, sb.RemoveAll(ctx, dir+"/a"))
	_, err = sb.ReadDir(ctx, dir+"/a")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	info, err = sb.Stat(ctx, "/")
	require.NoError(t, err)
	assert.True(t, info.IsDir())
}

func TestAnImageWithoutTools(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	sb := w.run(t, cwsandbox.WithEnv("PATH", "/cwsandbox-nothing"), cwsandbox.WithCommand("/bin/sleep", "1000"))
	_, err := sb.Upload(limited(t), "/tmp/file", strings.NewReader("x"))
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorIs(t, err, cwsandbox.ErrFile)
	assert.ErrorContains(t, err, "the image lacks cat, chmod, head, mkdir, mv, readlink, rm, stat")
	assert.ErrorContains(t, sb.DownloadDir(limited(t), "/tmp", t.TempDir()), "the image lacks stat, tar")
}
