package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Client is a connection to the service and the credential for it. It owns no sandboxes and is safe for concurrent use;
// a program needs one per account, not one per task. Printing a client shows no credential.
type Client struct {
	config    clientConfig
	conn      *transport.Transport
	sandboxes sandboxv1.SandboxServiceClient
	discovery sandboxv1.DiscoveryServiceClient
	endpoints *http.Transport // of services
	volumes   sandboxv1.VolumeServiceClient
	settings  sandboxv1.SettingsServiceClient
	templates sandboxv1.SandboxTemplateServiceClient
	registry  *registry
	link      *hook.Connection // as the guard knows the client; nil with a registry of its own
	host      *host
	requests  atomic.Uint64 // numbers of the requests whose answers are compared
	stops     atomic.Int64  // under way
	closing   sync.Once
	closed    chan struct{}
	expiry    *expiry
	beats     *heartbeats
	owners    sync.Mutex // which session owns which sandbox; locked before any other mutex

	mu     sync.Mutex
	states map[string]weak.Pointer[shared]
}

// NewClient makes a client from options and, where they say nothing, the environment (see the package documentation).
// It does no I/O: a wrong address or key shows with the first call. A missing key is [ErrUnauthenticated], anything else
// that is wrong [ErrInvalidArgument].
func NewClient(opts ...ClientOption) (*Client, error) {
	if _, asked := askedFor(); asked {
		return nil, call{op: "new client"}.refuse(errNotServing.Error(), errNotServing, ErrPrecondition)
	}
	config, err := newClientConfig(os.Getenv, opts)
	if err != nil {
		return nil, err
	}
	link := config.link()
	conn, err := transport.New(config.transport())
	if err != nil {
		return nil, call{op: "new client"}.wrap(err)
	}
	c := &Client{
		config:    config,
		conn:      conn,
		sandboxes: sandboxv1.NewSandboxServiceClient(conn),
		discovery: sandboxv1.NewDiscoveryServiceClient(conn),
		endpoints: config.endpointTransport(),
		volumes:   sandboxv1.NewVolumeServiceClient(conn),
		settings:  sandboxv1.NewSettingsServiceClient(conn),
		templates: sandboxv1.NewSandboxTemplateServiceClient(conn),
		registry:  processRegistry,
		link:      link,
		host:      thisHost,
		closed:    make(chan struct{}),
		states:    make(map[string]weak.Pointer[shared]),
	}
	if config.privateRegistry {
		c.registry = newRegistry()
	}
	c.expiry = newExpiry(c)
	c.beats = newHeartbeats(c)
	return c, nil
}

// Close ends the client's connections; calls in flight and later ones fail with [ErrClosed]. It stops no sandbox. Stops that
// are under way go on. While sandboxes of this client are tracked, what is needed to stop them stays: [Sandbox.Stop] and
// [Session.Close] still work; until all of them are known to have ended, which is looked for when their lifetimes are over,
// a connection stays open. Closing twice is no error.
func (c *Client) Close() (err error) {
	c.closing.Do(func() {
		close(c.closed)
		c.endpoints.CloseIdleConnections()
		if !c.needed() {
			err = c.closeWhole()
			return
		}
		c.conn.Drain()
		if n := c.registry.count(c); n > 0 {
			c.config.logger.Info("the client was closed while sandboxes are tracked", "count", n)
		}
	})
	return err
}

// closeWhole ends everything, whatever is left to stop.
func (c *Client) closeWhole() error {
	c.expiry.stop()
	return c.conn.Close()
}

// settled closes what Close has kept open, once nothing of this client is left to stop.
func (c *Client) settled() {
	if c.isClosed() && !c.needed() {
		c.closeWhole()
	}
}

// needed reports whether there is something that only an open client can stop.
func (c *Client) needed() bool { return c.stops.Load() > 0 || c.registry.count(c) > 0 }

// stopOver ends one of the stops that are counted.
func (c *Client) stopOver() {
	c.stops.Add(-1)
	c.settled()
}

func (c *Client) isClosed() bool { return isClosed(c.closed) }

// isClosed reports whether a channel on which nothing is sent is closed. Nil is not.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// String shows where the client points and what kind of credential it has.
func (c *Client) String() string {
	return fmt.Sprintf("cwsandbox.Client(%s, %s, version %s)", c.config.baseURL, c.config.credentialKind, version())
}

// GoString is String.
func (c *Client) GoString() string { return c.String() }

// LogValue is String.
func (c *Client) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String, so that JSON shows no credential either.
func (c *Client) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Create makes a sandbox and returns once the service has accepted it: it need not run yet, see [Sandbox.WaitRunning] and
// [Client.Run].
//
// Every sandbox has a max lifetime, one hour unless [WithMaxLifetime] or CWSANDBOX_MAX_LIFETIME says otherwise: the
// service counts a create whose outcome it could not settle against the quota for that long, and for 30 days where none
// is given.
//
// Who creates a sandbox stops it: defer sb.Stop().Wait(). When Create fails nothing is left behind: a create whose answer
// was lost, because ctx ended or the connection broke, is repeated with the same request id, detached from ctx, and what
// it made is deleted. If that is not settled within 5 seconds, the error also matches [ErrUndecided], and it goes on in
// the background for 25 more.
//
// The first create of a process installs the signal hook, see Signals in the package documentation; programs that handle
// their signals themselves call [DisableSignalHandling] before.
func (c *Client) Create(ctx context.Context, opts ...Option) (*Sandbox, error) {
	s, err := c.create(ctx, "create", nil, opts)
	if err != nil {
		return nil, err
	}
	return s.handle(), nil
}

// Run makes a sandbox as [Client.Create] does, lifetime, signal hook and promise of leaving nothing behind included, and
// waits as [Sandbox.WaitRunning] does until it runs. If it does not come up it is deleted, and the error says why:
// [ErrFailed], [ErrTerminated], [ErrTimeout] or the context's. A main process that has completed already is no error.
func (c *Client) Run(ctx context.Context, opts ...Option) (*Sandbox, error) {
	return c.run(ctx, nil, opts)
}

func (c *Client) run(ctx context.Context, owner *sessionState, opts []Option) (*Sandbox, error) {
	s, err := c.create(ctx, "run", owner, opts)
	if err != nil {
		return nil, err
	}
	if err := s.waitRunning(ctx, "run"); err != nil {
		if owner.closed() && errors.Is(err, ErrTerminated) {
			err = call{op: "run", sandbox: s.id}.refuse("the session was closed meanwhile", ErrClosed, ErrTerminated)
		}
		return nil, s.rollback(s.hint(err))
	}
	return s.handle(), nil
}

// cwsandboxtest gives its clients a registry of their own, so that a test tracks nothing process-wide, and closes them
// whole when their server ends. It also knows the way to its own direct connections.
func init() {
	hook.CloseWhole = func(client any) error {
		c := client.(*Client)
		return errors.Join(c.Close(), c.closeWhole())
	}
	hook.PrivateRegistry = func() any {
		return clientOption(func(c *clientConfig) { c.privateRegistry = true })
	}
	hook.EndpointDial = func(dial func(context.Context, string) (net.Conn, error)) any {
		return clientOption(func(c *clientConfig) { c.endpointDial = dial })
	}
	hook.Headers = func(headers map[string]string) any {
		credential := Credential{func() (map[string]string, error) { return headers, nil }}
		return WithCredentials(func(context.Context) (Credential, error) { return credential, nil })
	}
	hook.DirectDial = func(dial func(context.Context, string) (net.Conn, error)) any {
		return clientOption(func(c *clientConfig) { c.directDial = dial })
	}
}
