package cwsandbox

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/tarstream"
)

// framed is a tree as UploadFS sends it.
func framed(t *testing.T, tree fstest.MapFS, marker string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := &frameWriter{w: &b}
	require.NoError(t, tarstream.Pack(w, tree, marker, tarstream.Options{}))
	require.NoError(t, w.Close())
	return b.Bytes()
}

// TestTreesArriveWithoutTheEndOfInput gives the script its input in pieces, and never the end.
func TestTreesArriveWithoutTheEndOfInput(t *testing.T) {
	coarse := t.TempDir() // a dd that cannot fill its blocks
	program, err := exec.LookPath("dd")
	require.NoError(t, err)
	refuse := "#!/bin/sh\ncase \"$*\" in *fullblock*) exit 1;; esac\nexec " + program + " \"$@\"\n"
	require.NoError(t, os.WriteFile(filepath.Join(coarse, "dd"), []byte(refuse), 0o755))
	all := append(images(t), image{"a dd without full blocks", []string{"/bin/sh"}, coarse + ":" + os.Getenv("PATH")})
	for _, i := range all {
		t.Run(i.name, func(t *testing.T) {
			for _, n := range []int{0, 1, frameBlock, frameSize - 2048, frameSize, frameSize + frameBlock + 77} {
				if n > frameBlock && i.path != os.Getenv("PATH") && i.name != "busybox" {
					continue // byte by byte
				}
				data := sample(n)
				testEndlessInput(t, i, framed(t, fstest.MapFS{"d/file": {Data: data, Mode: 0o644}}, "mark"), data)
			}
		})
	}
}

func testEndlessInput(t *testing.T, i image, input, want []byte) {
	dir := t.TempDir()
	cmd := exec.Command(i.shell[0], append(i.shell[1:], unpackTree.argv("./new", "mark")[1:]...)...)
	cmd.Dir, cmd.Env = dir, []string{"PATH=" + i.path, "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	from, to, err := os.Pipe()
	require.NoError(t, err)
	defer to.Close() // after the command has ended
	cmd.Stdin = from
	require.NoError(t, cmd.Start())
	require.NoError(t, from.Close())
	stuck := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
	defer stuck.Stop()
	for piece := range 1 << 20 {
		n := min(len(input), 1000+piece*17)
		if _, err := to.Write(input[:n]); err != nil || len(input) == n {
			break // a tar may end before the last zeros
		}
		input = input[n:]
	}
	require.NoError(t, cmd.Wait(), "%s", stderr.String())
	got, err := os.ReadFile(filepath.Join(dir, "new", "d", "file"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want, got), "%d of %d bytes", len(got), len(want))
	assert.NoFileExists(t, filepath.Join(dir, "new", "mark"))
}

func TestFrames(t *testing.T) {
	for _, n := range []int{0, 1, frameBlock, frameBlock + 1, frameSize, frameSize + 1, 3*frameSize - 1} {
		data := sample(n)
		var b bytes.Buffer
		w := &frameWriter{w: &b}
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{bytes.NewReader(data)}, make([]byte, 100_001))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		got := unframed(t, b.Bytes())
		require.GreaterOrEqual(t, len(got), n)
		assert.True(t, bytes.Equal(data, got[:n]), n)
		assert.Zero(t, len(got)%frameBlock)
		assert.Less(t, len(got)-n, frameBlock)
		assert.Empty(t, bytes.Trim(got[n:], "\x00"))
	}
	t.Run("a writer that fails", func(t *testing.T) {
		r, pipe := io.Pipe()
		r.CloseWithError(errBroken)
		w := &frameWriter{w: pipe}
		_, err := w.Write(make([]byte, frameSize))
		require.ErrorIs(t, err, errBroken)
		require.ErrorIs(t, w.Close(), errBroken)
	})
}
