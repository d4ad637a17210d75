// Package transport carries the calls of one client: connection pools, credentials, deadlines, retries by a table, and
// one kind of error, *rpcerr.Error, for all that can go wrong. Generated stubs are made over a Transport as they would
// be over a grpc.ClientConn.
package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// Endpoint is where one set of services listens.
type Endpoint struct {
	Target    string // host:port; an IPv6 host in brackets
	Plaintext bool   // no TLS
}

// Config is what a Transport is made from.
type Config struct {
	Base         Endpoint
	ControlPlane Endpoint // the template service; the base endpoint when zero

	// Credentials returns the metadata that authenticates one attempt of a call. It is asked for every attempt, with
	// the attempt's context, and its error ends the call.
	Credentials func(context.Context) (map[string]string, error)

	Version     string         // of this SDK; empty is sent as "unknown"
	Integration string         // name of the program or library around this SDK; not sent when empty
	RootCAs     *x509.CertPool // the system's when nil

	// VerifyConn, when set, sees every TLS connection once it was verified and before anything is sent on it.
	VerifyConn func(tls.ConnectionState) error

	// DialOptions come after the transport's own and may override them, but for credentials: those of a call and the
	// choice between TLS and plaintext are the client's.
	DialOptions []grpc.DialOption

	// DirectDial, when set, replaces the network for direct connections, which have none of the dial options.
	DirectDial func(ctx context.Context, address string) (net.Conn, error)

	RequestTimeout time.Duration // bounds a unary call, with its retries, whose context has no deadline; above zero
	RetryBudget    time.Duration // time for retries, counted from the first failure of a call; zero: no retries
	Logger         *slog.Logger  // silent when nil
}

// Transport is a grpc.ClientConnInterface over pools of connections. It may be used concurrently.
type Transport struct {
	credentials    func(context.Context) (map[string]string, error)
	headers        map[string]string
	requestTimeout time.Duration
	retryBudget    time.Duration
	logger         *slog.Logger

	lifecycle, data, control *pool // control is lifecycle when they share an endpoint
	drained                  atomic.Bool
	deletes                  gate
	direct                   *directory
}

var _ grpc.ClientConnInterface = (*Transport)(nil)

// New makes a transport without any I/O: connections are made by the calls that need them.
func New(c Config) (*Transport, error) {
	switch {
	case c.Base.Target == "":
		return nil, errors.New("transport: no target")
	case c.Credentials == nil:
		return nil, errors.New("transport: no credentials")
	case c.RequestTimeout <= 0:
		return nil, errors.New("transport: request timeout must be above zero")
	}
	if c.ControlPlane == (Endpoint{}) {
		c.ControlPlane = c.Base
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Transport{
		credentials:    c.Credentials,
		headers:        c.headers(),
		requestTimeout: c.RequestTimeout,
		retryBudget:    c.RetryBudget,
		logger:         c.Logger,
		deletes:        make(gate, maxDeletes),
	}
	if err := t.openPools(c); err != nil {
		return nil, err
	}
	t.direct = newDirectory(t, c)
	return t, nil
}

func (t *Transport) openPools(c Config) error {
	var err error
	if t.lifecycle, err = newPool(c.dialer(c.Base), maxLifecycleConns); err != nil {
		return err
	}
	t.control = t.lifecycle
	if c.ControlPlane != c.Base {
		if t.control, err = newPool(c.dialer(c.ControlPlane), 1); err != nil {
			return errors.Join(err, t.lifecycle.close())
		}
	}
	if t.data, err = newPool(c.dialer(c.Base), maxDataConns); err != nil {
		return errors.Join(err, t.control.close(), t.lifecycle.close())
	}
	return nil
}

// Drain closes the connections that cleaning up does not need and refuses new calls, but for lifecycle calls with the
// AfterDrain option. Lifecycle calls that have begun go on; others in flight fail with rpcerr.ErrClosed.
func (t *Transport) Drain() {
	t.drained.Store(true)
	t.direct.close()
	t.data.close()
	if t.control != t.lifecycle {
		t.control.close()
	}
}

// Close closes all connections and waits until that is done. Calls in flight and later ones fail with
// rpcerr.ErrClosed.
func (t *Transport) Close() error {
	t.drained.Store(true)
	t.direct.close()
	return errors.Join(t.data.close(), t.control.close(), t.lifecycle.close())
}

// poolFor returns the connections that calls of a route use, unless the transport takes no more such calls.
func (t *Transport) poolFor(r route, afterDrain bool) (*pool, error) {
	if t.drained.Load() && !(afterDrain && r == lifecycleRoute) {
		return nil, rpcerr.ErrClosed
	}
	switch r {
	case dataRoute:
		return t.data, nil
	case controlRoute:
		return t.control, nil
	default:
		return t.lifecycle, nil
	}
}
