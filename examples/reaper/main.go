// Reaper shows a program that is killed by SIGKILL and still leaves nothing behind: importing package reaper has given it
// a helper process that stops its sandboxes.
//
//	go run ./examples/reaper
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
	"github.com/cwsandbox/cwsandbox-go/reaper" // a program that does not ask Protected imports it as _
)

func main() {
	stop := demo.Serve()
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == "victim" {
		cwsandbox.Main(func(ctx context.Context) error { return victim(ctx, os.Args[2]) })
		return
	}
	cwsandbox.Main(watch)
}

// victim makes sandboxes and kills its own process, which runs none of its deferred calls.
func victim(ctx context.Context, tag string) error {
	for range 3 {
		sb, err := cwsandbox.Run(ctx, cwsandbox.WithTags(tag), cwsandbox.WithMaxLifetime(5*time.Minute))
		if err != nil {
			return err
		}
		defer sb.Stop().Wait()
		fmt.Println("  victim: made", sb.ID())
	}
	fmt.Println("  victim: protected by the reaper:", reaper.Protected())
	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	return self.Kill()
}

// watch starts the victim and looks at what it leaves behind.
func watch(ctx context.Context) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	tag := cwsandbox.RunTag()
	cmd := exec.CommandContext(ctx, program, "victim", tag)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	killed := time.Now()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("the victim lives: %w", err)
	}
	fmt.Println("the victim is dead:", exit)

	client, err := cwsandbox.DefaultClient()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for left := -1; left != 0; time.Sleep(20 * time.Millisecond) {
		if left, err = client.PurgeCount(ctx, cwsandbox.WithTags(tag)); err != nil {
			return err
		}
	}
	fmt.Println("nothing is left after", time.Since(killed).Round(time.Millisecond))
	return nil
}
