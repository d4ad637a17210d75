package cwsandbox

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Network says what a sandbox may reach, and who may reach its ports of [VisibilityCustom]. What is left out is decided by
// the policy that applies to the sandbox, which also bounds the rest; [Info] has what came of it. It cannot be changed
// afterwards.
type Network struct {
	DenyEgress  *bool // nothing is reached, whatever the policy allows; names are still resolved. new(true); nil: nothing is said
	DenyIngress *bool // nobody reaches a port of VisibilityCustom; a public one stays open
	Egress      []EgressRule
	Ingress     []IngressRule
	DNS         DNSEgress
}

// EgressRule allows a sandbox to reach one destination: exactly one of Host, CIDR, Tenant, Any and PodLabels. Traffic
// passes when any rule allows it.
type EgressRule struct {
	// Host is reached by HTTPS: a name such as "pypi.org", or "*.pypi.org" for all names with exactly one label more. A
	// runner must be able to enforce names.
	Host   string
	CIDR   string // a block of addresses, such as "10.0.0.0/8"
	Tenant Tenant // other sandboxes
	Any    bool   // all but the platform's own addresses
	// PodLabels selects workloads of the cluster by labels that they must have, in namespaces with NamespaceLabels, or in
	// the sandbox's own.
	PodLabels       map[string]string
	NamespaceLabels map[string]string

	Except []string    // blocks to leave out of CIDR; in what the service tells, also names to leave out of Host
	Ports  []PortRange // none: all of them; of a Host TCP 443, which is all that can be given

	// Unknown is the rule as the service encodes it, when there is more to it than this version knows. It cannot be asked
	// for.
	Unknown []byte
}

// IngressRule lets one source reach ports of [VisibilityCustom]: exactly one of CIDR, Tenant and Any.
type IngressRule struct {
	CIDR   string // a block of addresses, such as "10.0.0.0/8"
	Tenant Tenant // other sandboxes; not TenantSandboxNetwork
	Any    bool

	Except  []string    // blocks to leave out of CIDR
	Ports   []PortRange // none: all of them
	Unknown []byte      // as in [EgressRule]
}

// PortRange is a port, or all from Port to End.
type PortRange struct {
	Port     int
	End      int // included; 0: the same as Port
	Protocol Protocol
}

// Tenant is a group of sandboxes. The numbers are the service's own; one that this version does not know keeps its number.
type Tenant int32

// The groups of sandboxes.
const (
	TenantUnspecified    Tenant = Tenant(sandboxv1.TenantScope_TENANT_SCOPE_UNSPECIFIED)
	TenantSameUser       Tenant = Tenant(sandboxv1.TenantScope_TENANT_SCOPE_SAME_USER)
	TenantSameOrg        Tenant = Tenant(sandboxv1.TenantScope_TENANT_SCOPE_SAME_ORG)
	TenantSandboxNetwork Tenant = Tenant(sandboxv1.TenantScope_TENANT_SCOPE_SANDBOX_NETWORK) // of the same network
)

// String returns the group's name in lower case, or Tenant(42) for a number that this version does not know.
func (t Tenant) String() string {
	switch t {
	case TenantUnspecified:
		return "unspecified"
	case TenantSameUser:
		return "same user"
	case TenantSameOrg:
		return "same org"
	case TenantSandboxNetwork:
		return "sandbox network"
	}
	return fmt.Sprintf("Tenant(%d)", int32(t))
}

// DNSEgress says whether name resolution may leave a sandbox. The numbers are the service's own; one that this version does
// not know keeps its number.
type DNSEgress int32

// What may become of name resolution.
const (
	DNSEgressUnspecified DNSEgress = DNSEgress(sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_UNSPECIFIED) // the policy decides
	DNSEgressAllow       DNSEgress = DNSEgress(sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_ALLOW)
	DNSEgressDeny        DNSEgress = DNSEgress(sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_DENY)
)

// String returns the name in lower case, or DNSEgress(42) for a number that this version does not know.
func (d DNSEgress) String() string {
	switch d {
	case DNSEgressUnspecified:
		return "unspecified"
	case DNSEgressAllow:
		return "allow"
	case DNSEgressDeny:
		return "deny"
	}
	return fmt.Sprintf("DNSEgress(%d)", int32(d))
}

// WithNetwork says what the sandbox may reach, and who may reach it. It replaces what a weaker layer says as a whole, or a
// template, and WithNetwork(Network{}) leaves all of it to the policy. A rule that the policy, or every runner, rules out
// is refused by the service: as [ErrInvalidArgument] or [ErrPlacement].
func WithNetwork(n Network) Option {
	n = n.clone()
	return createOption{"WithNetwork(" + n.shown() + ")", func(c *createConfig) {
		n.check(&c.faults, "spec.network")
		own := n.clone()
		c.network = setting[*Network]{&own, c.layer}
	}}
}

// clone also puts names into the form that is sent.
func (n Network) clone() Network {
	n.DenyEgress, n.DenyIngress = copied(n.DenyEgress), copied(n.DenyIngress)
	n.Egress, n.Ingress = cloneEgress(n.Egress), cloneIngress(n.Ingress)
	for i := range n.Egress {
		n.Egress[i].Host = strings.ToLower(strings.TrimSpace(n.Egress[i].Host))
	}
	return n
}

func cloneEgress(rules []EgressRule) []EgressRule {
	rules = slices.Clone(rules)
	for i := range rules {
		r := &rules[i]
		r.PodLabels, r.NamespaceLabels = maps.Clone(r.PodLabels), maps.Clone(r.NamespaceLabels)
		r.Except, r.Ports, r.Unknown = slices.Clone(r.Except), slices.Clone(r.Ports), slices.Clone(r.Unknown)
	}
	return rules
}

