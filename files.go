package cwsandbox

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path"
	"strconv"
	"sync/atomic"
	"unicode/utf8"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// usualFileLimit is what the service takes in one call, as long as it has not said otherwise.
	usualFileLimit = 32 << 20

	// largestFileLimit leaves room for the rest of a message of 100 MiB.
	largestFileLimit = 99 << 20

	// largestWholeFile is what is streamed for those who want a file in one piece of memory.
	largestWholeFile = 256 << 20
)

// ReadFile returns the content of a file in the sandbox. In a sandbox that is still starting it waits until files can be
// read. Use an absolute path; links are followed.
//
// A missing file is [ErrFileNotFound], which matches fs.ErrNotExist too; one that the container's user may not read is
// [ErrFilePermission], which matches fs.ErrPermission; a directory is [ErrIsDirectory]. All of them match [ErrFile].
// [ErrNotFound] means that the sandbox is missing.
//
// A file that is larger than the service hands out in one piece, usually 32 MiB, is streamed as by [Sandbox.Download]. One
// of more than 256 MiB is [ErrFileTooLarge]: that is what Download is for.
//
// Reading changes nothing, so a failure that may pass is repeated within the client's retry budget, but for a stream.
// Without a deadline on ctx the client's request timeout applies.
func (sb *Sandbox) ReadFile(ctx context.Context, path string, opts ...FileOption) ([]byte, error) {
	c := call{op: "read file", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, useProgress)
	if err != nil {
		return nil, err
	}
	if !utf8.ValidString(path) { // what a message cannot name, a command can
		return sb.s.readStreamed(ctx, c, cfg, 0)
	}
	if err := sb.s.ready(ctx, c.op); err != nil {
		return nil, err
	}
	defer sb.s.client.registry.signals.afterSignal()
	reply, err := sb.s.data.ReadFile(ctx, &sandboxv1.ReadFileRequest{
		SandboxId: sb.s.id,
		Path:      path,
		Container: cfg.container,
	})
	if err != nil {
		err = sb.s.files.learn(c.wrap(err))
		if !errors.Is(err, ErrFileTooLarge) {
			return nil, err
		}
		size := sizeOf(err)
		sb.s.hintAtStreams(c, size)
		return sb.s.readStreamed(ctx, c, cfg, size)
	}
	cfg.report(int64(len(reply.GetContent())))
	return reply.GetContent(), nil
}

// readStreamed reads a file by a command. The size is what is known of it; zero: nothing.
func (s *shared) readStreamed(ctx context.Context, c call, file *fileConfig, size int64) ([]byte, error) {
	if size > largestWholeFile {
		return nil, c.tooLarge(size)
	}
	file.timeout = s.patience(ctx)
	cfg := download.command(file, file.shellPath())
	whole := wholeFile{call: c}
	whole.Grow(int(size))
	n, err := s.download(ctx, c, file, cfg, &whole)
	if err != nil {
		return nil, err
	}
	if n < size {
		return nil, c.truncated(n, size)
	}
	return whole.Bytes(), nil
}

// WriteFile creates a file in the sandbox, or replaces the content of one. In a sandbox that is still starting it waits
// until files can be written. Use an absolute path, in a directory that exists: [WithParents] makes it. Of a file that is
// there mode and owner stay; those of a new one are the service's choice.
//
// The slice is sent as it is, without a copy: it must not be changed before WriteFile returns.
//
// Content that is larger than the service takes in one piece, usually 32 MiB, is streamed as by [Sandbox.Upload], and so
// is any with [WithPerm]. More than 256 MiB are [ErrFileTooLarge]: that is what Upload is for. The other errors are those
// of [Sandbox.ReadFile]. A write is never repeated: after an error that matches [ErrUnavailable] or [ErrTimeout] the file
// may have its old content, its new, or, when it was written in one piece, a part of it. Without a deadline on ctx the
// client's request timeout applies.
func (sb *Sandbox) WriteFile(ctx context.Context, path string, data []byte, opts ...FileOption) error {
	c := call{op: "write file", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, useParents|usePerm|useInPlace|useProgress)
	if err != nil {
		return err
	}
	if len(data) > largestWholeFile {
		return c.tooLarge(int64(len(data)))
	}
	if len(data) > sb.s.files.limit() {
		sb.s.hintAtStreams(c, int64(len(data)))
		return sb.s.writeStreamed(ctx, c, cfg, data)
	}
	if cfg.given.has(usePerm) || !utf8.ValidString(path) {
		return sb.s.writeStreamed(ctx, c, cfg, data)
	}
	err = sb.s.writeWhole(ctx, c, cfg, data)
	if !errors.Is(err, ErrFileTooLarge) {
		return err
	}
	sb.s.hintAtStreams(c, int64(len(data)))
	return sb.s.writeStreamed(ctx, c, cfg, data)
}

func (s *shared) writeWhole(ctx context.Context, c call, file *fileConfig, data []byte) error {
	if file.parents {
		if err := s.makeParents(ctx, c, file); err != nil {
			return err
		}
	}
	if err := s.ready(ctx, c.op); err != nil {
		return err
	}
	defer s.client.registry.signals.afterSignal()
	_, err := s.data.WriteFile(ctx, &sandboxv1.WriteFileRequest{
		SandboxId: s.id,
		Path:      c.path,
		Content:   data,
		Container: file.container,
	})
	if err != nil {
		return s.files.learn(c.wrap(err))
	}
	file.report(int64(len(data)))
	return nil
}

func (s *shared) writeStreamed(ctx context.Context, c call, file *fileConfig, data []byte) error {
	file.timeout = s.patience(ctx)
	_, err := s.upload(ctx, c, file, bytes.NewReader(data))
	return err
}

// makeParents makes the directory of a file, by a command, because the service has no call for it.
func (s *shared) makeParents(ctx context.Context, c call, file *fileConfig) error {
	dir := path.Dir(file.shellPath())
	if dir == "/" || dir == "." {
		return nil
	}
	_, err := s.runScript(ctx, c, makeAll, file, dir, "")
	return err
}

// hintAtStreams tells the log of a file that was not taken in one piece; the first one loudly enough to be noticed.
func (s *shared) hintAtStreams(c call, size int64) {
	level := slog.LevelDebug
	if s.files.hinted.CompareAndSwap(false, true) {
		level = slog.LevelInfo
	}
	s.client.config.logger.Log(context.Background(), level, "a file is too large for one piece and is streamed; Upload and Download need less memory",
		"sandbox", s.id, "operation", c.op, "bytes", size)
}

// sizeOf is the size of the file in the service's refusal; zero when it does not say.
func sizeOf(err error) int64 {
	var refusal *Error
	if !errors.As(err, &refusal) {
		return 0
	}
	n, err := strconv.ParseInt(refusal.Metadata["size_bytes"], 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// fileLimit is what is known of the size that one file call can carry. The zero value is ready to use.
type fileLimit struct {
	observed atomic.Int64
	hinted   atomic.Bool // that there are streams
}

func (l *fileLimit) limit() int {
	if observed := l.observed.Load(); observed > 0 {
		return int(min(observed, largestFileLimit))
	}
	return usualFileLimit
}

// learn takes the service's limit from a refusal, and returns the refusal.
func (l *fileLimit) learn(err error) error {
	var refusal *Error
	if errors.As(err, &refusal) && HasReason(err, ReasonFileTooLarge) {
		if n, err := strconv.ParseInt(refusal.Metadata["max_size_bytes"], 10, 64); err == nil && n > 0 {
			l.observed.Store(n)
		}
	}
	return err
}
