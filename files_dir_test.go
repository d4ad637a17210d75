package cwsandbox

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/tarstream"
)

// treeArchive is what a sandbox would send of a tree.
func treeArchive(t *testing.T, tree fstest.MapFS) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, tarstream.Pack(&b, tree, "last", tarstream.Options{}))
	return b.Bytes()
}

// printing answers a command with output, and with what end says.
func printing(output []byte, end func(d *dialog) error) func(d *dialog) error {
	return func(d *dialog) error {
		for len(output) > 0 {
			n := min(len(output), 1000)
			if err := d.out(string(output[:n])); err != nil {
				return err
			}
			output = output[n:]
		}
		return end(d)
	}
}

func TestDownloadDir(t *testing.T) {
	tree := fstest.MapFS{"d/file": {Data: sample(5000), Mode: 0o644}, "other": {Data: sample(300), Mode: 0o644}}
	well := func(d *dialog) error { return d.exit(0) }

	story(t, "a tree", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = printing(treeArchive(t, tree), well)
		local := filepath.Join(t.TempDir(), "made")
		require.NoError(t, sb.DownloadDir(t.Context(), "/d", local))
		assert.NoError(t, fstest.TestFS(os.DirFS(local), "d/file", "other", "last"))
		assert.Zero(t, sb.Stats())
	})

	story(t, "a cut anywhere is an error", func(t *testing.T, s *script, sb *Sandbox) {
		whole := treeArchive(t, tree)
		for cut := 0; cut < len(whole); cut += 509 {
			s.exec = printing(whole[:cut], func(*dialog) error { return status.Error(codes.Unavailable, "cut") })
			all(t, sb.DownloadDir(t.Context(), "/d", t.TempDir()), ErrUnavailable)
			s.exec = printing(whole[:cut], well)
			all(t, sb.DownloadDir(t.Context(), "/d", t.TempDir()), ErrTruncated, ErrFile)
		}
	})

	story(t, "a tool that fails after the archive", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = printing(treeArchive(t, tree), func(d *dialog) error {
			d.err("tar: ./x: Cannot open: Permission denied\ntar: Exiting with failure status due to previous errors\n")
			return d.exit(2)
		})
		err := sb.DownloadDir(t.Context(), "/d", t.TempDir())
		all(t, err, ErrFilePermission, fs.ErrPermission)
		assert.ErrorContains(t, err, "./x: Cannot open")
	})

	story(t, "what cannot be unpacked ends the command", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = printing(treeArchive(t, fstest.MapFS{"out": {Mode: fs.ModeSymlink, Data: []byte("/etc")}}), func(d *dialog) error {
			return d.hang()
		})
		err := sb.DownloadDir(t.Context(), "/d", t.TempDir())
		all(t, err, ErrFile)
		assert.ErrorContains(t, err, "out is a link that leads outside")
		none(t, err, errUnpacked)
	})

	story(t, "a context that ends", func(t *testing.T, s *script, sb *Sandbox) {
		ctx, cancel := context.WithCancel(t.Context())
		s.exec = printing(nil, func(d *dialog) error {
			cancel()
			return d.hang()
		})
		all(t, sb.DownloadDir(ctx, "/d", t.TempDir()), context.Canceled)
	})
}

// brokenFS is a file system that cannot be read to the end.
type brokenFS struct{ fstest.MapFS }

func (b brokenFS) Open(name string) (fs.File, error) {
	if name == "other" {
		return nil, errBroken
	}
	return b.MapFS.Open(name)
}

// unframed takes frames apart, up to the end that they must have.
func unframed(t *testing.T, frames []byte) []byte {
	t.Helper()
	var whole []byte
	for {
		line, rest, found := bytes.Cut(frames, []byte("\n"))
		blocks, err := strconv.Atoi(string(line))
		require.True(t, found && err == nil, "%q", line)
		if blocks == 0 {
			require.Empty(t, rest)
			return whole
		}
		require.GreaterOrEqual(t, len(rest), blocks*frameBlock)
		whole, frames = append(whole, rest[:blocks*frameBlock]...), rest[blocks*frameBlock:]
	}
}

func TestUploadFS(t *testing.T) {
	tree := fstest.MapFS{"d/file": {Data: sample(200_000), Mode: 0o644}, "other": {Data: sample(300), Mode: 0o644}}

	story(t, "a tree", func(t *testing.T, s *script, sb *Sandbox) {
		local, err := os.OpenRoot(t.TempDir())
		require.NoError(t, err)
		defer local.Close()
		s.exec = func(d *dialog) error {
			require.NoError(t, d.ready())
			got, err := d.input()
			assert.NoError(t, err)
			assert.NoError(t, tarstream.Unpack(bytes.NewReader(unframed(t, got.data)), local, tarstream.Options{}))
			assert.NoError(t, local.Remove(d.init.GetCommand()[5]), "the marker is last")
			return d.exit(0)
		}
		require.NoError(t, sb.UploadFS(t.Context(), "/d", tree))
		assert.NoError(t, fstest.TestFS(local.FS(), "d/file", "other"))
	})

	story(t, "a source that fails", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			_, err := d.input()
			return err
		}
		err := sb.UploadFS(t.Context(), "/d", brokenFS{tree})
		all(t, err, errBroken)
		assert.ErrorContains(t, err, "read the content")
	})

	story(t, "the end gets lost", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			d.input()
			return d.exit(exitShort)
		}
		all(t, sb.UploadFS(t.Context(), "/d", tree), ErrTruncated, ErrFile)
	})

	story(t, "a tool that takes nothing", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			d.err(" tar\n")
			return d.exit(exitNoTools)
		}
		assert.ErrorContains(t, sb.UploadFS(t.Context(), "/d", tree), "the image lacks tar")
	})

	story(t, "a cut", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			_, err := d.stream.Recv()
			assert.NotEqual(t, io.EOF, err)
			return status.Error(codes.Unavailable, "cut")
		}
		all(t, sb.UploadFS(t.Context(), "/d", tree), ErrUnavailable)
		assert.EqualValues(t, 1, s.execs.Load())
	})
}
