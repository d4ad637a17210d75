package tarstream

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// archive makes a tar stream. What is no regular file has no content.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, h.Name)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func file(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
func dir(name string) tar.Header  { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
func symlink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target}
}
func hardLink(name, target string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}
}

// cage is a directory to unpack into, beside a file that nobody may touch.
type cage struct {
	outside string
	root    *os.Root
}

func newCage(t testing.TB) cage {
	t.Helper()
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o600))
	require.NoError(t, os.Mkdir(filepath.Join(outside, "inside"), 0o700))
	root, err := os.OpenRoot(filepath.Join(outside, "inside"))
	require.NoError(t, err)
	t.Cleanup(func() { root.Close() })
	return cage{outside, root}
}

// check expects that nothing outside has changed, and that nothing inside leads out.
func (c cage) check(t testing.TB) {
	t.Helper()
	entries, err := os.ReadDir(c.outside)
	require.NoError(t, err)
	require.Len(t, entries, 2)
	data, err := os.ReadFile(filepath.Join(c.outside, "canary"))
	require.NoError(t, err)
	require.Equal(t, "alive", string(data))
	inside, err := filepath.EvalSymlinks(filepath.Join(c.outside, "inside"))
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(inside, func(path string, d fs.DirEntry, err error) error {
		require.NoError(t, err)
		require.Contains(t, []fs.FileMode{0, fs.ModeDir, fs.ModeSymlink}, d.Type())
		if real, err := filepath.EvalSymlinks(path); err == nil {
			require.True(t, real == inside || strings.HasPrefix(real, inside+string(filepath.Separator)), "%s leads to %s", path, real)
		}
		return nil
	}))
}

func TestNothingLeadsOut(t *testing.T) {
	for name, headers := range map[string][]tar.Header{
		"a name with steps up":             {file("../canary")},
		"steps up in the middle":           {file("a/../../canary")},
		"an absolute name":                 {file("/canary")},
		"a link up":                        {symlink("a", "..")},
		"a link to the file":               {symlink("a", "../canary")},
		"an absolute link":                 {symlink("a", "/etc/passwd")},
		"an empty link":                    {symlink("a", "")},
		"steps up after a name":            {dir("d/"), symlink("d/up", ".."), symlink("a", "d/up/../canary")},
		"through a link, at once":          {symlink("a", "."), file("a/b")},
		"through a link, later":            {dir("d/"), symlink("d/l", ".."), symlink("d/l/out", "../canary")},
		"more steps than directories":      {dir("d/"), symlink("d/l", "../../canary")},
		"a hard link to the file":          {hardLink("a", "../canary")},
		"a hard link to an absolute":       {hardLink("a", "/etc/passwd")},
		"a hard link through a link":       {symlink("a", "."), hardLink("b", "a/c")},
		"a hard link to itself":            {file("a"), hardLink("a", "a")},
		"a hard link to what is not there": {hardLink("a", "b")},
		"a device":                         {{Typeflag: tar.TypeChar, Name: "a"}},
		"a pipe":                           {{Typeflag: tar.TypeFifo, Name: "a"}},
		"a file over a directory":          {dir("a/"), file("a")},
		"a directory over a file":          {file("a"), dir("a/")},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCage(t)
			assert.Error(t, Unpack(bytes.NewReader(archive(t, headers...)), c.root, Options{}))
			c.check(t)
		})
	}
}

func TestWhatIsThereIsNotWrittenThrough(t *testing.T) {
	c := newCage(t)
	inside := filepath.Join(c.outside, "inside")
	require.NoError(t, os.Symlink("../canary", filepath.Join(inside, "link")))
	require.NoError(t, os.Symlink("..", filepath.Join(inside, "up")))
	require.NoError(t, Unpack(bytes.NewReader(archive(t, file("link"))), c.root, Options{}))
	assert.Error(t, Unpack(bytes.NewReader(archive(t, file("up/canary"))), c.root, Options{}))
	require.NoError(t, os.Remove(filepath.Join(inside, "up")))
	c.check(t)
	data, err := os.ReadFile(filepath.Join(inside, "link"))
	require.NoError(t, err)
	assert.Equal(t, "link", string(data))
}

