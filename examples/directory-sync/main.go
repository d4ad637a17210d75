// Directory-sync copies a directory into a sandbox, runs a command on it there, and copies the results back.
//
//	go run ./examples/directory-sync
//	go run ./examples/directory-sync -dir . -command 'wc -l *.go >lines.txt'
//
// What the command has changed or made is in a new temporary directory afterwards; the directory itself stays as it is.
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing/fstest"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var (
	dir     = flag.String("dir", "", "`directory` to copy; by default a small one that is made up")
	command = flag.String("command", "sort names.txt >sorted.txt && mkdir -p out && wc -l <names.txt >out/count", "what to run there")
	keep    = flag.Bool("keep", false, "keep the results")
)

func main() {
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	var source fs.FS = fstest.MapFS{
		"names.txt":    {Data: []byte("Noether\nLovelace\nHopper\n"), Mode: 0o644},
		".git/objects": {Data: []byte("nobody needs this there"), Mode: 0o644},
	}
	if *dir != "" {
		source = os.DirFS(*dir)
	}
	results, err := os.MkdirTemp("", "directory-sync-")
	if err != nil {
		return err
	}
	err = cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error { return sync(ctx, sb, source, results) },
		cwsandbox.WithMaxLifetime(time.Hour))
	if err == nil {
		err = show(results)
	}
	if *keep {
		fmt.Println("the results are in", results)
		return err
	}
	return errors.Join(err, os.RemoveAll(results))
}

// sync runs the command in a copy of source, and leaves a copy of what has become of that in results.
func sync(ctx context.Context, sb *cwsandbox.Sandbox, source fs.FS, results string) (err error) {
	made, err := sb.Output(ctx, "mktemp", "-d")
	if err != nil {
		return err
	}
	remote := strings.TrimSpace(string(made))
	defer func() { err = errors.Join(err, sb.RemoveAll(context.WithoutCancel(ctx), remote)) }()

	var sent, received int64
	noGit := cwsandbox.WithFilter(func(path string, d fs.DirEntry) bool { return path != ".git" })
	err = sb.UploadFS(ctx, remote, source, noGit, cwsandbox.WithProgress(func(bytes int64) { sent = bytes }))
	if err != nil {
		return err
	}
	fmt.Printf("uploaded %d bytes\n", sent)

	res, err := sb.Exec(ctx, []string{"sh", "-c", *command}, cwsandbox.WithDir(remote), cwsandbox.WithTimeout(10*time.Minute))
	if err != nil {
		return err
	}
	if err := res.Err(); err != nil {
		return fmt.Errorf("%w: %s", err, res.Stderr)
	}
	fmt.Println("the command has run")

	err = sb.DownloadDir(ctx, remote, results, cwsandbox.WithProgress(func(bytes int64) { received = bytes }))
	if err != nil {
		return err
	}
	fmt.Printf("downloaded %d bytes\n", received)
	return nil
}

// show lists the files of a directory.
func show(dir string) error {
	return fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fmt.Printf("%8d %s\n", info.Size(), path)
		return nil
	})
}