func cloneIngress(rules []IngressRule) []IngressRule {
	rules = slices.Clone(rules)
	for i := range rules {
		r := &rules[i]
		r.Except, r.Ports, r.Unknown = slices.Clone(r.Except), slices.Clone(r.Ports), slices.Clone(r.Unknown)
	}
	return rules
}

// shown lists what is said.
func (n Network) shown() string {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	if n.DenyEgress != nil {
		add("deny egress %v", *n.DenyEgress)
	}
	if n.DenyIngress != nil {
		add("deny ingress %v", *n.DenyIngress)
	}
	for _, r := range n.Egress {
		add("to %v", r)
	}
	for _, r := range n.Ingress {
		add("from %v", r)
	}
	if n.DNS != DNSEgressUnspecified {
		add("dns %v", n.DNS)
	}
	return strings.Join(parts, ", ")
}

// String shows the rule in a line, as in "10.0.0.0/8 except 10.1.0.0/16 on TCP 8000-8100".
func (r EgressRule) String() string {
	var to []string
	switch {
	case r.Host != "":
		to = append(to, r.Host)
	case len(r.PodLabels)+len(r.NamespaceLabels) > 0:
		to = append(to, "pods "+shownLabels(r.PodLabels))
		if len(r.NamespaceLabels) > 0 {
			to = append(to, "in namespaces "+shownLabels(r.NamespaceLabels))
		}
	}
	return shownRule(to, r.CIDR, r.Tenant, r.Any, r.Except, r.Ports, r.Unknown)
}

// String shows the rule in a line, as in "same org on TCP 443".
func (r IngressRule) String() string {
	return shownRule(nil, r.CIDR, r.Tenant, r.Any, r.Except, r.Ports, r.Unknown)
}

func shownRule(parts []string, cidr string, tenant Tenant, everybody bool, except []string, ports []PortRange, unknown []byte) string {
	if cidr != "" {
		parts = append(parts, cidr)
	}
	if tenant != TenantUnspecified {
		parts = append(parts, tenant.String())
	}
	if everybody {
		parts = append(parts, "any")
	}
	if len(unknown) > 0 {
		parts = append(parts, fmt.Sprintf("(unknown, %d bytes)", len(unknown)))
	}
	if len(except) > 0 {
		parts = append(parts, "except "+strings.Join(except, ", "))
	}
	for i, p := range ports {
		word := "and"
		if i == 0 {
			word = "on"
		}
		parts = append(parts, word+" "+p.String())
	}
	return strings.Join(parts, " ")
}

func shownLabels(labels map[string]string) string {
	var shown []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		shown = append(shown, key+"="+labels[key])
	}
	return strings.Join(shown, ",")
}

// String shows the range as in "UDP 53" or "TCP 8000-8100".
func (p PortRange) String() string {
	text := fmt.Sprintf("%s %d", cmp.Or(p.protocol(), "TCP"), p.Port)
	if p.End != 0 && p.End != p.Port {
		text += fmt.Sprintf("-%d", p.End)
	}
	return text
}

// protocol is the word for the protocol; none stands for TCP.
func (p PortRange) protocol() string {
	if p.Protocol == ProtocolUnspecified {
		return ""
	}
	return strings.ToUpper(p.Protocol.String())
}

// message is nil when nothing is said at all.
func (n *Network) message() *sandboxv1.NetworkOptions {
	if n == nil {
		return nil
	}
	m := &sandboxv1.NetworkOptions{
		DenyEgress:  n.DenyEgress,
		DenyIngress: n.DenyIngress,
		DnsEgress:   sandboxv1.DNSEgressMode(n.DNS),
	}
	for _, r := range n.Egress {
		m.Egress = append(m.Egress, r.message())
	}
	for _, r := range n.Ingress {
		m.Ingress = append(m.Ingress, r.message())
	}
	return m
}

func (r EgressRule) message() *sandboxv1.EgressRule {
	m := &sandboxv1.EgressRule{Ports: portMessages(r.Ports)}
	switch {
	case r.Host != "":
		m.Destination = &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: r.Host}
	case r.CIDR != "":
		m.Destination = &sandboxv1.EgressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: r.CIDR, Except: r.Except}}
	case r.Tenant != TenantUnspecified:
		m.Destination = &sandboxv1.EgressRule_Tenant{Tenant: sandboxv1.TenantScope(r.Tenant)}
	case r.Any:
		m.Destination = &sandboxv1.EgressRule_Any{Any: true}
	default:
		m.Destination = &sandboxv1.EgressRule_Selector{Selector: &sandboxv1.SelectorBlock{
			PodLabels: r.PodLabels, NamespaceLabels: r.NamespaceLabels,
		}}
	}
	return m
}

func (r IngressRule) message() *sandboxv1.IngressRule {
	m := &sandboxv1.IngressRule{Ports: portMessages(r.Ports)}
	switch {
	case r.CIDR != "":
		m.Source = &sandboxv1.IngressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: r.CIDR, Except: r.Except}}
	case r.Tenant != TenantUnspecified:
		m.Source = &sandboxv1.IngressRule_Tenant{Tenant: sandboxv1.TenantScope(r.Tenant)}
	default:
		m.Source = &sandboxv1.IngressRule_Any{Any: true}
	}
	return m
}

func portMessages(ports []PortRange) []*sandboxv1.PortRange {
	var messages []*sandboxv1.PortRange
	for _, p := range ports {
		messages = append(messages, &sandboxv1.PortRange{
			Protocol: p.protocol(), Port: int32(p.Port), EndPort: int32(p.End),
		})
	}
	return messages
}
