// Package hook is the side door between the packages of this module.
package hook

// PrivateRegistry returns a cwsandbox.ClientOption that gives a client a registry of its own instead of the process-wide
// one. Package cwsandbox sets it when it is loaded.
var PrivateRegistry func() any

// CloseWhole closes a *cwsandbox.Client with everything that its Close keeps for sandboxes that are still tracked: for a
// server that goes away itself. Package cwsandbox sets it when it is loaded.
var CloseWhole func(client any) error
