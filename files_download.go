package cwsandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// download tells the size that the file has before it is read. Files such as those of /proc have none to tell.
var download = fileScript{"download", "cat stat", `[ ! -d "$1" ] || exit 65
n=$(stat -L -c %s -- "$1") || exit 1
[ -r "$1" ] || exit 66
[ -f "$1" ] || n=0
echo "size $n" >&2
exec cat -- "$1"
`}

// Download copies a file of any size from the sandbox to w and returns the number of bytes written. In a sandbox that is
// still starting it waits until files can be read. Memory does not grow with the file, and a slow w slows the transfer
// down.
//
// The context is the life of the transfer; without a deadline there is no limit. What was delivered is compared with the
// size that the file had at the beginning: less is an error that matches [ErrTruncated]. A file that grows meanwhile may
// be copied with or without what is new. A transfer is never begun again: after an error w has a part of the file.
//
// The file is read by the image's cat and stat, and by its /bin/sh; without them the error lists what is missing and
// matches [errors.ErrUnsupported]. The other errors are those of [Sandbox.ReadFile] and of w.
func (sb *Sandbox) Download(ctx context.Context, path string, w io.Writer, opts ...FileOption) (int64, error) {
	c := call{op: "download", sandbox: sb.s.id, path: path}
	cfg, _ := newFileConfig(c, opts, useProgress) // reported below, with what is wrong here
	if w == nil {
		cfg.faults.add("writer", "must not be nil")
	}
	if err := cfg.faults.err(c); err != nil {
		return 0, err
	}
	return sb.s.download(ctx, c, cfg, download.command(cfg, cfg.shellPath()), w)
}

// download runs a command that prints a file.
func (s *shared) download(ctx context.Context, c call, file *fileConfig, cfg *execConfig, w io.Writer) (int64, error) {
	to := &sink{w: w, file: file}
	cfg.stdout, cfg.outputLimit = to, diagnosticLimit
	res, err := s.exec(ctx, c, cfg, nil)
	switch {
	case to.err != nil:
		return to.n, c.refuse("write the content: "+to.err.Error(), to.err)
	case err != nil:
		return to.n, err
	}
	if err := c.scriptError(res); err != nil {
		return to.n, err
	}
	size, ok := announcedSize(res.Stderr)
	if !ok {
		return to.n, c.refuse("the size of the file was lost on the way", ErrFile, ErrStream)
	}
	if to.n < size {
		return to.n, c.truncated(to.n, size)
	}
	return to.n, nil
}

// announcedSize is the size that the script has told.
func announcedSize(stderr []byte) (int64, bool) {
	line, _, _ := strings.Cut(string(stderr), "\n")
	digits, ok := strings.CutPrefix(line, "size ")
	size, err := strconv.ParseInt(digits, 10, 64)
	return size, ok && err == nil
}

// truncated says that a file came short.
func (c call) truncated(got, size int64) error {
	e := c.make(fmt.Sprintf("%d of %d bytes have arrived", got, size), ErrTruncated, ErrFile)
	e.Reason = ReasonFileTruncated
	e.Metadata = map[string]string{
		"filepath":        c.path,
		"operation":       strings.ReplaceAll(c.op, " ", "_"),
		"size_bytes":      strconv.FormatInt(size, 10),
		"bytes_delivered": strconv.FormatInt(got, 10),
	}
	return e
}

// sink counts what goes to a writer, and keeps the writer's error.
type sink struct {
	w    io.Writer
	file *fileConfig
	n    int64
	err  error
}

func (s *sink) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	s.n += int64(n)
	s.err = err
	if n > 0 {
		s.file.report(s.n)
	}
	return n, err
}

// wholeFile gathers a file that a program wants in one piece.
type wholeFile struct {
	bytes.Buffer
	call call
}

func (f *wholeFile) Write(p []byte) (int, error) {
	if f.Len()+len(p) > largestWholeFile {
		return 0, f.call.tooLarge(int64(f.Len() + len(p)))
	}
	return f.Buffer.Write(p)
}

// tooLarge refuses a file that is too large to be moved in one piece.
func (c call) tooLarge(size int64) error {
	e := c.make(fmt.Sprintf("the file has %d bytes or more, and %d can be moved in one piece: use Upload or Download",
		size, largestWholeFile), ErrFileTooLarge)
	e.Reason = ReasonFileTooLarge
	e.Metadata = map[string]string{
		"filepath":       c.path,
		"operation":      strings.ReplaceAll(c.op, " ", "_"),
		"size_bytes":     strconv.FormatInt(size, 10),
		"max_size_bytes": strconv.FormatInt(largestWholeFile, 10),
	}
	return e
}
