// Large-files moves a file of any size into a sandbox and back, at constant memory, and shows how far it has come.
//
//	go run ./examples/large-files -mib 1024
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var mib = flag.Int64("mib", 40, "size of the file, in `MiB`")

func main() {
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	return cwsandbox.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error { return move(ctx, sb, *mib<<20) },
		cwsandbox.WithMaxLifetime(time.Hour))
}

func move(ctx context.Context, sb *cwsandbox.Sandbox, size int64) (err error) {
	dir, err := sb.Output(ctx, "mktemp", "-d")
	if err != nil {
		return err
	}
	path := strings.TrimSpace(string(dir)) + "/data"
	defer func() {
		err = errors.Join(err, sb.RemoveAll(context.WithoutCancel(ctx), strings.TrimSpace(string(dir))))
	}()

	// The content is made as it is read. With its length known in advance the transfer is a single command.
	sent := sha256.New()
	content := io.TeeReader(io.LimitReader(rand.NewChaCha8([32]byte{}), size), sent)
	n, err := sb.Upload(ctx, path, content, cwsandbox.WithLength(size), progress("upload", size))
	if err != nil {
		return err
	}
	fmt.Printf("uploaded %d bytes\n", n)

	sum, err := sb.Output(ctx, "sha256sum", path)
	if err != nil {
		return err
	}
	if there, _, _ := strings.Cut(string(sum), " "); there != fmt.Sprintf("%x", sent.Sum(nil)) {
		return errors.New("the sandbox has other content than was sent")
	}
	fmt.Println("the checksum in the sandbox is right")

	received := sha256.New()
	n, err = sb.Download(ctx, path, received, progress("download", size))
	if err != nil {
		return err
	}
	fmt.Printf("downloaded %d bytes\n", n)
	if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		return errors.New("what came back differs from what was sent")
	}
	fmt.Println("the content is the same")
	return nil
}

// progress prints every quarter of the way.
func progress(what string, size int64) cwsandbox.FileOption {
	quarters := int64(0)
	return cwsandbox.WithProgress(func(bytes int64) {
		if now := 4 * bytes / size; now > quarters {
			quarters = now
			fmt.Printf("%s: %d %%\n", what, 25*quarters)
		}
	})
}
