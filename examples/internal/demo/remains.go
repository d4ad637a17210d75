package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/cwsandbox/cwsandbox-go"
)

// remainsTag is an environment variable. It makes this program the one that leaves sandboxes behind.
const remainsTag = "CWSANDBOX_EXAMPLE_REMAINS_TAG"

// remainsCount is how many sandboxes are left behind.
const remainsCount = 3

// LeaveRemains starts this program again, as one that makes three sandboxes with a tag, each with its own value of the
// environment variable PART, and is killed before it can stop them. It returns when that has happened.
func LeaveRemains(ctx context.Context, tag string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = append(os.Environ(), remainsTag+"="+tag)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err == nil || string(out) != "ready\n" {
		return fmt.Errorf("the program that should be killed has ended otherwise: %v, %q", err, out)
	}
	fmt.Printf("process %d was killed and has left %d sandboxes with tag %s\n", cmd.Process.Pid, remainsCount, tag)
	return nil
}

// leaveRemains does not return in the process that LeaveRemains has started.
func leaveRemains() {
	tag := os.Getenv(remainsTag)
	if tag == "" {
		return
	}
	if err := remain(context.Background(), tag); err != nil {
		fail(err)
	}
}

// remain makes the sandboxes and kills this process.
func remain(ctx context.Context, tag string) error {
	for i := range remainsCount {
		if _, err := cwsandbox.Run(ctx, cwsandbox.WithTags(tag), cwsandbox.WithEnv("PART", strconv.Itoa(i+1))); err != nil {
			return err
		}
	}
	fmt.Println("ready")
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	return errors.Join(errors.New("this process is still alive"), err)
}