func TestLinks(t *testing.T) {
	c := newCage(t)
	stream := archive(t, symlink("first", "d/file"), dir("d/"), file("d/file"), symlink("d/e/up", "../../first"),
		symlink("here", "."), hardLink("second", "d/file"))
	for range 2 { // again onto what is there
		require.NoError(t, Unpack(bytes.NewReader(stream), c.root, Options{}))
	}
	c.check(t)
	for _, name := range []string{"first", "d/e/up", "second", "here/second"} {
		data, err := os.ReadFile(filepath.Join(c.outside, "inside", name))
		require.NoError(t, err)
		assert.Equal(t, "d/file", string(data))
	}
}

// TestEndlessNames is about what has to be remembered until the end of the stream: the sandbox could send it without end.
func TestEndlessNames(t *testing.T) {
	filtered := Options{Keep: func(name string, _ fs.DirEntry) bool { return name != "left-out" }}
	for name, entry := range map[string]tar.Header{"a link": symlink("link", "target"), "a directory": dir("left-out")} {
		for room, refused := range map[int]bool{0: true, 7: true, 10: false} {
			in := &ending{r: bytes.NewReader(archive(t, entry))}
			u := unpacker{
				tar: tar.NewReader(in), in: in, root: newCage(t).root, options: filtered,
				skipped: make(map[string]bool), held: maxHeld - room,
			}
			err := u.entries()
			if refused {
				assert.ErrorContains(t, err, "more links", name)
			} else {
				assert.NoError(t, err, name)
			}
		}
	}
}

func TestCutAnywhere(t *testing.T) {
	whole := archive(t, dir("d/"), file("d/file"), file("other"), symlink("link", "other"), file(strings.Repeat("n", 200)))
	for n := range whole {
		if n%64 != 0 && n%512 != 511 { // one in 64 says as much
			continue
		}
		c := newCage(t)
		err := Unpack(bytes.NewReader(whole[:n]), c.root, Options{})
		assert.ErrorIs(t, err, ErrCut, "after %d bytes", n)
		entries, err := os.ReadDir(filepath.Join(c.outside, "inside"))
		require.NoError(t, err)
		for _, e := range entries {
			if e.Type().IsRegular() {
				data, err := os.ReadFile(filepath.Join(c.outside, "inside", e.Name()))
				require.NoError(t, err)
				assert.Equal(t, e.Name(), string(data), "no part of a file stays")
			}
		}
	}
	errBroken := errors.New("broken")
	err := Unpack(io.MultiReader(bytes.NewReader(whole), iotest.ErrReader(errBroken)), newCage(t).root, Options{})
	assert.ErrorIs(t, err, errBroken, "what comes after the archive counts")
	for _, r := range []io.Reader{iotest.OneByteReader(bytes.NewReader(whole)), iotest.DataErrReader(bytes.NewReader(whole))} {
		assert.NoError(t, Unpack(r, newCage(t).root, Options{}))
	}
}

func TestFilter(t *testing.T) {
	stream := archive(t, dir("./"), dir("./skip/"), file("./skip/file"), file("./keep"), file("skip/late"))
	var asked []string
	c := newCage(t)
	require.NoError(t, Unpack(bytes.NewReader(stream), c.root, Options{Keep: func(path string, d fs.DirEntry) bool {
		asked = append(asked, path)
		assert.Equal(t, path == "skip", d.IsDir())
		return path != "skip"
	}}))
	assert.Equal(t, []string{"skip", "keep"}, asked)
	entries, err := os.ReadDir(filepath.Join(c.outside, "inside"))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

func TestPack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	long := strings.Repeat("long/", 60) + "file"
	source := fstest.MapFS{
		"dir":      {Mode: fs.ModeDir | 0o555, ModTime: at},
		"dir/file": {Data: []byte("hello"), Mode: 0o640, ModTime: at},
		"link":     {Data: []byte("dir/file"), Mode: fs.ModeSymlink | 0o777},
		long:       {Data: []byte("x"), Mode: 0o600},
		"skip/me":  {Data: []byte("y")},
	}
	var stream bytes.Buffer
	var moved int64
	options := Options{
		Keep:     func(path string, _ fs.DirEntry) bool { return path != "skip" },
		Progress: func(n int64) { moved = n },
	}
	require.NoError(t, Pack(&stream, source, "marker", options))
	assert.EqualValues(t, 6, moved)
	c := newCage(t)
	require.NoError(t, Unpack(&stream, c.root, Options{}))
	c.check(t)
	got := c.root.FS()
	require.NoError(t, fstest.TestFS(got, "dir/file", "link", long, "marker"))
	_, err := fs.Stat(got, "skip")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	info, err := fs.Stat(got, "dir/file")
	require.NoError(t, err)
	assert.True(t, info.ModTime().Equal(at.Truncate(time.Second)))
	if runtime.GOOS != "windows" { // which has no such permissions
		assert.Equal(t, fs.FileMode(0o640), info.Mode())
		info, err = fs.Stat(got, "dir")
		require.NoError(t, err)
		assert.Equal(t, fs.ModeDir|0o755, info.Mode(), "it can be filled")
	}
}

