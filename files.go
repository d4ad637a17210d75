package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync/atomic"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// usualFileLimit is what the service takes in one call, as long as it has not said otherwise.
	usualFileLimit = 32 << 20

	// largestFileLimit leaves room for the rest of a message of 100 MiB.
	largestFileLimit = 99 << 20
)

// ReadFile returns the content of a file in the sandbox. In a sandbox that is still starting it waits until files can be
// read. Use an absolute path; links are followed.
//
// A missing file is [ErrFileNotFound], which matches fs.ErrNotExist too; one that the container's user may not read is
// [ErrFilePermission], which matches fs.ErrPermission; a directory is [ErrIsDirectory]. A file that is larger than the
// service hands out in one piece, usually 32 MiB, is [ErrFileTooLarge]. All of them match [ErrFile]. [ErrNotFound]
// means that the sandbox is missing.
//
// Reading changes nothing, so a failure that may pass is repeated within the client's retry budget. Without a deadline
// on ctx the client's request timeout applies.
func (sb *Sandbox) ReadFile(ctx context.Context, path string, opts ...FileOption) ([]byte, error) {
	c := call{op: "read file", sandbox: sb.s.id, path: path}
	cfg, _ := newFileConfig(path, opts) // reported below, with what is wrong here
	if cfg.parents {
		cfg.faults.add("parents", "are for files that are written")
	}
	if err := cfg.faults.err(c); err != nil {
		return nil, err
	}
	if err := sb.s.ready(ctx, c.op); err != nil {
		return nil, err
	}
	reply, err := sb.s.client.sandboxes.ReadFile(ctx, &sandboxv1.ReadFileRequest{
		SandboxId: sb.s.id,
		Path:      path,
		Container: cfg.container,
	})
	if err != nil {
		return nil, sb.s.files.learn(c.wrap(err))
	}
	return reply.GetContent(), nil
}

// WriteFile creates a file in the sandbox, or replaces the content of one. In a sandbox that is still starting it waits
// until files can be written. Use an absolute path, in a directory that exists: [WithParents] makes it. Of a file that is
// there mode and owner stay; those of a new one are the service's choice.
//
// The slice is sent as it is, without a copy: it must not be changed before WriteFile returns.
//
// Content that is larger than the service takes in one piece, usually 32 MiB, is [ErrFileTooLarge]; the other errors are
// those of [Sandbox.ReadFile]. A write is never repeated: after an error that matches [ErrUnavailable] or [ErrTimeout] the
// file may have its old content, its new, or a part of it. Without a deadline on ctx the client's request timeout
// applies.
func (sb *Sandbox) WriteFile(ctx context.Context, path string, data []byte, opts ...FileOption) error {
	c := call{op: "write file", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(path, opts)
	if err != nil {
		return cfg.faults.err(c)
	}
	if limit := sb.s.files.limit(); len(data) > limit {
		text := fmt.Sprintf("the content has %d bytes, and %d can be written in one piece", len(data), limit)
		return c.refuse(text, ErrFileTooLarge)
	}
	if cfg.parents {
		if err := sb.s.makeParents(ctx, c, cfg); err != nil {
			return err
		}
	}
	if err := sb.s.ready(ctx, c.op); err != nil {
		return err
	}
	_, err = sb.s.client.sandboxes.WriteFile(ctx, &sandboxv1.WriteFileRequest{
		SandboxId: sb.s.id,
		Path:      path,
		Content:   data,
		Container: cfg.container,
	})
	if err != nil {
		return sb.s.files.learn(c.wrap(err))
	}
	return nil
}

// makeParents makes the directory of a file, by a command, because the service has no call for it.
func (s *shared) makeParents(ctx context.Context, c call, file *fileConfig) error {
	dir := path.Dir(c.path)
	if dir == "/" || dir == "." {
		return nil
	}
	cfg, err := newExecConfig([]string{"mkdir", "-p", "--", dir}, nil)
	if err != nil {
		return c.wrap(err)
	}
	cfg.container = file.container
	if _, ok := ctx.Deadline(); !ok {
		cfg.timeout = s.client.config.requestTimeout
	}
	res, err := s.exec(ctx, c, cfg, new(stats))
	if err != nil {
		return err
	}
	if err := res.Err(); err != nil {
		text, _, _ := strings.Cut(string(res.Stderr), "\n")
		return c.refuse(fmt.Sprintf("mkdir -p exited with %d: %s", res.ExitCode, text), ErrFile, err)
	}
	return nil
}

// fileLimit is what is known of the size that one file call can carry. The zero value is ready to use.
type fileLimit struct{ observed atomic.Int64 }

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
