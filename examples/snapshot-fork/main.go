// Snapshot-fork prepares a scratch volume once, forks it into several sandboxes that work on it side by side, and keeps what
// one of them has made of it.
//
//	go run ./examples/snapshot-fork
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

const forks = 3

// workspace is below /tmp, because a local server without isolation can show volumes nowhere else.
const workspace = "/tmp/cwsandbox-snapshot-fork"

func main() {
	stop := demo.Serve()
	defer stop()
	cwsandbox.Main(run)
}

func run(ctx context.Context) (err error) {
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	prepared, err := prepare(ctx, client)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.DeleteSnapshot(context.WithoutCancel(ctx), prepared.ID)) }()
	fmt.Printf("prepared %d bytes in snapshot %s\n", prepared.SizeBytes, prepared.ID)

	var running []*cwsandbox.Future[string]
	for i := range forks {
		running = append(running, cwsandbox.Go(func() (string, error) { return fork(ctx, client, i, prepared.ID) }))
	}
	kept, err := cwsandbox.WaitAll(ctx, running...)
	for _, id := range kept {
		if id == "" { // this one has failed
			continue
		}
		// As before: also when another one has failed.
		defer func() { err = errors.Join(err, client.DeleteSnapshot(context.WithoutCancel(ctx), id)) }()
	}
	if err != nil {
		return err
	}

	last, err := client.Run(ctx, cwsandbox.WithRestored(path("last"), kept[forks-1]))
	if err != nil {
		return err
	}
	defer last.Stop().Wait()
	out, err := last.Output(ctx, "sh", "-c", "cat "+path("last")+"/*.txt")
	if err != nil {
		return err
	}
	fmt.Print("the last fork had:\n", string(out))
	return nil
}

// prepare fills a volume, and returns its snapshot.
func prepare(ctx context.Context, client *cwsandbox.Client) (snapshot cwsandbox.Snapshot, err error) {
	err = client.RunFunc(ctx, func(sb *cwsandbox.Sandbox) error {
		if err := sb.WriteFile(ctx, path("base")+"/base.txt", []byte("prepared once\n")); err != nil {
			return err
		}
		snapshot, err = sb.Snapshot(ctx)
		return err
	}, cwsandbox.WithScratch(path("base"), "1Gi"))
	return snapshot, err
}

// fork works on a copy of the volume, and returns a snapshot of what it leaves.
func fork(ctx context.Context, client *cwsandbox.Client, i int, from string) (kept string, err error) {
	dir := path(fmt.Sprint("fork-", i))
	sb, err := client.Run(ctx, cwsandbox.WithRestored(dir, from))
	if err != nil {
		return "", err
	}
	defer sb.Stop().Wait() // joins the stop below, or stops what did not get there
	script := fmt.Sprintf("echo and changed by fork %d >%s/more.txt; ls %[2]s", i, dir)
	out, err := sb.Output(ctx, "sh", "-c", script)
	if err != nil {
		return "", err
	}
	fmt.Printf("fork %d has %s\n", i, strings.Join(strings.Fields(string(out)), " and "))
	result, err := sb.Stop(cwsandbox.WithStopSnapshot()).WaitContext(ctx)
	if err != nil {
		return "", err
	}
	return result.SnapshotIDs[0], nil
}

// path is a place of its own for each volume.
func path(name string) string { return workspace + "-" + name }
