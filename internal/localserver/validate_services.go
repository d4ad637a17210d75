package localserver

import (
	"fmt"
	"slices"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// services checks published ports.
func (c *checker) services(list []*sandboxv1.Service) {
	ports, names := make(map[int32]bool), make(map[string]bool)
	for i, svc := range list {
		at := fmt.Sprintf("spec.services[%d].", i)
		c.require(validPort(svc.GetPort()), at+"port", "must be between 1 and 65535")
		c.require(!ports[svc.GetPort()], at+"port", "must not be used twice")
		c.require(svc.GetName() == "" || !names[svc.GetName()], at+"name", "must not be used twice")
		c.require(known(sandboxv1.ServiceProtocol_name, svc.GetProtocol()), at+"protocol", "must be a known protocol")
		c.require(known(sandboxv1.Visibility_name, svc.GetVisibility()), at+"visibility", "must be a known visibility")
		ports[svc.GetPort()], names[svc.GetName()] = true, true
		if svc.GetEndpoint() != nil {
			c.endpoint(at, svc)
		}
	}
	visible := func(v sandboxv1.Visibility) bool {
		return slices.ContainsFunc(list, func(svc *sandboxv1.Service) bool { return svc.GetVisibility() == v })
	}
	c.refuseSet(visible(public) && visible(private), "spec.services")
}

func (c *checker) endpoint(at string, svc *sandboxv1.Service) {
	e, seconds := svc.GetEndpoint(), svc.GetEndpoint().GetRequestTimeoutSeconds()
	c.require(svc.GetVisibility() == sandboxv1.Visibility_VISIBILITY_PUBLIC, at+"visibility", "must be VISIBILITY_PUBLIC for an endpoint")
	tcp := svc.GetProtocol() == sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UNSPECIFIED ||
		svc.GetProtocol() == sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_TCP
	c.require(tcp, at+"protocol", "must be SERVICE_PROTOCOL_TCP for an endpoint")
	at += "endpoint."
	switch e.GetKind() {
	case sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS:
		c.require(known(sandboxv1.EndpointAuth_name, e.GetAuth()) && e.GetAuth() != sandboxv1.EndpointAuth_ENDPOINT_AUTH_UNSPECIFIED,
			at+"auth", "must be ENDPOINT_AUTH_OPEN or ENDPOINT_AUTH_SHARE_TOKEN for HTTPS")
		c.require(seconds == 0 || seconds >= 15 && seconds <= 900, at+"request_timeout_seconds", "must be 0 or between 15 and 900")
	case sandboxv1.EndpointKind_ENDPOINT_KIND_TLS_PASSTHROUGH:
		c.require(e.GetAuth() == sandboxv1.EndpointAuth_ENDPOINT_AUTH_UNSPECIFIED, at+"auth", "must not be set for TLS passthrough")
		c.require(seconds == 0, at+"request_timeout_seconds", "must not be set for TLS passthrough")
	default:
		c.require(false, at+"kind", "must be ENDPOINT_KIND_HTTPS or ENDPOINT_KIND_TLS_PASSTHROUGH")
	}
}

// known says whether an enum has a name for a number.
func known[E ~int32](names map[int32]string, number E) bool {
	_, ok := names[int32(number)]
	return ok
}

func validPort(n int32) bool { return n >= 1 && n <= 65535 }
