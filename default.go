package cwsandbox

import (
	"context"
	"iter"
	"sync"
)

var defaultClient struct {
	mu     sync.Mutex
	client *Client
}

// DefaultClient returns the client of the package-level functions. It is made from the environment when it is first
// needed; if that fails, the next call tries again.
func DefaultClient() (*Client, error) {
	defaultClient.mu.Lock()
	defer defaultClient.mu.Unlock()
	if defaultClient.client == nil {
		c, err := NewClient()
		if err != nil {
			return nil, err
		}
		defaultClient.client = c
	}
	return defaultClient.client, nil
}

// SetDefaultClient makes c the client of the package-level functions. Nil means one from the environment again, made when
// it is next needed. The former client stays open.
func SetDefaultClient(c *Client) {
	defaultClient.mu.Lock()
	defer defaultClient.mu.Unlock()
	defaultClient.client = c
}

// Run is [Client.Run] on the default client.
func Run(ctx context.Context, opts ...Option) (*Sandbox, error) {
	c, err := DefaultClient()
	if err != nil {
		return nil, err
	}
	return c.Run(ctx, opts...)
}

// RunFunc is [Client.RunFunc] on the default client.
func RunFunc(ctx context.Context, fn func(*Sandbox) error, opts ...Option) error {
	c, err := DefaultClient()
	if err != nil {
		return err
	}
	return c.RunFunc(ctx, fn, opts...)
}

// Create is [Client.Create] on the default client.
func Create(ctx context.Context, opts ...Option) (*Sandbox, error) {
	c, err := DefaultClient()
	if err != nil {
		return nil, err
	}
	return c.Create(ctx, opts...)
}

// Attach is [Client.Attach] on the default client.
func Attach(ctx context.Context, id string, opts ...AttachOption) (*Sandbox, error) {
	c, err := DefaultClient()
	if err != nil {
		return nil, err
	}
	return c.Attach(ctx, id, opts...)
}

// List is [Client.List] on the default client.
func List(ctx context.Context, opts ...ListOption) iter.Seq2[*Sandbox, error] {
	c, err := DefaultClient()
	if err != nil {
		return func(yield func(*Sandbox, error) bool) { yield(nil, err) }
	}
	return c.List(ctx, opts...)
}

// Delete is [Client.Delete] on the default client.
func Delete(ctx context.Context, id string, opts ...DeleteOption) error {
	c, err := DefaultClient()
	if err != nil {
		return err
	}
	return c.Delete(ctx, id, opts...)
}

// NewSession is [Client.NewSession] on the default client.
func NewSession(opts ...Option) (*Session, error) {
	c, err := DefaultClient()
	if err != nil {
		return nil, err
	}
	return c.NewSession(opts...)
}
