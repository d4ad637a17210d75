//go:build linux || darwin

package process

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// serveVariable turns the test binary into a server that waits to be killed. Its value is the level, a colon and the
// data directory.
const serveVariable = "PROCESS_TEST_SERVE"

// serveUntilKilled runs a sandbox with a main process and an exec, both with children, and says so.
func serveUntilKilled(how string) {
	if err := serve(how); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	time.Sleep(patience)
	os.Exit(1)
}

func serve(how string) error {
	level, dir, _ := strings.Cut(how, ":")
	r, err := New(Options{Isolation: level, DataDir: dir})
	if err != nil {
		return err
	}
	sb, err := r.NewSandbox(context.Background(), container.SandboxSpec{ID: "sb-doomed"})
	if err != nil {
		return err
	}
	script := "sleep 72001 & exec sleep 72001"
	if level == Plain {
		script = "exec sleep 72001" // there is no promise for what a process starts by itself
	}
	c, err := sb.Start(context.Background(), container.Spec{Command: "sh", Args: []string{"-c", script}})
	if err != nil {
		return err
	}
	_, err = c.Exec(context.Background(), container.ProcessSpec{Argv: []string{"sh", "-c", script}})
	return err
}
