package cwsandbox

import (
	"fmt"
	"slices"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	minEndpointTimeout = 15 * time.Second
	maxEndpointTimeout = 900 * time.Second
)

// WithServices says which ports of the sandbox others may reach. It replaces what a weaker layer says as a whole; without
// a service it clears it. The service does not take ports of [VisibilityPublic] and [VisibilityPrivate] on one sandbox. An
// endpoint with [EndpointAuthShareToken] where no runner offers it is [ErrNotImplemented].
func WithServices(svcs ...Service) Option {
	svcs = slices.Clone(svcs)
	return createOption{fmt.Sprintf("WithServices(%d services)", len(svcs)), func(c *createConfig) {
		checkServices(&c.faults, "spec.services", svcs)
		c.services = setting[[]Service]{svcs, c.layer}
	}}
}

func checkServices(f *faults, field string, svcs []Service) {
	ports, names := make(map[int]bool), make(map[string]bool)
	for i, s := range svcs {
		at := indexed(field, i)
		switch {
		case s.Port < 1 || s.Port > maxPort:
			f.add(at+".port", "must be between 1 and %d, is %d", maxPort, s.Port)
		case ports[s.Port]:
			f.add(at+".port", "must not repeat %d", s.Port)
		}
		if s.Name != "" {
			checkWord(f, at+".name", s.Name)
			if names[s.Name] {
				f.add(at+".name", "must not repeat %q", s.Name)
			}
		}
		ports[s.Port], names[s.Name] = true, true
		if _, ok := sandboxv1.ServiceProtocol_name[int32(s.Protocol)]; !ok {
			f.add(at+".protocol", "must be tcp, udp or sctp, is %v", s.Protocol)
		}
		if _, ok := sandboxv1.Visibility_name[int32(s.Visibility)]; !ok {
			f.add(at+".visibility", "must be public, private or custom, is %v", s.Visibility)
		}
		s.checkEndpoint(f, at)
	}
}

// checkEndpoint checks what an endpoint asks for, and what it asks of its port.
func (s Service) checkEndpoint(f *faults, at string) {
	e := s.Endpoint
	if e == (Endpoint{}) {
		return
	}
	if s.Visibility != VisibilityPublic {
		f.add(at+".visibility", "must be public for an endpoint, is %v", s.Visibility)
	}
	if s.Protocol != ProtocolUnspecified && s.Protocol != ProtocolTCP {
		f.add(at+".protocol", "must be tcp for an endpoint, is %v", s.Protocol)
	}
	at += ".endpoint"
	switch e.Kind {
	case EndpointHTTPS:
		if e.Auth != EndpointAuthOpen && e.Auth != EndpointAuthShareToken {
			f.add(at+".auth", "must be open or share token for https, is %v", e.Auth)
		}
		if t := e.RequestTimeout; t != 0 && (t < minEndpointTimeout || t > maxEndpointTimeout) {
			f.add(at+".request_timeout_seconds", "must be zero or between %v and %v, is %v", minEndpointTimeout, maxEndpointTimeout, t)
		}
	case EndpointTLSPassthrough:
		if e.Auth != EndpointAuthUnspecified {
			f.add(at+".auth", "must not be set for tls passthrough, is %v", e.Auth)
		}
		if e.RequestTimeout != 0 {
			f.add(at+".request_timeout_seconds", "must not be set for tls passthrough, is %v", e.RequestTimeout)
		}
	default:
		f.add(at+".kind", "must be https or tls passthrough, is %v", e.Kind)
	}
}

// serviceMessages are the services as the service wants them.
func serviceMessages(svcs []Service) []*sandboxv1.Service {
	var list []*sandboxv1.Service
	for _, s := range svcs {
		m := &sandboxv1.Service{
			Port:       int32(s.Port),
			Name:       s.Name,
			Protocol:   sandboxv1.ServiceProtocol(s.Protocol),
			Visibility: sandboxv1.Visibility(s.Visibility),
		}
		if e := s.Endpoint; e != (Endpoint{}) {
			m.Endpoint = &sandboxv1.EndpointSpec{
				Kind:                  sandboxv1.EndpointKind(e.Kind),
				Auth:                  sandboxv1.EndpointAuth(e.Auth),
				RequestTimeoutSeconds: wholeSeconds(e.RequestTimeout),
			}
		}
		list = append(list, m)
	}
	return list
}
