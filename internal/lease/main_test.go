//go:build linux

package lease

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
)

// TestMain lets this binary be the command that is wrapped.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "describe":
			describe()
			return
		case "signals":
			printSignals()
			return
		}
	}
	signaltest.Defaults()
	os.Exit(m.Run())
}

// description is all that a command can see of how it was started.
type description struct {
	Args, Env   []string
	Dir         string
	Input       string
	Umask       int
	Descriptors []string
	OwnGroup    bool // it is not in the group of the main process, whose session it shares
}

func describe() {
	input, _ := io.ReadAll(os.Stdin)
	d := description{Args: os.Args, Env: os.Environ(), Input: string(input), Umask: syscall.Umask(0)}
	slices.Sort(d.Env)
	d.Dir, _ = os.Getwd()
	for n := range 20 {
		target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", n))
		if err == nil && !runtimeOwn(target) {
			d.Descriptors = append(d.Descriptors, fmt.Sprintf("%d %s", n, target))
		}
	}
	session, _ := unix.Getsid(0)
	d.OwnGroup = syscall.Getpgrp() != session
	json.NewEncoder(os.Stdout).Encode(d)
}

// runtimeOwn reports whether a descriptor is one of Go's own.
func runtimeOwn(target string) bool {
	return target == "anon_inode:[eventpoll]" || target == "anon_inode:[eventfd]"
}

// printSignals prints what it is and then the number of each signal, until one ends it or its input does.
func printSignals() {
	signals := make(chan os.Signal, 100)
	for n := 1; n <= 31; n++ {
		if s := syscall.Signal(n); s != syscall.SIGCHLD && !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	fmt.Println("process", os.Getpid(), os.Getppid())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for s := range signals {
		fmt.Println("signal", int(s.(syscall.Signal)))
	}
}
