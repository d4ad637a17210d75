package cwsandbox

import (
	"bytes"
	"io/fs"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// tooLarge is the service's refusal of a file above limit.
func tooLarge(t *testing.T, limit, size string) error {
	t.Helper()
	st, err := status.New(codes.FailedPrecondition, "file is above max-file-operation-bytes").WithDetails(&errdetails.ErrorInfo{
		Reason:   "CWSANDBOX_FILE_TOO_LARGE",
		Domain:   "cwsandbox.com",
		Metadata: map[string]string{"max_size_bytes": limit, "size_bytes": size, "filepath": "/f"},
	})
	require.NoError(t, err)
	return st.Err()
}

func TestReadFile(t *testing.T) {
	story(t, "returns the content", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(req *sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			assert.Equal(t, "sb-1", req.GetSandboxId())
			assert.Equal(t, "/etc/motd", req.GetPath())
			assert.Equal(t, "db", req.GetContainer())
			return &sandboxv1.ReadFileResponse{Content: []byte("hello")}, nil
		}
		data, err := sb.ReadFile(t.Context(), "/etc/motd", WithContainer("db"))
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
	})

	story(t, "K-140", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_FILE_NOT_FOUND")
		}
		_, err := sb.ReadFile(t.Context(), "/missing")
		all(t, err, ErrFileNotFound, ErrFile, fs.ErrNotExist)
		none(t, err, ErrNotFound)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "/missing", e.Path)
		assert.Equal(t, "read file", e.Op)
		assert.EqualValues(t, 1, s.reads.Load())
	})

	story(t, "K-141", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, status.Error(codes.NotFound, "no such sandbox")
		}
		_, err := sb.ReadFile(t.Context(), "/f")
		all(t, err, ErrNotFound)
		none(t, err, fs.ErrNotExist, ErrFile)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "sandbox", e.Resource)
	})

	story(t, "the other refusals", func(t *testing.T, s *script, sb *Sandbox) {
		for reason, want := range map[string][]error{
			"CWSANDBOX_FILE_PERMISSION_DENIED": {ErrFilePermission, ErrFile, fs.ErrPermission},
			"CWSANDBOX_FILE_IS_DIRECTORY":      {ErrIsDirectory, ErrFile},
			"CWSANDBOX_FILE_IO_FAILED":         {ErrFile},
		} {
			s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
				return nil, failure(codes.FailedPrecondition, reason)
			}
			_, err := sb.ReadFile(t.Context(), "/f")
			all(t, err, want...)
			none(t, err, ErrPermissionDenied)
		}
	})

	story(t, "is repeated", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			if s.reads.Load() < 3 {
				return nil, status.Error(codes.Unavailable, "away")
			}
			return &sandboxv1.ReadFileResponse{Content: []byte("x")}, nil
		}
		_, err := sb.ReadFile(t.Context(), "/f")
		assert.NoError(t, err)
	})

	story(t, "what one message cannot carry is streamed", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, status.Error(codes.ResourceExhausted, "grpc: received message larger than max (1 vs. 0)")
		}
		s.exec = (&disk{content: []byte("hello")}).exec
		data, err := sb.ReadFile(t.Context(), "/f")
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
		assert.EqualValues(t, 1, s.reads.Load())
	})

	story(t, "what the service finds too large is streamed", func(t *testing.T, s *script, sb *Sandbox) {
		var log strings.Builder
		sb.s.client.config.logger = slog.New(slog.NewTextHandler(&log, nil))
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, tooLarge(t, "1000", "5")
		}
		s.exec = (&disk{content: []byte("hello")}).exec
		for range 2 {
			data, err := sb.ReadFile(t.Context(), "/f")
			require.NoError(t, err)
			assert.Equal(t, "hello", string(data))
		}
		assert.Equal(t, 1, strings.Count(log.String(), "level=INFO"), "the hint is given once: %s", log.String())
	})

	story(t, "less than the service has announced", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, tooLarge(t, "1000", "6")
		}
		s.exec = (&disk{content: []byte("hello")}).exec
		data, err := sb.ReadFile(t.Context(), "/f")
		all(t, err, ErrTruncated, ErrFile)
		assert.Nil(t, data)
	})

	story(t, "more than fits into memory", func(t *testing.T, s *script, sb *Sandbox) {
		s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
			return nil, tooLarge(t, "1000", "268435457")
		}
		_, err := sb.ReadFile(t.Context(), "/f")
		all(t, err, ErrFileTooLarge)
		assert.Zero(t, s.execs.Load())
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, map[string]string{"filepath": "/f", "operation": "read_file", "size_bytes": "268435457",
			"max_size_bytes": "268435456"}, e.Metadata)
	})

	story(t, "a path that a message cannot name", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{content: []byte("hello")}
		s.exec = d.exec
		data, err := sb.ReadFile(t.Context(), "/\xff")
		require.NoError(t, err)
		assert.Equal(t, "hello", string(data))
		assert.Equal(t, "/\xff", d.words()[0])
		require.NoError(t, sb.WriteFile(t.Context(), "/\xff", []byte("bye")))
		assert.Equal(t, "bye", string(d.content))
		assert.Zero(t, s.reads.Load()+s.writes.Load())
	})
}

