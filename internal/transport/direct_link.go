package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// maxIdleLinks is how many direct connections without calls are kept.
const maxIdleLinks = 64

// directory is the direct connections of one client.
type directory struct {
	t      *Transport
	roots  *x509.CertPool
	dialer directDialer // nil: the network

	life context.Context // ends when the directory is closed
	end  context.CancelFunc
	work sync.WaitGroup // what connects and what closes; added to under the mutex, before closed is set

	mu       sync.Mutex
	closed   bool
	links    map[*link]struct{}
	idle     []*link   // without leases; the one used last at the end
	unserved time.Time // until when the service is known to issue no credentials at all
}

func newDirectory(t *Transport, c Config) *directory {
	d := &directory{t: t, roots: c.RootCAs, dialer: c.DirectDial, links: make(map[*link]struct{})}
	d.life, d.end = context.WithCancel(context.Background())
	return d
}

// close ends all direct connections, the calls on them, and the attempts to make more.
func (d *directory) close() {
	d.mu.Lock()
	d.closed = true
	for l := range d.links {
		l.closeLocked()
	}
	d.mu.Unlock()
	d.end()
	d.work.Wait()
}

// link is one direct connection. Calls on it have a lease each; without one it is idle, and may be closed for others.
type link struct {
	d      *directory
	conn   *grpc.ClientConn
	expiry *time.Timer

	// Guarded by the directory's mutex.
	leases    int
	discarded bool // it gets no more leases, and is closed with the last one
	closed    bool
}

// connect makes a connection and waits until it stands. A patient caller lets gRPC try again and again.
func (d *directory) connect(ctx context.Context, cred *credential, patient bool) (*link, error) {
	var mu sync.Mutex
	reason := errors.New("the connection to " + cred.address + " could not be made")
	conn, err := cred.dial(d.dialer, func(err error) {
		mu.Lock()
		defer mu.Unlock()
		reason = err
	})
	if err != nil {
		return nil, err
	}
	conn.Connect()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.TransientFailure && !patient || !conn.WaitForStateChange(ctx, state) {
			conn.Close()
			mu.Lock()
			defer mu.Unlock()
			return nil, reason
		}
	}
	return &link{d: d, conn: conn}, nil
}

// keepLocked takes a new connection in, with so many leases. It ends with its credential.
func (d *directory) keepLocked(l *link, cred *credential, leases int) {
	d.links[l] = struct{}{}
	l.expiry = time.AfterFunc(time.Until(cred.expires), l.discard)
	l.leases = leases + 1
	l.releaseLocked()
}

// usableLocked reports whether a call may begin on the link.
func (l *link) usableLocked() bool {
	return l != nil && !l.discarded && l.conn.GetState() == connectivity.Ready
}

func (l *link) leaseLocked() {
	if l.leases++; l.leases == 1 {
		l.d.notIdleLocked(l)
	}
}

func (d *directory) notIdleLocked(l *link) {
	if i := slices.Index(d.idle, l); i >= 0 {
		d.idle = slices.Delete(d.idle, i, i+1)
	}
}

// release gives a lease back.
func (l *link) release() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.releaseLocked()
}

func (l *link) releaseLocked() {
	if l.leases--; l.leases > 0 || l.closed {
		return
	}
	if l.discarded {
		l.closeLocked()
		return
	}
	l.d.idle = append(l.d.idle, l)
	if len(l.d.idle) > maxIdleLinks {
		l.d.idle[0].discardLocked()
	}
}

// discard lets nothing more begin on the link.
func (l *link) discard() {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.discardLocked()
}

func (l *link) discardLocked() {
	l.discarded = true
	if l.leases == 0 {
		l.closeLocked()
	}
}

func (l *link) closeLocked() {
	if l.closed {
		return
	}
	l.closed, l.discarded = true, true
	l.expiry.Stop()
	l.d.notIdleLocked(l)
	delete(l.d.links, l)
	l.d.work.Go(func() { l.conn.Close() })
}

// translate turns the error of a call on the link into ours, and lets nothing more begin on a link that has failed.
func (l *link) translate(caller context.Context, method string, err error, trailer metadata.MD) *rpcerr.Error {
	e := rpcerr.New(caller, method, err, trailer)
	if e.Context != nil {
		return e
	}
	code := e.Status.Code()
	if l.d.life.Err() != nil && (code == codes.Canceled || code == codes.Unavailable) {
		return rpcerr.Local(method, codes.Canceled, rpcerr.ErrClosed)
	}
	if code == codes.Unavailable || retiring(e) {
		l.discard()
	}
	return e
}
