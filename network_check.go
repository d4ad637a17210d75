package cwsandbox

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
)

const (
	maxHostLength = 253
	maxPort       = 65535
)

// check looks at everything that does not depend on a policy.
func (n Network) check(f *faults, field string) {
	if n.DenyEgress != nil && *n.DenyEgress && len(n.Egress) > 0 {
		f.add(field+".egress", "must be empty where egress is denied, has %d rules", len(n.Egress))
	}
	for i, r := range n.Egress {
		r.check(f, indexed(field+".egress", i))
	}
	for i, r := range n.Ingress {
		r.check(f, indexed(field+".ingress", i))
	}
	if n.DNS < DNSEgressUnspecified || n.DNS > DNSEgressDeny {
		f.add(field+".dns_egress", "must be one of the named ways, is %v", n.DNS)
	}
}

func (r EgressRule) check(f *faults, field string) {
	selects := len(r.PodLabels)+len(r.NamespaceLabels) > 0
	checkOne(f, field, "destination", r.Host != "", r.CIDR != "", r.Tenant != TenantUnspecified, r.Any, selects)
	switch {
	case r.Host != "":
		checkHost(f, field+".https_hostname", r.Host)
		if len(r.Ports) > 1 || len(r.Ports) == 1 && !r.Ports[0].https() {
			f.add(field+".ports", "must be none, or TCP 443 alone, for a host")
		}
		if len(r.Except) > 0 {
			f.add(field+".https_hostname_except", "must be empty: names can be left out in a policy only")
		}
	case selects:
		checkLabels(f, field+".selector.pod_labels", r.PodLabels)
		checkLabels(f, field+".selector.namespace_labels", r.NamespaceLabels)
		if len(r.PodLabels) == 0 {
			f.add(field+".selector.pod_labels", "must not be empty")
		}
	}
	if r.Host == "" {
		checkExcept(f, field, r.CIDR, r.Except)
	}
	checkCIDR(f, field+".cidr.cidr", r.CIDR)
	checkTenant(f, field+".tenant", r.Tenant)
	checkPorts(f, field+".ports", r.Ports)
	checkKnown(f, field, r.Unknown)
}

func (r IngressRule) check(f *faults, field string) {
	checkOne(f, field, "source", r.CIDR != "", r.Tenant != TenantUnspecified, r.Any)
	checkCIDR(f, field+".cidr.cidr", r.CIDR)
	checkExcept(f, field, r.CIDR, r.Except)
	checkTenant(f, field+".tenant", r.Tenant)
	if r.Tenant == TenantSandboxNetwork {
		f.add(field+".tenant", "must not be the %v, which is a destination only", r.Tenant)
	}
	checkPorts(f, field+".ports", r.Ports)
	checkKnown(f, field, r.Unknown)
}

func checkOne(f *faults, field, what string, given ...bool) {
	n := 0
	for _, is := range given {
		if is {
			n++
		}
	}
	if n != 1 {
		f.add(field, "must have exactly one %s, has %d", what, n)
	}
}

func checkKnown(f *faults, field string, unknown []byte) {
	if len(unknown) > 0 {
		f.add(field, "must not be of an unknown kind")
	}
}

// checkHost is the rule for names in lower case, or with a wildcard as the first label.
func checkHost(f *faults, field, host string) {
	if len(host) > maxHostLength {
		f.add(field, "must have at most %d characters, has %d", maxHostLength, len(host))
	}
	for label := range strings.SplitSeq(strings.TrimPrefix(host, "*."), ".") {
		if !labelPattern.MatchString(label) {
			f.add(field, "must be a DNS name, or one with * as its first label, is %q", host)
			return
		}
	}
}

func checkCIDR(f *faults, field, cidr string) {
	if _, err := netip.ParsePrefix(cidr); cidr != "" && err != nil {
		f.add(field, "must be a block of addresses such as 10.0.0.0/8, is %q", cidr)
	}
}

func checkExcept(f *faults, field, cidr string, except []string) {
	if cidr == "" && len(except) > 0 {
		f.add(field+".cidr.except", "needs a block to leave something out of")
		return
	}
	outer, outerErr := netip.ParsePrefix(cidr)
	for i, block := range except {
		inner, err := netip.ParsePrefix(block)
		switch {
		case err != nil:
			f.add(indexed(field+".cidr.except", i), "must be a block of addresses such as 10.0.0.0/8, is %q", block)
		case outerErr == nil && (!outer.Contains(inner.Addr()) || inner.Bits() < outer.Bits()):
			f.add(indexed(field+".cidr.except", i), "must be a part of %s, is %s", cidr, block)
		}
	}
}

func checkTenant(f *faults, field string, t Tenant) {
	if t < TenantUnspecified || t > TenantSandboxNetwork {
		f.add(field, "must be one of the named groups, is %v", t)
	}
}

func checkLabels(f *faults, field string, labels map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		checkWord(f, field, key)
		checkText(f, keyed(field, key), labels[key])
	}
}

func checkPorts(f *faults, field string, ports []PortRange) {
	for i, p := range ports {
		field := indexed(field, i)
		if p.Port < 1 || p.Port > maxPort {
			f.add(field+".port", "must be between 1 and %d, is %d", maxPort, p.Port)
		}
		if p.End != 0 && (p.End < p.Port || p.End > maxPort) {
			f.add(field+".end_port", "must be between the first port and %d, is %d", maxPort, p.End)
		}
		if p.Protocol < ProtocolUnspecified || p.Protocol > ProtocolSCTP {
			f.add(field+".protocol", "must be one of the named protocols, is %v", p.Protocol)
		}
	}
}

// https reports whether it is the one port that host names can be reached at.
func (p PortRange) https() bool {
	return (p.Protocol == ProtocolUnspecified || p.Protocol == ProtocolTCP) && p.Port == 443 && (p.End == 0 || p.End == 443)
}