func TestWriteFile(t *testing.T) {
	story(t, "sends the content", func(t *testing.T, s *script, sb *Sandbox) {
		for _, data := range [][]byte{[]byte("hello"), {}, nil} {
			s.write = func(req *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
				assert.Equal(t, "sb-1", req.GetSandboxId())
				assert.Equal(t, "/f", req.GetPath())
				assert.Equal(t, "db", req.GetContainer())
				assert.Equal(t, string(data), string(req.GetContent()))
				return &sandboxv1.WriteFileResponse{}, nil
			}
			require.NoError(t, sb.WriteFile(t.Context(), "/f", data, WithContainer("db")))
		}
		assert.EqualValues(t, 3, s.writes.Load())
	})

	story(t, "K-160", func(t *testing.T, s *script, sb *Sandbox) {
		s.write = func(*sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
			return nil, status.Error(codes.Unavailable, "away")
		}
		err := sb.WriteFile(t.Context(), "/f", []byte("x"))
		all(t, err, ErrUnavailable)
		assert.EqualValues(t, 1, s.writes.Load())
	})

	story(t, "what is too large is streamed", func(t *testing.T, s *script, sb *Sandbox) {
		s.write = func(*sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
			return &sandboxv1.WriteFileResponse{}, nil
		}
		d := &disk{}
		s.exec = d.exec
		data := bytes.Repeat([]byte("0123456789abcdef"), usualFileLimit/16+1)[:usualFileLimit+1]
		require.NoError(t, sb.WriteFile(t.Context(), "/f", data))
		assert.True(t, bytes.Equal(data, d.content), "%d bytes have arrived", len(d.content))
		assert.Zero(t, s.writes.Load())
		require.NoError(t, sb.WriteFile(t.Context(), "/f", data[:usualFileLimit]))
		assert.EqualValues(t, 1, s.writes.Load())
		assert.EqualValues(t, 1, s.execs.Load())
	})

	story(t, "too much for one piece of memory", func(t *testing.T, s *script, sb *Sandbox) {
		err := sb.WriteFile(t.Context(), "/f", make([]byte, largestWholeFile+1))
		all(t, err, ErrFileTooLarge, ErrFile)
		assert.Zero(t, s.writes.Load()+s.execs.Load())
	})

	story(t, "the service's limit is learned", func(t *testing.T, s *script, sb *Sandbox) {
		s.write = func(*sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
			return nil, tooLarge(t, "1000", "2000")
		}
		d := &disk{}
		s.exec = d.exec
		require.NoError(t, sb.WriteFile(t.Context(), "/f", make([]byte, 2000)))
		assert.Len(t, d.content, 2000)
		require.NoError(t, sb.WriteFile(t.Context(), "/f", make([]byte, 1001)))
		assert.Len(t, d.content, 1001)
		assert.EqualValues(t, 1, s.writes.Load(), "the second is streamed at once")
	})

	story(t, "permissions need a stream", func(t *testing.T, s *script, sb *Sandbox) {
		d := &disk{}
		s.exec = d.exec
		require.NoError(t, sb.WriteFile(t.Context(), "/f", []byte("x"), WithPerm(0o600)))
		assert.Equal(t, "600", d.words()[4])
		assert.Zero(t, s.writes.Load())
	})

	story(t, "parents are made first, by a command that does not count", func(t *testing.T, s *script, sb *Sandbox) {
		var init *sandboxv1.ExecStreamInit
		s.exec = func(d *dialog) error {
			assert.Zero(t, s.writes.Load())
			init = d.init
			return d.exit(0)
		}
		s.write = func(*sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
			return &sandboxv1.WriteFileResponse{}, nil
		}
		require.NoError(t, sb.WriteFile(t.Context(), "/-a/b c/f", nil, WithParents(), WithContainer("db")))
		assert.Equal(t, "/bin/sh", init.GetCommand()[0])
		assert.Equal(t, []string{"cwsandbox-mkdir", "/-a/b c", ""}, init.GetCommand()[3:])
		assert.Equal(t, "db", init.GetContainer())
		assert.Zero(t, sb.Stats())

		for _, path := range []string{"/f", "f"} {
			require.NoError(t, sb.WriteFile(t.Context(), path, nil, WithParents()))
		}
		assert.EqualValues(t, 1, s.execs.Load(), "there is nothing to make")
	})

	story(t, "parents that cannot be made", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.err("mkdir: cannot create directory '/a': Read-only file system\nmore\n")
			return d.exit(1)
		}
		err := sb.WriteFile(t.Context(), "/a/f", nil, WithParents())
		all(t, err, ErrFile)
		var exit *ExitError
		assert.ErrorAs(t, err, &exit)
		assert.ErrorContains(t, err, "Read-only file system")
		assert.ErrorContains(t, err, `write file sb-1 "/a/f"`)
		assert.Zero(t, s.writes.Load())
	})
}

func TestFileLimit(t *testing.T) {
	for _, row := range []struct {
		observed string
		want     int
	}{
		{"", usualFileLimit},
		{"many", usualFileLimit},
		{"0", usualFileLimit},
		{"-5", usualFileLimit},
		{"1", 1},
		{"50000000", 50_000_000},
		{"104857600", largestFileLimit},
		{"9223372036854775807", largestFileLimit},
	} {
		story(t, "said "+row.observed, func(t *testing.T, s *script, sb *Sandbox) {
			s.read = func(*sandboxv1.ReadFileRequest) (*sandboxv1.ReadFileResponse, error) {
				return nil, tooLarge(t, row.observed, "268435457")
			}
			sb.ReadFile(t.Context(), "/f")
			assert.Equal(t, row.want, sb.s.files.limit())
		})
	}
}
