package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"syscall"
)

// portTries is how often a free port is picked anew when the other address family does not have it.
const portTries = 20

// listen opens the listeners, at least one. localhost and 127.0.0.1 are served on ::1 as well, because that is what
// some clients try first for localhost.
func listen(ctx context.Context, host, port string) ([]net.Listener, error) {
	if host != "127.0.0.1" && !strings.EqualFold(host, "localhost") {
		lis, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, err
		}
		return []net.Listener{lis}, nil
	}
	var err error
	for range portTries {
		var both []net.Listener
		both, err = listenBoth(ctx, port)
		if err == nil || port != "0" || !errors.Is(err, syscall.EADDRINUSE) {
			return both, err
		}
	}
	return nil, err
}

// listenBoth listens on 127.0.0.1 and, where this machine has it, on the same port of ::1.
func listenBoth(ctx context.Context, port string) ([]net.Listener, error) {
	four, err := new(net.ListenConfig).Listen(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return nil, err
	}
	_, port, err = net.SplitHostPort(four.Addr().String())
	if err != nil {
		return nil, errors.Join(err, four.Close())
	}
	six, err := new(net.ListenConfig).Listen(ctx, "tcp6", net.JoinHostPort("::1", port))
	switch {
	case err == nil:
		return []net.Listener{four, six}, nil
	case errors.Is(err, syscall.EADDRINUSE):
		// Whoever has it would get the calls of clients that try ::1 first.
		return nil, errors.Join(err, four.Close())
	default:
		return []net.Listener{four}, nil
	}
}

// baseURL is the address for clients: the first listener's, by a name that the certificate has.
func baseURL(lis net.Listener, host string, tls bool) (string, error) {
	bound, port, err := net.SplitHostPort(lis.Addr().String())
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(bound); ip == nil || ip.IsUnspecified() {
		bound = "localhost"
	} else if !ip.IsLoopback() {
		bound = host
	}
	scheme := "http"
	if tls {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(bound, port), nil
}
