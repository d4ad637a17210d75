package cwsandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// unsized is a reader that tells nothing about its length.
type unsized struct{ io.Reader }

// sample is content whose every part differs from the others.
func sample(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i ^ i>>8*7 ^ i>>16*31)
	}
	return b
}

var errBroken = errors.New("broken")

func TestUpload(t *testing.T) {
	story(t, "content of any size", func(t *testing.T, s *script, sb *Sandbox) {
		for _, n := range []int{0, 1, stdinFrame - 1, stdinFrame, stdinFrame + 1, 1 << 20} {
			for _, r := range []io.Reader{bytes.NewReader(sample(n)), unsized{bytes.NewReader(sample(n))}} {
				d := &disk{content: []byte("old")}
				s.exec = d.exec
				var last int64
				got, err := sb.Upload(t.Context(), "/f", r, WithProgress(func(n int64) {
					assert.Greater(t, n, last)
					last = n
				}))
				require.NoError(t, err)
				assert.EqualValues(t, n, got)
				assert.EqualValues(t, n, last)
				assert.True(t, bytes.Equal(sample(n), d.content), "%d of %d bytes", len(d.content), n)
				assert.Nil(t, d.partial)
			}
		}
		assert.Zero(t, sb.Stats())
	})

	story(t, "a known length takes one command", func(t *testing.T, s *script, sb *Sandbox) {
		for _, r := range []io.Reader{strings.NewReader("hello"), bytes.NewBufferString("hello"), bytes.NewReader([]byte("hello"))} {
			d := &disk{}
			s.exec = d.exec
			_, err := sb.Upload(t.Context(), "a/f", r, WithParents(), WithPerm(0o640), WithContainer("db"))
			require.NoError(t, err)
			assert.Equal(t, []string{"upload"}, d.names())
			temporary := d.words()[2]
			assert.Equal(t, []string{"./a/f", "a", temporary, "5", "640", "0", "5"}, d.words())
			assert.Regexp(t, `^\.cwsandbox-[A-Z2-7]{26}$`, temporary)
		}
	})

	story(t, "an unknown one takes two", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{}
		s.exec = d.exec
		_, err := sb.Upload(t.Context(), "/f", unsized{strings.NewReader("hello")}, WithInPlace())
		require.NoError(t, err)
		assert.Equal(t, []string{"upload", "upload-finish"}, d.names())
		assert.Equal(t, []string{"/f", "", "", "5", "", "0", "5"}, d.words())
	})

	story(t, "the end of input that is not noticed", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{grace: true}
		s.exec = d.exec
		_, err := sb.Upload(t.Context(), "/f", unsized{strings.NewReader("hello")})
		require.NoError(t, err)
		assert.Equal(t, "hello", string(d.content))
	})

	story(t, "what gets lost is missed", func(t *testing.T, s *script, sb *Sandbox) {
		for _, r := range []io.Reader{strings.NewReader("hello"), unsized{strings.NewReader("hello")}} {
			d := &disk{content: []byte("old"), lose: 1}
			s.exec = d.exec
			_, err := sb.Upload(t.Context(), "/f", r)
			all(t, err, ErrTruncated, ErrFile)
			assert.Equal(t, "old", string(d.content))
			assert.Nil(t, d.partial)
		}
	})

	story(t, "a cut anywhere is an error", func(t *testing.T, s *script, sb *Sandbox) {
		const n = 3 * stdinFrame
		for _, cut := range []int{1, stdinFrame, stdinFrame + 1, 2 * stdinFrame, n} {
			for _, r := range []io.Reader{bytes.NewReader(sample(n)), unsized{bytes.NewReader(sample(n))}} {
				d := &disk{content: []byte("old"), cut: cut}
				s.exec = d.exec
				_, err := sb.Upload(t.Context(), "/f", r)
				all(t, err, ErrUnavailable)
				assert.Equal(t, "old", string(d.content))
				assert.Equal(t, []string{"upload", "upload-discard"}, d.names(), "nothing is left there, and nothing begun again")
				assert.Nil(t, d.partial)
			}
		}
	})

	story(t, "a context that ends", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{}
		s.exec = d.exec
		ctx, cancel := context.WithCancel(t.Context())
		more := make(chan struct{})
		r := io.MultiReader(strings.NewReader("hello"), readerFunc(func([]byte) (int, error) {
			cancel()
			<-more
			return 0, io.EOF
		}))
		done := Go(func() (int64, error) { return sb.Upload(ctx, "/f", r) })
		<-ctx.Done()
		select {
		case <-done.Done():
			t.Error("Upload has left its reader behind")
		default:
		}
		close(more)
		_, err := done.Wait()
		all(t, err, context.Canceled)
		assert.Equal(t, []string{"upload", "upload-discard"}, d.names())
	})

	story(t, "readers of all kinds", func(t *testing.T, s *script, sb *Sandbox) {
		data := sample(3000)
		for _, wrap := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			d := &disk{}
			s.exec = d.exec
			for _, opts := range [][]FileOption{nil, {WithLength(3000)}} {
				n, err := sb.Upload(t.Context(), "/f", wrap(bytes.NewReader(data)), opts...)
				require.NoError(t, err)
				assert.EqualValues(t, len(data), n)
				assert.Equal(t, data, d.content)
			}
		}
		for _, r := range []io.Reader{iotest.ErrReader(errBroken), io.MultiReader(bytes.NewReader(data), iotest.ErrReader(errBroken))} {
			d := &disk{content: []byte("old")}
			s.exec = d.exec
			_, err := sb.Upload(t.Context(), "/f", r)
			all(t, err, errBroken)
			assert.ErrorContains(t, err, "read the content: broken")
			assert.Equal(t, "old", string(d.content))
			assert.Nil(t, d.partial)
		}
	})

	story(t, "the length is taken at its word", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{content: []byte("old")}
		s.exec = d.exec
		r := unsized{strings.NewReader("hello")}
		n, err := sb.Upload(t.Context(), "/f", r, WithLength(3))
		require.NoError(t, err)
		assert.EqualValues(t, 3, n)
		assert.Equal(t, "hel", string(d.content))
		n, err = sb.Upload(t.Context(), "/f", r, WithLength(3))
		all(t, err, io.ErrUnexpectedEOF)
		assert.EqualValues(t, 2, n)
		assert.Equal(t, "hel", string(d.content))
	})

	story(t, "K-160", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(*dialog) error { return status.Error(codes.Unavailable, "away") }
		_, err := sb.Upload(t.Context(), "/f", strings.NewReader("x"))
		all(t, err, ErrUnavailable)
		assert.EqualValues(t, 1, s.execs.Load())
	})

	story(t, "a slash at the end", func(t *testing.T, s *script, sb *Sandbox) {
		_, err := sb.Upload(t.Context(), "/f/", strings.NewReader("x"))
		all(t, err, ErrIsDirectory)
		assert.Zero(t, s.execs.Load())
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestDownload(t *testing.T) {
	story(t, "content of any size", func(t *testing.T, s *script, sb *Sandbox) {
		for _, n := range []int{0, 1, stdinFrame - 1, stdinFrame, stdinFrame + 1, 1 << 20} {
			s.exec = (&disk{content: sample(n)}).exec
			var b bytes.Buffer
			var last int64
			got, err := sb.Download(t.Context(), "/f", &b, WithProgress(func(n int64) { last = n }))
			require.NoError(t, err)
			assert.EqualValues(t, n, got)
			assert.EqualValues(t, n, last)
			assert.True(t, bytes.Equal(sample(n), b.Bytes()))
		}
		assert.Zero(t, sb.Stats())
	})

	story(t, "what gets lost is missed", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = (&disk{content: sample(5000), lose: 1}).exec
		n, err := sb.Download(t.Context(), "/f", io.Discard)
		all(t, err, ErrTruncated, ErrFile)
		assert.EqualValues(t, 4999, n)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, map[string]string{"filepath": "/f", "operation": "download", "size_bytes": "5000",
			"bytes_delivered": "4999"}, e.Metadata)
	})

	story(t, "a size that gets lost", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("hello")
			return d.exit(0)
		}
		_, err := sb.Download(t.Context(), "/f", io.Discard)
		all(t, err, ErrFile, ErrStream)
	})

	story(t, "a cut anywhere is an error", func(t *testing.T, s *script, sb *Sandbox) {
		for _, cut := range []int{1, 2, 1000, 1001, 5001} {
			s.exec = (&disk{content: sample(5000), cut: cut}).exec
			n, err := sb.Download(t.Context(), "/f", io.Discard)
			all(t, err, ErrUnavailable)
			assert.EqualValues(t, cut-1, n)
		}
	})

	story(t, "a stream without an exit status is an error", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.err("size 0\n")
			return nil
		}
		_, err := sb.Download(t.Context(), "/f", io.Discard)
		all(t, err, ErrStream)
	})

	story(t, "a writer that fails", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = (&disk{content: sample(5000)}).exec
		n, err := sb.Download(t.Context(), "/f", io.Discard)
		assert.NoError(t, err)
		assert.EqualValues(t, 5000, n)
		_, err = sb.Download(t.Context(), "/f", failingWriter{errBroken})
		all(t, err, errBroken)
		assert.ErrorContains(t, err, "write the content: broken")
	})

	story(t, "a size that was counted in vain", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.err("cat: /f: Input/output error\n")
			return d.exit(1)
		}
		_, err := sb.Download(t.Context(), "/f", io.Discard)
		all(t, err, ErrFile)
		assert.ErrorContains(t, err, "Input/output error")
	})
}

