package cwsandbox

import (
	"fmt"
	"strconv"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Service is a port that a sandbox listens on, and who shall reach it. Ports are fixed for the life of the sandbox.
type Service struct {
	Port       int    // 1 to 65535, unique among the sandbox's services
	Name       string // unique; empty: the service is known by its port only
	Protocol   Protocol
	Visibility Visibility // zero: nobody outside of the sandbox
	Endpoint   Endpoint   // zero: the plain port
}

// Endpoint asks the service for an address of its own in front of a port. It needs [VisibilityPublic], and TCP as the
// protocol. See [HTTPSEndpoint] and [TLSPassthroughEndpoint].
type Endpoint struct {
	Kind EndpointKind
	Auth EndpointAuth // of HTTPS, where it is required; none of TLS passthrough
	// RequestTimeout is how long one HTTPS request may take, in whole seconds: 15 s by default (zero), 15 s to 900 s
	// otherwise. Then whoever asked gets HTTP 504, and the sandbox lives on; a connection that was upgraded, such as a
	// WebSocket, has no such limit.
	RequestTimeout time.Duration
}

// HTTPSEndpoint is an endpoint for which the platform terminates TLS. HTTP, WebSockets and server-sent events pass.
func HTTPSEndpoint(auth EndpointAuth) Endpoint { return Endpoint{Kind: EndpointHTTPS, Auth: auth} }

// TLSPassthroughEndpoint is an endpoint whose connections reach the program in the sandbox as they are. The program has the
// certificates: the connections are routed by the server name in the TLS handshake, which must be the host of the address.
func TLSPassthroughEndpoint() Endpoint { return Endpoint{Kind: EndpointTLSPassthrough} }

// Protocol is the transport protocol of a service, or of ports in a rule. The numbers are the service's own; one that this
// version does not know keeps its number.
type Protocol int32

// The transport protocols of a service.
const (
	ProtocolUnspecified Protocol = Protocol(sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UNSPECIFIED) // TCP
	ProtocolTCP         Protocol = Protocol(sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_TCP)
	ProtocolUDP         Protocol = Protocol(sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UDP)
	ProtocolSCTP        Protocol = Protocol(sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_SCTP)
)

// String returns the protocol's name in lower case, or Protocol(42) for a number that this version does not know.
func (p Protocol) String() string {
	switch p {
	case ProtocolUnspecified:
		return "unspecified"
	case ProtocolTCP:
		return "tcp"
	case ProtocolUDP:
		return "udp"
	case ProtocolSCTP:
		return "sctp"
	}
	return fmt.Sprintf("Protocol(%d)", int32(p))
}

// EndpointKind is what the platform does with the traffic of an endpoint. The numbers are the service's own; one that this
// version does not know keeps its number.
type EndpointKind int32

// The kinds of endpoints.
const (
	EndpointUnspecified    EndpointKind = EndpointKind(sandboxv1.EndpointKind_ENDPOINT_KIND_UNSPECIFIED)     // no endpoint
	EndpointHTTPS          EndpointKind = EndpointKind(sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS)           // TLS ends before the sandbox
	EndpointTLSPassthrough EndpointKind = EndpointKind(sandboxv1.EndpointKind_ENDPOINT_KIND_TLS_PASSTHROUGH) // TLS ends in the sandbox
)

// String returns the kind's name in lower case, or EndpointKind(42) for a number that this version does not know.
func (k EndpointKind) String() string {
	switch k {
	case EndpointUnspecified:
		return "unspecified"
	case EndpointHTTPS:
		return "https"
	case EndpointTLSPassthrough:
		return "tls passthrough"
	}
	return fmt.Sprintf("EndpointKind(%d)", int32(k))
}

// EndpointAuth is what the platform asks of who calls an HTTPS endpoint. The numbers are the service's own; one that this
// version does not know keeps its number.
type EndpointAuth int32

// What an HTTPS endpoint can ask for.
const (
	EndpointAuthUnspecified EndpointAuth = EndpointAuth(sandboxv1.EndpointAuth_ENDPOINT_AUTH_UNSPECIFIED)
	EndpointAuthOpen        EndpointAuth = EndpointAuth(sandboxv1.EndpointAuth_ENDPOINT_AUTH_OPEN)        // nothing
	EndpointAuthShareToken  EndpointAuth = EndpointAuth(sandboxv1.EndpointAuth_ENDPOINT_AUTH_SHARE_TOKEN) // the sandbox's [ShareToken]
)

// String returns the name in lower case, or EndpointAuth(42) for a number that this version does not know.
func (a EndpointAuth) String() string {
	switch a {
	case EndpointAuthUnspecified:
		return "unspecified"
	case EndpointAuthOpen:
		return "open"
	case EndpointAuthShareToken:
		return "share token"
	}
	return fmt.Sprintf("EndpointAuth(%d)", int32(a))
}

// ServiceStatus is a service of a sandbox with the addresses that it was given. An address that is assigned need not
// answer yet: see [Sandbox.WaitEndpoint]. Once the sandbox is being stopped, or has ended, it has none.
type ServiceStatus struct {
	// Service is what was asked for. The request timeout of its endpoint is the one that applies.
	Service
	// URL is where an HTTPS endpoint is, an https URL, assigned from the first answer on; or where a plain port is, known
	// while the sandbox runs. Ports of [VisibilityCustom] usually have none.
	URL string
	// Address is the host and port of a TLS passthrough endpoint. The host is also the server name of the TLS handshake.
	Address string
}

// name is what the service is asked for by.
func (s ServiceStatus) name() string {
	if s.Name != "" {
		return s.Name
	}
	return strconv.Itoa(s.Port)
}

// assigned reports whether the service has an address.
func (s ServiceStatus) assigned() bool { return s.URL != "" || s.Address != "" }

// servicesOf reads the services of a record. One that does not report them yet has those that were asked for.
func servicesOf(sb *sandboxv1.Sandbox) []ServiceStatus {
	rows := sb.GetStatus().GetServices()
	if len(rows) == 0 {
		for _, svc := range sb.GetSpec().GetServices() {
			row := &sandboxv1.ServiceStatus{
				Port: svc.GetPort(), Name: svc.GetName(), Protocol: svc.GetProtocol(), Visibility: svc.GetVisibility(),
			}
			if e := svc.GetEndpoint(); e != nil {
				row.Endpoint = &sandboxv1.EndpointStatus{
					Kind: e.GetKind(), Auth: e.GetAuth(), RequestTimeoutSeconds: e.GetRequestTimeoutSeconds(),
				}
			}
			rows = append(rows, row)
		}
	}
	var list []ServiceStatus
	for _, row := range rows {
		list = append(list, serviceOf(row))
	}
	return list
}

func serviceOf(row *sandboxv1.ServiceStatus) ServiceStatus {
	e := row.GetEndpoint()
	s := ServiceStatus{
		Service: Service{
			Port:       int(row.GetPort()),
			Name:       row.GetName(),
			Protocol:   Protocol(row.GetProtocol()),
			Visibility: Visibility(row.GetVisibility()),
			Endpoint: Endpoint{
				Kind:           EndpointKind(e.GetKind()),
				Auth:           EndpointAuth(e.GetAuth()),
				RequestTimeout: time.Duration(e.GetRequestTimeoutSeconds()) * time.Second,
			},
		},
		URL:     row.GetUrl(),
		Address: e.GetAddress(),
	}
	if s.URL == "" {
		s.URL = e.GetUrl()
	}
	return s
}

// carryServices completes the services of an answer by those of the one before. An address of TLS passthrough that was
// seen once stays while later answers leave it out; of a sandbox that is being stopped, or has ended, nothing does.
func (i *Info) carryServices(before []ServiceStatus) {
	if i.stopped || i.ended() || i.State == StateTerminating {
		i.dropAddresses()
		return
	}
	for _, old := range before {
		if old.Address == "" || old.Endpoint.Kind != EndpointTLSPassthrough {
			continue
		}
		if row := i.service(func(s ServiceStatus) bool { return s.Port == old.Port && s.Name == old.Name }); row == nil {
			i.Services = append(i.Services, old)
		} else if row.Address == "" {
			row.Address = old.Address
		}
	}
}

// dropAddresses leaves only what was asked for.
func (i *Info) dropAddresses() {
	for n := range i.Services {
		i.Services[n].URL, i.Services[n].Address = "", ""
	}
}

// service finds a service, or returns nil.
func (i *Info) service(is func(ServiceStatus) bool) *ServiceStatus {
	for n := range i.Services {
		if is(i.Services[n]) {
			return &i.Services[n]
		}
	}
	return nil
}

// named finds a service by its name or, where it has none, by its port.
func (i *Info) named(name string) (ServiceStatus, bool) {
	if row := i.service(func(s ServiceStatus) bool { return s.name() == name }); row != nil {
		return *row, true
	}
	return ServiceStatus{}, false
}
