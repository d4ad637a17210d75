//go:build linux

package main

import (
	"context"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/endings"
	"github.com/cwsandbox/cwsandbox-go/internal/endings/program"
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

func (sdk) Work(ctx context.Context, c endings.Cell, ready func()) <-chan struct{} {
	done := make(chan struct{})
	if c.Help != endings.WithReaper {
		hook.Guard = nil // as if the reaper were not imported
	}
	go func() {
		defer close(done)
		switch c.Phase {
		case endings.Creating:
			ready()
			cwsandbox.Create(ctx, options(c)...)
		case endings.Starting:
			ready()
			cwsandbox.Run(ctx, options(c, cwsandbox.WithTags(endings.HeldTag))...)
		case endings.Running:
			command, err := sandbox(ctx, c).StartProcess(ctx, []string{"sleep", "1000"})
			program.Must(err)
			ready()
			command.Wait()
		case endings.Stopping:
			held := sandbox(ctx, c, cwsandbox.WithTags(endings.HeldTag))
			sandbox(ctx, c)
			ready()
			held.Stop().Wait()
		}
	}()
	return done
}

func sandbox(ctx context.Context, c endings.Cell, opts ...cwsandbox.Option) *cwsandbox.Sandbox {
	sb, err := cwsandbox.Run(ctx, options(c, opts...)...)
	program.Must(err)
	return sb
}

func options(c endings.Cell, opts ...cwsandbox.Option) []cwsandbox.Option {
	if c.Help == endings.WithLease {
		opts = append(opts, cwsandbox.WithLease(endings.Lease))
	}
	return opts
}
