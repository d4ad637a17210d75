//go:build linux

package cleanuptest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
)

const (
	// programVariable says how many sandboxes the program makes.
	programVariable = "CLEANUPTEST_SANDBOXES"
	// inFlightVariable says how many more it is about to make when it is ended.
	inFlightVariable = "CLEANUPTEST_IN_FLIGHT"
	// survivesVariable, when set, lets it survive SIGTERM, and make another sandbox after that.
	survivesVariable = "CLEANUPTEST_SURVIVES"
	// ready is what it says when it has them. With it comes the number of goroutines that it began with.
	ready = "ready"
	// creators is how many it makes at a time.
	creators = 64
	// patience is how long anything may take that a correct program does soon.
	patience = 5 * time.Minute
)

// program makes sandboxes with the default client, and then waits to be ended.
func program(count string) error {
	goroutines := runtime.NumGoroutine()
	survived := make(chan os.Signal, 2)
	if os.Getenv(survivesVariable) != "" {
		signal.Notify(survived, syscall.SIGTERM)
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var work sync.WaitGroup
	next := make(chan struct{})
	failed := make(chan error, creators)
	for range creators {
		work.Go(func() {
			for range next {
				if _, err := cwsandbox.Create(context.Background()); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	for range n {
		select {
		case next <- struct{}{}:
		case err := <-failed:
			return err
		}
	}
	close(next)
	work.Wait()
	inFlight, _ := strconv.Atoi(os.Getenv(inFlightVariable))
	for range inFlight {
		go cwsandbox.Create(context.Background())
	}
	fmt.Println(ready, goroutines)
	<-survived
	<-survived // raised again, when everything is stopped
	if _, err := cwsandbox.Create(context.Background()); err != nil {
		return err
	}
	fmt.Println(ready, runtime.NumGoroutine())
	select {}
}

// child is the running program.
type child struct {
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr bytes.Buffer
}

// start starts the program and returns when it has made n sandboxes.
func start(tb testing.TB, n int, env ...string) *child {
	tb.Helper()
	c := startUnder(tb, n, env)
	c.expectReady(tb)
	return c
}

// startUnder starts the program as the last arguments of a command.
func startUnder(tb testing.TB, n int, env []string, argv ...string) *child {
	tb.Helper()
	c := prepare(tb, n, env, argv...)
	c.launch(tb)
	return c
}

// prepare is startUnder without the start.
func prepare(tb testing.TB, n int, env []string, argv ...string) *child {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	argv = append(argv, self)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	c := &child{cmd: exec.CommandContext(ctx, argv[0], argv[1:]...)}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "CWSANDBOX_") {
			c.cmd.Env = append(c.cmd.Env, pair)
		}
	}
	c.cmd.Env = append(c.cmd.Env, env...)
	c.cmd.Env = append(c.cmd.Env, programVariable+"="+strconv.Itoa(n))
	c.cmd.Stderr = &c.stderr
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		tb.Fatal(err)
	}
	c.stdout = bufio.NewReader(stdout)
	tb.Cleanup(cancel) // kills it, if it is not dead
	return c
}

func (c *child) launch(tb testing.TB) {
	tb.Helper()
	if err := c.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		c.cmd.Cancel()
		c.cmd.Wait()
	})
}

// expectReady waits until the program has its sandboxes and returns the number of goroutines that it tells.
func (c *child) expectReady(tb testing.TB) (goroutines int) {
	tb.Helper()
	line, err := c.stdout.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(line, ready+" %d\n", &goroutines)
	}
	if err != nil {
		tb.Fatalf("the program said %q, %v", line, err)
	}
	return goroutines
}

// end sends the program a signal and returns how long it took to die of it.
func (c *child) end(tb testing.TB, sig syscall.Signal) time.Duration {
	tb.Helper()
	begin := time.Now()
	if err := c.cmd.Process.Signal(sig); err != nil {
		tb.Fatal(err)
	}
	c.cmd.Wait()
	took := time.Since(begin)
	if status := c.cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != sig {
		tb.Fatalf("the program ended with %v: %s", c.cmd.ProcessState, &c.stderr)
	}
	return took
}
