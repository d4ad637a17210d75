//go:build linux || darwin

package process

import (
	"context"
	"net"
	"strconv"
)

// dialLoopback connects to a port of the loopback interface of this process's network, by IPv4 or IPv6.
func dialLoopback(ctx context.Context, port int) (net.Conn, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err == nil || ctx.Err() != nil {
		return conn, err
	}
	if conn, err6 := dialer.DialContext(ctx, "tcp", net.JoinHostPort("::1", strconv.Itoa(port))); err6 == nil {
		return conn, nil
	}
	return nil, err
}
