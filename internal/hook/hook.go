// Package hook is the side door between the packages of this module.
package hook

import (
	"context"
	"net"
)

// PrivateRegistry returns a cwsandbox.ClientOption that gives a client a registry of its own instead of the process-wide
// one. Package cwsandbox sets it when it is loaded.
var PrivateRegistry func() any

// Headers returns a cwsandbox.ClientOption that authenticates requests with headers as another process has sent them. Package
// cwsandbox sets it when it is loaded.
var Headers func(headers map[string]string) any

// DirectDial returns a cwsandbox.ClientOption that makes a client reach the endpoints of direct connections through a
// function, whatever dial options it has. Package cwsandbox sets it when it is loaded.
var DirectDial func(dial func(ctx context.Context, address string) (net.Conn, error)) any

// EndpointDial returns a cwsandbox.ClientOption that makes a client reach the services of sandboxes through a function.
// Package cwsandbox sets it when it is loaded.
var EndpointDial func(dial func(ctx context.Context, address string) (net.Conn, error)) any

// CloseWhole closes a *cwsandbox.Client with everything that its Close keeps for sandboxes that are still tracked: for a
// server that goes away itself. Package cwsandbox sets it when it is loaded.
var CloseWhole func(client any) error
