package cwsandbox

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// egressOf reads the rules that apply to a sandbox.
func egressOf(messages []*sandboxv1.EgressRule) []EgressRule {
	var rules []EgressRule
	for _, m := range messages {
		r := EgressRule{
			Host:            m.GetHttpsHostname(),
			CIDR:            m.GetCidr().GetCidr(),
			Tenant:          Tenant(m.GetTenant()),
			Any:             m.GetAny(),
			PodLabels:       maps.Clone(m.GetSelector().GetPodLabels()),
			NamespaceLabels: maps.Clone(m.GetSelector().GetNamespaceLabels()),
			Except:          slices.Concat(m.GetCidr().GetExcept(), m.GetHttpsHostnameExcept()),
			Ports:           portsOf(m.GetPorts()),
		}
		known := knownPorts(m.GetPorts()) && (r.Host != "" || r.CIDR != "" || r.Tenant != TenantUnspecified || r.Any || m.GetSelector() != nil)
		r.Unknown = unknownPart(m, known)
		rules = append(rules, r)
	}
	return rules
}

// ingressOf is egressOf for the other direction.
func ingressOf(messages []*sandboxv1.IngressRule) []IngressRule {
	var rules []IngressRule
	for _, m := range messages {
		r := IngressRule{
			CIDR:   m.GetCidr().GetCidr(),
			Tenant: Tenant(m.GetTenant()),
			Any:    m.GetAny(),
			Except: slices.Clone(m.GetCidr().GetExcept()),
			Ports:  portsOf(m.GetPorts()),
		}
		r.Unknown = unknownPart(m, knownPorts(m.GetPorts()) && (r.CIDR != "" || r.Tenant != TenantUnspecified || r.Any))
		rules = append(rules, r)
	}
	return rules
}

func portsOf(messages []*sandboxv1.PortRange) []PortRange {
	var ports []PortRange
	for _, m := range messages {
		protocol, _ := protocolOf(m.GetProtocol())
		ports = append(ports, PortRange{Port: int(m.GetPort()), End: int(m.GetEndPort()), Protocol: protocol})
	}
	return ports
}

func knownPorts(messages []*sandboxv1.PortRange) bool {
	return !slices.ContainsFunc(messages, func(m *sandboxv1.PortRange) bool {
		_, known := protocolOf(m.GetProtocol())
		return !known
	})
}

// protocolOf reads the word for a protocol.
func protocolOf(word string) (p Protocol, known bool) {
	switch word {
	case "":
		return ProtocolUnspecified, true
	case "TCP":
		return ProtocolTCP, true
	case "UDP":
		return ProtocolUDP, true
	case "SCTP":
		return ProtocolSCTP, true
	}
	return ProtocolUnspecified, false
}

// unknownPart is the whole rule, unless all of it is known.
func unknownPart(m proto.Message, known bool) []byte {
	if known && len(m.ProtoReflect().GetUnknown()) == 0 {
		return nil
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil { // it was decoded a moment ago
		return m.ProtoReflect().GetUnknown()
	}
	return raw
}
