package cwsandbox

import (
	"context"
	"errors"
)

// RunFunc calls fn with a sandbox that it makes as [Client.Run] does, and stops it as [Sandbox.Stop] does when fn
// returns, panics, which goes on after that, or ends its goroutine. It returns when the sandbox has ended. The error of
// the stop is joined to that of fn. When the sandbox does not come up, fn is not called.
//
// The context bounds the making only: hand it to fn for the rest. The sandbox is stopped even when fn has detached it.
func (c *Client) RunFunc(ctx context.Context, fn func(*Sandbox) error, opts ...Option) error {
	return runFunc(fn, func() (*Sandbox, error) { return c.Run(ctx, opts...) })
}

func runFunc(fn func(*Sandbox) error, run func() (*Sandbox, error)) (err error) {
	if fn == nil {
		return call{op: "run func"}.refuse("the function is nil", ErrInvalidArgument)
	}
	sb, err := run()
	if err != nil {
		return err
	}
	defer func() {
		_, stopErr := sb.Stop().Wait()
		switch {
		case err == nil:
			err = stopErr
		case stopErr != nil:
			err = errors.Join(err, stopErr)
		}
	}()
	return fn(sb)
}
