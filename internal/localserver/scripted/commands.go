package scripted

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keepAliveScript is what the SDK runs in a sandbox that names no command.
const keepAliveScript = `trap "exit 0" TERM INT; sleep infinity & wait`

// keepAlive waits for a signal and exits 0.
var keepAlive = Command{CatchSignals: true, Run: func(ctx context.Context, p *Proc) int {
	for {
		select {
		case sig := <-p.Signals:
			if sig == 2 || sig == 15 {
				return 0
			}
		case <-ctx.Done():
			return 0
		}
	}
}}

var defaultCommands = map[string]Command{
	"true":  Reply("", "", 0),
	"false": Reply("", "", 1),
	"echo":  {Run: echo},
	"cat":   {Run: cat},
	"env":   {Run: env},
	"pwd":   {Run: pwd},
	"sleep": {Run: sleep},
	"sh":    {Run: Shell},
	"bash":  {Run: Shell},
}

func echo(_ context.Context, p *Proc) int {
	_, _ = fmt.Fprintln(p.Stdout, strings.Join(p.Argv[1:], " "))
	return 0
}

// cat copies its files, or its input when there are none.
func cat(_ context.Context, p *Proc) int {
	if len(p.Argv) == 1 {
		_, _ = io.Copy(p.Stdout, p.Stdin)
		return 0
	}
	exit := 0
	for _, name := range p.Argv[1:] {
		content, err := p.Files.ReadFile(name)
		if err != nil {
			_, _ = fmt.Fprintf(p.Stderr, "cat: %s: %v\n", name, err)
			exit = 1
			continue
		}
		_, _ = p.Stdout.Write(content)
	}
	return exit
}

func env(_ context.Context, p *Proc) int {
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		_, _ = fmt.Fprintf(p.Stdout, "%s=%s\n", name, p.Env[name])
	}
	return 0
}

func pwd(_ context.Context, p *Proc) int {
	_, _ = fmt.Fprintln(p.Stdout, p.Dir)
	return 0
}

// sleep waits for a number of seconds, or, with "infinity", for the end.
func sleep(ctx context.Context, p *Proc) int {
	if len(p.Argv) != 2 {
		_, _ = fmt.Fprintln(p.Stderr, "sleep: one operand is needed")
		return 1
	}
	if p.Argv[1] == "infinity" {
		<-ctx.Done()
		return 0
	}
	seconds, err := strconv.ParseFloat(p.Argv[1], 64)
	if err != nil || seconds < 0 {
		_, _ = fmt.Fprintf(p.Stderr, "sleep: invalid time interval %q\n", p.Argv[1])
		return 1
	}
	timer := time.NewTimer(time.Duration(seconds * float64(time.Second)))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	return 0
}
