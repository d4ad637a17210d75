package cwsandbox

import (
	"context"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"sync"
)

// DialContext connects to a TCP server in the sandbox, or to one that the sandbox can reach: "127.0.0.1:8080" is a server
// of the sandbox itself, and names are looked up there. The network is "tcp"; with "tcp4" and "tcp6" the host must be an
// address of that kind. It is what an [net/http.Transport] wants as its DialContext. In a sandbox that is still starting it
// waits until commands can run.
//
// The context bounds the dialing only, as in [net.Dialer]: the connection lives until it is closed, one of its sides ends
// it, or the sandbox is stopped. Without a deadline the client's request timeout applies. When nobody listens there, the
// error matches [syscall.ECONNREFUSED].
//
// The bytes go over the stream of a command that connects from inside, by what the image has: perl, python3, bash with
// cat, socat, ncat or nc, but for that of OpenBSD. Without any of them, or without /bin/sh, the error lists them and
// matches [errors.ErrUnsupported]. The command does not count in [Sandbox.Stats].
//
// The connection has deadlines, and it holds the server back while nobody reads; the service may end the stream of one
// that is not read for long, which is [ErrBackpressure]. It has a method CloseWrite, as a [*net.TCPConn] has: with perl
// and python3 it ends one direction only. The other tools cannot do that, so there it is an error that matches
// [errors.ErrUnsupported], and a server that ends its own direction ends the connection. Close returns at once; what was
// written is on its way for up to five seconds. A connection that is forgotten is closed when it is collected.
func (sb *Sandbox) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c := call{op: "dial", sandbox: sb.s.id}
	target, err := parseTarget(c, network, addr)
	if err != nil {
		return nil, err
	}
	conn, err := sb.s.dial(ctx, c, target)
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// target is a server, as the sandbox sees it.
type target struct{ addr, host, port string }

// hostPattern allows names and addresses, and nothing that a tool could take for something else.
var hostPattern = regexp.MustCompile(`^[A-Za-z0-9_:][A-Za-z0-9_.:%-]*$`)

func parseTarget(c call, network, addr string) (target, error) {
	var f faults
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		f.add("address", "must be a host and a port, is %q", addr)
		return target{}, f.err(c)
	}
	ip, ipErr := netip.ParseAddr(host)
	switch {
	case !hostPattern.MatchString(host):
		f.add("address", "must have a host name or an IP address, is %q", addr)
	case network == "tcp":
	case network != "tcp4" && network != "tcp6":
		f.add("network", "must be tcp, tcp4 or tcp6, is %q", network)
	case ipErr != nil || ip.Unmap().Is4() != (network == "tcp4"):
		f.add("address", "must have an IP address of network %s, is %q", network, addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 { // the names of ports may differ here and there
		f.add("address", "must have a port between 1 and 65535, is %q", addr)
	}
	return target{addr, host, port}, f.err(c)
}

// Forwarder is a port of this machine that leads into a sandbox: see [Sandbox.Forward].
type Forwarder struct {
	listener net.Listener
	sandbox  *Sandbox
	target   target
	call     call

	life    context.Context // of the listener and of what it has accepted
	end     context.CancelFunc
	running sync.WaitGroup // the goroutines
}

// Forward listens on a TCP address of this machine and connects everybody who comes with a server in the sandbox, as
// [Sandbox.DialContext] does. In "127.0.0.1:0" the port is chosen by the system: see [Forwarder.Addr]. Without a host, as
// in ":8080", it is 127.0.0.1: only an address that is spelled out, such as "0.0.0.0:8080", lets other machines in.
//
// The context is the life of the forwarding; it also ends with Close, and when the sandbox is stopped. The server need not
// be there yet. While it cannot be reached, whoever connects is disconnected, and the client's log says why. The ends of
// both directions are passed on one by one where the image has perl or python3; otherwise a connection of which this
// side has ended its direction is closed once the server has been silent for ten seconds.
func (sb *Sandbox) Forward(ctx context.Context, local, remote string) (*Forwarder, error) {
	c := call{op: "forward", sandbox: sb.s.id}
	to, err := parseTarget(c, "tcp", remote)
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(local)
	if err != nil {
		var f faults
		f.add("local", "must be a host and a port, is %q", local)
		return nil, f.err(c)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	if err := ctx.Err(); err != nil {
		return nil, c.wrap(ctxError(ctx))
	}
	if err := sb.s.hopeless(c.op); err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, c.wrap(err)
	}
	return newForwarder(ctx, sb, c, to, listener), nil
}

// Addr returns the address that the forwarder listens on.
func (f *Forwarder) Addr() net.Addr { return f.listener.Addr() }

// Close ends the forwarding and its connections, and waits until nothing of it runs here any more. Closing again does
// nothing.
func (f *Forwarder) Close() error {
	f.end()
	f.running.Wait()
	return nil
}
