package cwsandbox

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/tarstream"
)

// The last file of the archive says that all of it has arrived.
var unpackTree = fileScript{"upload-tree", "dd mkdir rm tar", receiveFrames + `mkdir -p -- "$1" || exit 1
trap 'rm -f -- "$1/$2"' EXIT
trap 'exit 1' HUP INT TERM
frames | tar -x -p -o -f - -C "$1" || exit 1
[ -f "$1/$2" ] || exit 67
`}

var packTree = fileScript{"download-tree", "stat tar", `[ -d "$1" ] || { stat -L -- "$1" >/dev/null || exit 1; exit 68; }
[ -r "$1" ] && [ -x "$1" ] || exit 66
exec tar -c -f - -C "$1" .
`}

// UploadFS copies a tree of files into a directory of the sandbox, as [os.CopyFS] does: from [os.DirFS], an
// [embed.FS] or anything else. The directory is made, with those above it. Permissions, times and symbolic links are kept,
// the owner is the container's user, and directories are always writable for it. A link is kept as it is, wherever it leads;
// a device, a socket or a pipe is an error, unless [WithFilter] leaves it out.
//
// The tree travels as one tar stream, at constant memory. Files that are there are replaced, others stay. It is checked
// that everything has arrived; after an error some of it may have. The context is the life of the transfer; without a
// deadline there is no limit. UploadFS returns only when a Read of src that is in progress has returned.
//
// It needs the image's tar and dd. See [Sandbox.Upload] for the other errors. Those of src are in the chain too.
func (sb *Sandbox) UploadFS(ctx context.Context, dir string, src fs.FS, opts ...FileOption) error {
	c := call{op: "upload", sandbox: sb.s.id, path: dir}
	cfg, _ := newFileConfig(c, opts, useParents|useProgress|useFilter) // reported below, with what is wrong here
	if src == nil {
		cfg.faults.add("source", "must not be nil")
	}
	if err := cfg.faults.err(c); err != nil {
		return err
	}
	marker := ".cwsandbox-" + rand.Text()
	from, to := io.Pipe()
	var packing sync.WaitGroup
	packing.Go(func() {
		w := &frameWriter{w: to}
		err := tarstream.Pack(w, src, marker, cfg.tree())
		if err == nil {
			err = w.Close()
		}
		to.CloseWithError(err)
	})
	defer packing.Wait()
	defer from.Close()
	source := &source{r: from, file: &fileConfig{}, left: -1}
	res, err := sb.s.feed(ctx, c, unpackTree.command(cfg, cfg.shellPath(), marker), source)
	if err != nil {
		return err
	}
	return c.scriptError(res)
}

// tree is what the options say about a directory transfer.
func (c *fileConfig) tree() tarstream.Options {
	return tarstream.Options{Keep: c.filter, Progress: c.progress}
}

// DownloadDir copies a directory of the sandbox, with everything below it, into a directory of this machine, which is made
// if need be. Permissions, links and the times of files are kept; directories are always writable for their owner.
//
// The sandbox is not trusted: whatever it sends, nothing is written outside local, no special file is made, and no link
// leads out. A link that would, such as one with an absolute path, is an error, unless [WithFilter] leaves it out. Files
// that are there are replaced, not written through; directories are filled; others stay.
//
// The tree travels as one tar stream, at constant memory; the filter decides here, after the way. The error of an archive that
// ends too early matches [ErrTruncated]; after any error some of the tree may be there, but no part of a file.
// The context is the life of the transfer; without a deadline there is no limit.
//
// It needs the image's tar; see [Sandbox.Download] for its errors.
func (sb *Sandbox) DownloadDir(ctx context.Context, dir, local string, opts ...FileOption) error {
	c := call{op: "download", sandbox: sb.s.id, path: dir}
	cfg, _ := newFileConfig(c, opts, useProgress|useFilter) // reported below, with what is wrong here
	if local == "" {
		cfg.faults.add("local", "must not be empty")
	}
	if err := cfg.faults.err(c); err != nil {
		return err
	}
	if err := os.MkdirAll(local, 0o777); err != nil {
		return c.wrap(err)
	}
	root, err := os.OpenRoot(local)
	if err != nil {
		return c.wrap(err)
	}
	defer root.Close()
	return sb.s.downloadTree(ctx, c, cfg, root)
}

func (s *shared) downloadTree(ctx context.Context, c call, file *fileConfig, root *os.Root) error {
	from, to := io.Pipe()
	var remote error // owned by the goroutine until it has ended
	var receiving sync.WaitGroup
	receiving.Go(func() {
		remote = s.printTree(ctx, c, file, to)
		to.CloseWithError(remote)
	})
	err := tarstream.Unpack(from, root, file.tree())
	from.CloseWithError(errUnpacked)
	receiving.Wait()
	switch {
	case remote != nil && !errors.Is(remote, errUnpacked):
		return remote
	case errors.Is(err, tarstream.ErrCut):
		return c.refuse(err.Error(), ErrFile, ErrTruncated, err)
	case err != nil:
		return c.refuse(err.Error(), ErrFile, err)
	}
	return nil
}

// errUnpacked ends a command whose output nobody needs any more. It never leaves this package.
var errUnpacked = errors.New("the archive was unpacked")

// printTree writes a directory to w, as an archive.
func (s *shared) printTree(ctx context.Context, c call, file *fileConfig, w io.Writer) error {
	cfg := packTree.command(file, file.shellPath())
	cfg.stdout, cfg.outputLimit = w, diagnosticLimit
	res, err := s.exec(ctx, c, cfg, nil)
	if err != nil {
		return err
	}
	return c.scriptError(res)
}