// onFiles calls every method for files with a path and options.
func onFiles(ctx context.Context, sb *Sandbox, dir string) map[string]func(path string, o ...FileOption) error {
	return map[string]func(path string, o ...FileOption) error{
		"ReadFile":  func(p string, o ...FileOption) error { return second(sb.ReadFile(ctx, p, o...)) },
		"WriteFile": func(p string, o ...FileOption) error { return sb.WriteFile(ctx, p, nil, o...) },
		"Download":  func(p string, o ...FileOption) error { return second(sb.Download(ctx, p, io.Discard, o...)) },
		"Upload": func(p string, o ...FileOption) error {
			return second(sb.Upload(ctx, p, strings.NewReader(""), o...))
		},
		"UploadFS":    func(p string, o ...FileOption) error { return sb.UploadFS(ctx, p, fstest.MapFS{}, o...) },
		"DownloadDir": func(p string, o ...FileOption) error { return sb.DownloadDir(ctx, p, dir, o...) },
		"Stat":        func(p string, o ...FileOption) error { return second(sb.Stat(ctx, p, o...)) },
		"ReadDir":     func(p string, o ...FileOption) error { return second(sb.ReadDir(ctx, p, o...)) },
		"MkdirAll":    func(p string, o ...FileOption) error { return sb.MkdirAll(ctx, p, o...) },
		"Remove":      func(p string, o ...FileOption) error { return sb.Remove(ctx, p, o...) },
		"RemoveAll":   func(p string, o ...FileOption) error { return sb.RemoveAll(ctx, p, o...) },
		"FS":          func(p string, o ...FileOption) error { return second(fs.Stat(sb.FS(ctx, p, o...), ".")) },
	}
}