// shrinking is a file system whose file has less than it says.
type shrinking struct{ fstest.MapFS }

func (s shrinking) Open(name string) (fs.File, error) {
	if name == "file" {
		return fstest.MapFS{"file": {Data: []byte("short")}}.Open(name)
	}
	return s.MapFS.Open(name)
}

func TestPackFails(t *testing.T) {
	full := fstest.MapFS{"file": {Data: []byte("a longer content")}}
	assert.ErrorIs(t, Pack(io.Discard, shrinking{full}, "marker", Options{}), io.ErrUnexpectedEOF)
	assert.ErrorContains(t, Pack(io.Discard, fstest.MapFS{"pipe": {Mode: fs.ModeNamedPipe}}, "marker", Options{}), "pipe is no file")
	from, to := io.Pipe()
	from.Close()
	assert.ErrorIs(t, Pack(to, full, "marker", Options{}), io.ErrClosedPipe)
}

// TestSparse refuses a file that claims a size of which little is in the archive, wanted or not: it would take years.
func TestSparse(t *testing.T) {
	for _, name := range []string{"file", ".", "skip"} {
		stream := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: name, Format: tar.FormatGNU})
		header := stream[:512]
		copy(header[124:], "00000000000\x00") // what is in the archive
		header[156] = tar.TypeGNUSparse
		copy(header[483:], "77777777777\x00") // what it claims
		sum := 8 * int(' ')
		for i, b := range header {
			if i < 148 || i >= 156 {
				sum += int(b)
			}
		}
		copy(header[148:], fmt.Sprintf("%06o\x00 ", sum))
		c := newCage(t)
		err := Unpack(bytes.NewReader(stream), c.root, Options{Keep: func(path string, _ fs.DirEntry) bool { return path != "skip" }})
		assert.ErrorContains(t, err, "is sparse", name)
		c.check(t)
	}
}

// FuzzUnpack unpacks any bytes.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, dir("d/"), file("d/file"), symlink("d/up", ".."), symlink("a", "d/up/../canary"), hardLink("h", "d/file")))
	f.Add(archive(f, file("../canary"), symlink("a", "."), file("a/b")))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stream []byte) {
		c := newCage(t)
		_ = Unpack(bytes.NewReader(stream), c.root, Options{})
		c.check(t)
	})
}

// FuzzEntries unpacks entries of any names and kinds: bytes alone seldom make up a header that has the right sum.
func FuzzEntries(f *testing.F) {
	f.Add("0d/\n0d/file\n2d/up|..\n2a|d/up/../canary")
	f.Add("2a|.\n0a/b\n1h|a/c\n0../x\n5d\n2d/l|..\n2d/l/out|../canary")
	f.Fuzz(func(t *testing.T, lines string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for line := range strings.SplitSeq(lines, "\n") {
			if len(line) < 2 {
				continue
			}
			name, target, _ := strings.Cut(line[1:], "|")
			h := &tar.Header{Typeflag: line[0], Name: name, Linkname: target, Mode: 0o644, Format: tar.FormatGNU}
			if w.WriteHeader(h) != nil {
				return // there is no such archive
			}
		}
		require.NoError(t, w.Close())
		c := newCage(t)
		_ = Unpack(&b, c.root, Options{})
		c.check(t)
	})
}
