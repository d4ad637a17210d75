package localserver

import (
	"fmt"
	"net/netip"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// network checks the grammar of what a sandbox wants to reach, and of who may reach it.
func (c *checker) network(n *sandboxv1.NetworkOptions) {
	const egress, ingress = "spec.network.egress", "spec.network.ingress"
	c.require(!n.GetDenyEgress() || len(n.GetEgress()) == 0, egress, "must be empty together with deny_egress")
	for i, rule := range n.GetEgress() {
		c.egressRule(fmt.Sprintf("%s[%d]", egress, i), rule)
	}
	for i, rule := range n.GetIngress() {
		c.ingressRule(fmt.Sprintf("%s[%d]", ingress, i), rule)
	}
	_, ok := sandboxv1.DNSEgressMode_name[int32(n.GetDnsEgress())]
	c.require(ok, "spec.network.dns_egress", "must be a known mode")
}

func (c *checker) egressRule(at string, rule *sandboxv1.EgressRule) {
	switch to := rule.GetDestination().(type) {
	case *sandboxv1.EgressRule_Cidr:
		c.cidr(at, to.Cidr)
	case *sandboxv1.EgressRule_HttpsHostname:
		c.require(validHostname(to.HttpsHostname), at+".https_hostname", "must be a host name, or one with a wildcard as its first label")
		c.require(onlyHTTPS(rule.GetPorts()), at+".https_hostname", "ports must be empty or TCP 443")
	case *sandboxv1.EgressRule_Tenant:
		c.tenant(at, to.Tenant)
	case *sandboxv1.EgressRule_Any:
		c.require(to.Any, at+".any", "must be true or not be set")
	case *sandboxv1.EgressRule_Selector:
		c.require(len(to.Selector.GetPodLabels()) > 0, at+".selector.pod_labels", "must not be empty")
	default:
		c.require(false, at, "must have a destination")
	}
	c.require(len(rule.GetHttpsHostnameExcept()) == 0, at+".https_hostname", "exceptions are not possible in a sandbox")
	c.portRanges(at, rule.GetPorts())
}

func (c *checker) ingressRule(at string, rule *sandboxv1.IngressRule) {
	switch from := rule.GetSource().(type) {
	case *sandboxv1.IngressRule_Cidr:
		c.cidr(at, from.Cidr)
	case *sandboxv1.IngressRule_Tenant:
		c.tenant(at, from.Tenant)
		c.require(from.Tenant != sandboxv1.TenantScope_TENANT_SCOPE_SANDBOX_NETWORK, at+".tenant", "must not be TENANT_SCOPE_SANDBOX_NETWORK")
	case *sandboxv1.IngressRule_Any:
		c.require(from.Any, at+".any", "must be true or not be set")
	default:
		c.require(false, at, "must have a source")
	}
	c.portRanges(at, rule.GetPorts())
}

func (c *checker) cidr(at string, block *sandboxv1.CidrBlock) {
	for _, cidr := range append([]string{block.GetCidr()}, block.GetExcept()...) {
		_, err := netip.ParsePrefix(cidr)
		c.require(err == nil, at+".cidr", "must be an address block such as 10.0.0.0/8")
	}
}

func (c *checker) tenant(at string, scope sandboxv1.TenantScope) {
	_, ok := sandboxv1.TenantScope_name[int32(scope)]
	c.require(ok && scope != 0, at+".tenant", "must be a known scope")
}

func (c *checker) portRanges(at string, ports []*sandboxv1.PortRange) {
	for i, p := range ports {
		at := fmt.Sprintf("%s.ports[%d]", at, i)
		c.require(validPort(p.GetPort()), at+".port", "must be between 1 and 65535")
		last := p.GetEndPort()
		c.require(last == 0 || validPort(last) && last >= p.GetPort(), at+".end_port", "must be 0, or between port and 65535")
		switch p.GetProtocol() {
		case "", "TCP", "UDP", "SCTP":
		default:
			c.require(false, at+".protocol", "must be TCP, UDP or SCTP")
		}
	}
}

func validHostname(host string) bool {
	rest, _ := strings.CutPrefix(host, "*.")
	if len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(rest, ".") {
		if !validLabel(label) {
			return false
		}
	}
	return true
}

func onlyHTTPS(ports []*sandboxv1.PortRange) bool {
	for _, p := range ports {
		if p.GetProtocol() != "" && p.GetProtocol() != "TCP" || p.GetPort() != 443 || p.GetEndPort() != 0 && p.GetEndPort() != 443 {
			return false
		}
	}
	return true
}