func TestFilesRefuseBadArguments(t *testing.T) {
	options := map[string]FileOption{
		"parents": WithParents(), "perm": WithPerm(0o600), "in place": WithInPlace(), "length": WithLength(1),
		"progress": WithProgress(func(int64) {}), "filter": WithFilter(func(string, fs.DirEntry) bool { return true }),
	}
	fits := map[string]string{
		"ReadFile": "progress", "WriteFile": "parents, perm, in place, progress", "Download": "progress",
		"Upload": "parents, perm, in place, length, progress", "UploadFS": "parents, progress, filter",
		"DownloadDir": "progress, filter", "MkdirAll": "parents, perm",
	}
	story(t, "options", func(t *testing.T, s *script, sb *Sandbox) {
		for method, do := range onFiles(t.Context(), sb, t.TempDir()) {
			for name, option := range options {
				if !strings.Contains(fits[method], name) {
					all(t, do("/f", option), ErrInvalidArgument)
				}
			}
			all(t, do("/f", WithContainer("\xff")), ErrInvalidArgument)
		}
		all(t, sb.WriteFile(t.Context(), "/f", nil, WithPerm(fs.ModeSetuid)), ErrInvalidArgument)
		all(t, second(sb.Upload(t.Context(), "/f", strings.NewReader(""), WithLength(-1))), ErrInvalidArgument)
		assert.Zero(t, s.reads.Load()+s.writes.Load()+s.execs.Load())
	})

	story(t, "paths", func(t *testing.T, s *script, sb *Sandbox) {
		for method, do := range onFiles(t.Context(), sb, t.TempDir()) {
			for _, path := range []string{"", "/a\x00b"} {
				if err := do(path); method != "FS" || path != "" {
					all(t, err, ErrInvalidArgument)
				} else {
					assert.Error(t, err)
				}
			}
		}
		for _, path := range []string{"/", "//", "/.", "/..", "/a/..", ".", "..", "a/.", "a/../.."} {
			all(t, sb.RemoveAll(t.Context(), path), ErrInvalidArgument)
		}
		assert.Zero(t, s.reads.Load()+s.writes.Load()+s.execs.Load())
	})

	story(t, "nothing to read from or write to", func(t *testing.T, s *script, sb *Sandbox) {
		all(t, second(sb.Upload(t.Context(), "/f", nil)), ErrInvalidArgument)
		all(t, second(sb.Download(t.Context(), "/f", nil)), ErrInvalidArgument)
		all(t, sb.UploadFS(t.Context(), "/f", nil), ErrInvalidArgument)
		all(t, sb.DownloadDir(t.Context(), "/f", ""), ErrInvalidArgument)
		assert.Zero(t, s.execs.Load())
	})
}

func TestFilesNeedARunningSandbox(t *testing.T) {
	story(t, "L-016", func(t *testing.T, s *script, sb *Sandbox) {
		sb.s.info.State = StateTerminating
		for method, do := range onFiles(t.Context(), sb, t.TempDir()) {
			err := do("/f")
			assert.ErrorIs(t, err, ErrNotRunning, method)
			assert.NotErrorIs(t, err, ErrFile, method)
		}
		assert.Zero(t, s.reads.Load()+s.writes.Load()+s.execs.Load())
	})

	story(t, "a request that nobody answers", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.hang() }
		_, err := sb.Stat(t.Context(), "/f")
		all(t, err, ErrTimeout)
		none(t, err, context.DeadlineExceeded)
	})
}
