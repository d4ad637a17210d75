package cwsandbox

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	egressRule  = sandboxv1.EgressRule
	ingressRule = sandboxv1.IngressRule
	network     = sandboxv1.NetworkOptions
)

// toHost is the rule for a host as it travels.
func toHost(host string) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: host}}
}

func TestNetworkOfCreate(t *testing.T) {
	rules := WithNetwork(Network{Egress: []EgressRule{{Host: "pypi.org"}}})
	t.Run("K-054", func(t *testing.T) {
		spec, _ := sent(t, []Option{Defaults(rules)}, []Option{WithNetwork(Network{DenyIngress: new(true)})})
		assert.True(t, proto.Equal(&network{DenyIngress: new(true)}, spec.GetNetwork()), "%v", spec.GetNetwork())
	})
	t.Run("K-055", func(t *testing.T) {
		spec, _ := sent(t, []Option{rules}, []Option{WithNetwork(Network{})})
		require.NotNil(t, spec.GetNetwork())
		assert.Zero(t, proto.Size(spec.GetNetwork()))
	})
	t.Run("K-056", func(t *testing.T) {
		spec, _ := sent(t, nil, nil)
		assert.Nil(t, spec.GetNetwork())
		spec, _ = sent(t, []Option{rules}, nil)
		assert.Len(t, spec.GetNetwork().GetEgress(), 1, "inherited")
	})
	for name, tt := range map[string]struct {
		in   Network
		want *network
	}{
		"unset, false and true are three things": {
			Network{DenyEgress: new(false), DenyIngress: new(true)}, &network{DenyEgress: new(false), DenyIngress: new(true)},
		},
		"K-083": {
			Network{DenyEgress: new(false), Egress: []EgressRule{{Any: true}}},
			&network{DenyEgress: new(false), Egress: []*egressRule{{Destination: &sandboxv1.EgressRule_Any{Any: true}}}},
		},
		"K-084": {
			Network{Egress: []EgressRule{{Host: " PyPI.org "}, {Host: "*.pypi.org"}, {Host: strings.Repeat("a", 63)}}},
			&network{Egress: []*egressRule{toHost("pypi.org"), toHost("*.pypi.org"), toHost(strings.Repeat("a", 63))}},
		},
		"the port of a host": {
			Network{Egress: []EgressRule{{Host: "pypi.org", Ports: []PortRange{{Port: 443, End: 443, Protocol: ProtocolTCP}}}}},
			&network{Egress: []*egressRule{{
				Destination: &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: "pypi.org"},
				Ports:       []*sandboxv1.PortRange{{Protocol: "TCP", Port: 443, EndPort: 443}},
			}}},
		},
		"every destination": {
			Network{Egress: []EgressRule{
				{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}, Ports: []PortRange{{Port: 1}, {Port: 8000, End: 65535, Protocol: ProtocolUDP}}},
				{CIDR: "fd00::/8"},
				{Tenant: TenantSameUser}, {Tenant: TenantSameOrg}, {Tenant: TenantSandboxNetwork},
				{PodLabels: map[string]string{"app": "db"}, NamespaceLabels: map[string]string{"team": ""}, Ports: []PortRange{{Port: 2, Protocol: ProtocolSCTP}}},
			}, DNS: DNSEgressDeny},
			&network{Egress: []*egressRule{
				{
					Destination: &sandboxv1.EgressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}},
					Ports:       []*sandboxv1.PortRange{{Port: 1}, {Protocol: "UDP", Port: 8000, EndPort: 65535}},
				},
				{Destination: &sandboxv1.EgressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: "fd00::/8"}}},
				{Destination: &sandboxv1.EgressRule_Tenant{Tenant: 1}}, {Destination: &sandboxv1.EgressRule_Tenant{Tenant: 2}},
				{Destination: &sandboxv1.EgressRule_Tenant{Tenant: 3}},
				{
					Destination: &sandboxv1.EgressRule_Selector{Selector: &sandboxv1.SelectorBlock{
						PodLabels: map[string]string{"app": "db"}, NamespaceLabels: map[string]string{"team": ""},
					}},
					Ports: []*sandboxv1.PortRange{{Protocol: "SCTP", Port: 2}},
				},
			}, DnsEgress: 2},
		},
		"every source": {
			Network{DenyIngress: new(false), Ingress: []IngressRule{
				{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/8"}}, {Tenant: TenantSameOrg, Ports: []PortRange{{Port: 80}}}, {Any: true},
			}, DNS: DNSEgressAllow},
			&network{DenyIngress: new(false), Ingress: []*ingressRule{
				{Source: &sandboxv1.IngressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: "10.0.0.0/8", Except: []string{"10.0.0.0/8"}}}},
				{Source: &sandboxv1.IngressRule_Tenant{Tenant: 2}, Ports: []*sandboxv1.PortRange{{Port: 80}}},
				{Source: &sandboxv1.IngressRule_Any{Any: true}},
			}, DnsEgress: 1},
		},
		"denied ingress ignores rules": {
			Network{DenyIngress: new(true), Ingress: []IngressRule{{Any: true}}},
			&network{DenyIngress: new(true), Ingress: []*ingressRule{{Source: &sandboxv1.IngressRule_Any{Any: true}}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			spec, _ := sent(t, nil, []Option{WithNetwork(tt.in)})
			assert.True(t, proto.Equal(tt.want, spec.GetNetwork()), "%v", spec.GetNetwork())
		})
	}
	t.Run("nothing is shared with the caller", func(t *testing.T) {
		n := Network{DenyEgress: new(false), Egress: []EgressRule{{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/9"}, Ports: []PortRange{{Port: 1}}}, {PodLabels: map[string]string{"a": "b"}}}}
		opt := WithNetwork(n)
		before, _ := sent(t, nil, []Option{opt})
		before = proto.Clone(before).(*sandboxv1.SandboxSpec)
		*n.DenyEgress, n.Egress[0].Except[0], n.Egress[0].Ports[0].Port, n.Egress[1].PodLabels["a"] = true, "x", 2, "c"
		n.Egress[0].CIDR = "y"
		after, _ := sent(t, nil, []Option{opt})
		assert.True(t, proto.Equal(before, after))
	})
}

func TestNetworkIsChecked(t *testing.T) {
	to := func(r EgressRule) Network { return Network{Egress: []EgressRule{{Any: true}, r}} }
	from := func(r IngressRule) Network { return Network{Ingress: []IngressRule{r}} }
	ports := func(p ...PortRange) Network { return to(EgressRule{Any: true, Ports: p}) }
	refused := func(name, want string, networks ...Network) {
		t.Run(name, func(t *testing.T) {
			for _, n := range networks {
				err := createError(WithNetwork(n))
				require.ErrorIs(t, err, ErrInvalidArgument, n.shown())
				assert.ErrorContains(t, err, "spec.network."+want)
				assert.ErrorContains(t, err, "(WithNetwork)")
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Len(t, e.Violations, 1, "%v", err)
			}
		})
	}
	refused("K-083", "egress: must be empty where egress is denied, has 1 rules",
		Network{DenyEgress: new(true), Egress: []EgressRule{{Any: true}}})
	for _, host := range []string{
		"*", "a..b", "a.*.b", strings.Repeat("a", 64) + ".org", "*.*.org", "-x.com", "x-.com", "a_b.org", "pypi.org.", "https://pypi.org", "ä.de", "*x.org",
	} {
		refused("K-084 "+host, "egress[1].https_hostname: must be a DNS name", to(EgressRule{Host: host}))
	}
	refused("K-084 of 254 characters", "egress[1].https_hostname: must have at most 253 characters, has 254",
		to(EgressRule{Host: strings.Repeat("a.", 125) + "aaaa"}))
	refused("K-084 empty", "egress[1]: must have exactly one destination, has 0", to(EgressRule{}), to(EgressRule{Host: " "}))
	refused("two destinations", "egress[1]: must have exactly one destination, has 2",
		to(EgressRule{Host: "a.org", Any: true}), to(EgressRule{CIDR: "10.0.0.0/8", Tenant: TenantSameOrg}),
		to(EgressRule{Any: true, PodLabels: map[string]string{"a": "b"}}))
	refused("all destinations", "egress[1]: must have exactly one destination, has 5", to(EgressRule{
		Host: "a.org", CIDR: "10.0.0.0/8", Tenant: TenantSameOrg, Any: true, PodLabels: map[string]string{"a": "b"},
	}))
	refused("ports of a host", "egress[1].ports: must be none, or TCP 443 alone",
		to(EgressRule{Host: "a.org", Ports: []PortRange{{Port: 80}}}),
		to(EgressRule{Host: "a.org", Ports: []PortRange{{Port: 443, Protocol: ProtocolUDP}}}),
		to(EgressRule{Host: "a.org", Ports: []PortRange{{Port: 443, End: 444}}}),
		to(EgressRule{Host: "a.org", Ports: []PortRange{{Port: 443}, {Port: 443}}}))
	refused("exceptions of a host", "egress[1].https_hostname_except: must be empty", to(EgressRule{Host: "*.a.org", Except: []string{"x.a.org"}}))
	refused("exceptions of nothing", "egress[1].cidr.except: needs a block", to(EgressRule{Any: true, Except: []string{"10.0.0.0/8"}}))
	refused("blocks", "egress[1].cidr.cidr: must be a block of addresses", to(EgressRule{CIDR: "10.0.0.0"}), to(EgressRule{CIDR: "10.0.0.0/33"}), to(EgressRule{CIDR: "a.org/8"}))
	refused("exceptions that are none", `egress[1].cidr.except[1]: must be a block of addresses such as 10.0.0.0/8, is "x"`,
		to(EgressRule{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/9", "x"}}))
	refused("exceptions of something else", "egress[1].cidr.except[0]: must be a part of 10.0.0.0/8, is ",
		to(EgressRule{CIDR: "10.0.0.0/8", Except: []string{"11.0.0.0/9"}}), to(EgressRule{CIDR: "10.0.0.0/8", Except: []string{"10.0.0.0/7"}}),
		to(EgressRule{CIDR: "10.0.0.0/8", Except: []string{"fd00::/8"}}))
	refused("tenants", "egress[1].tenant: must be one of the named groups, is Tenant(", to(EgressRule{Tenant: 4}), to(EgressRule{Tenant: -1}))
	refused("labels of pods", "egress[1].selector.pod_labels: must not be empty",
		to(EgressRule{NamespaceLabels: map[string]string{"a": "b"}}), to(EgressRule{PodLabels: map[string]string{"": "b"}}))
	refused("labels of namespaces", "egress[1].selector.namespace_labels: must not be blank",
		to(EgressRule{PodLabels: map[string]string{"a": "b"}, NamespaceLabels: map[string]string{" ": "b"}}))
	refused("values of labels", `egress[1].selector.pod_labels["a"]: must not contain NUL`, to(EgressRule{PodLabels: map[string]string{"a": "\x00"}}))
	refused("ports", "egress[1].ports[1].port: must be between 1 and 65535, is ", ports(PortRange{Port: 1}, PortRange{}), ports(PortRange{Port: 1}, PortRange{Port: 65536}), ports(PortRange{Port: 1}, PortRange{Port: -1}))
	refused("ends of ranges", "egress[1].ports[0].end_port: must be between the first port and 65535, is ",
		ports(PortRange{Port: 2, End: 1}), ports(PortRange{Port: 2, End: 65536}), ports(PortRange{Port: 2, End: -1}))
	refused("protocols", `egress[1].ports[0].protocol: must be one of the named protocols, is Protocol(`, ports(PortRange{Port: 1, Protocol: 4}), ports(PortRange{Port: 1, Protocol: -1}))
	refused("rules of an unknown kind", "egress[1]: must not be of an unknown kind", to(EgressRule{Any: true, Unknown: []byte("x")}))
	refused("sources", "ingress[0]: must have exactly one source, has ", from(IngressRule{}), from(IngressRule{CIDR: "10.0.0.0/8", Any: true}))
	refused("blocks of sources", "ingress[0].cidr.cidr: must be a block", from(IngressRule{CIDR: "x"}))
	refused("exceptions of sources", "ingress[0].cidr.except[0]: must be a part", from(IngressRule{CIDR: "10.0.0.0/8", Except: []string{"11.0.0.0/8"}}))
	refused("ports of sources", "ingress[0].ports[0].port: must be between", from(IngressRule{Any: true, Ports: []PortRange{{Port: 0}}}))
	refused("a network is no source", "ingress[0].tenant: must not be the sandbox network", from(IngressRule{Tenant: TenantSandboxNetwork}))
	refused("unknown sources", "ingress[0]: must not be of an unknown kind", from(IngressRule{Any: true, Unknown: []byte("x")}))
	refused("dns", "dns_egress: must be one of the named ways, is DNSEgress(3)", Network{DNS: 3})

	bubble(t, "all at once, and nothing is sent", func(t *testing.T, f *fake, c *Client) {
		_, err := c.Run(t.Context(), WithNetwork(Network{Egress: []EgressRule{{}, {Host: "*"}}, Ingress: []IngressRule{{}}}))
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Len(t, e.Violations, 3)
		assert.Zero(t, f.count("CreateSandbox"))
		assert.Zero(t, c.registry.count(c))
	})
}

func TestEffectiveNetwork(t *testing.T) {
	later := func(number protowire.Number) []byte {
		return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), "new")
	}
	unknownTo := new(egressRule)
	unknownTo.ProtoReflect().SetUnknown(later(9))
	narrowed := toHost("a.org")
	narrowed.ProtoReflect().SetUnknown(later(10))
	unknownFrom := new(ingressRule)
	unknownFrom.ProtoReflect().SetUnknown(later(9))
	whole, err := proto.Marshal(narrowed)
	require.NoError(t, err)
	onQUIC := &egressRule{Destination: &sandboxv1.EgressRule_Any{Any: true}, Ports: []*sandboxv1.PortRange{{Protocol: "QUIC", Port: 1}}}
	quic, err := proto.Marshal(onQUIC)
	require.NoError(t, err)

	bubble(t, "is in Info", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		assert.Empty(t, sb.Info().Egress)
		r := record("sb-1", runningV)
		r.Status.EffectiveDnsEgress = 7
		r.Status.EffectiveEgress = []*egressRule{
			toHost("pypi.org"),
			{Destination: &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: "*"}, HttpsHostnameExcept: []string{"bad.org"}},
			{
				Destination: &sandboxv1.EgressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}},
				Ports:       []*sandboxv1.PortRange{{Protocol: "UDP", Port: 1, EndPort: 2}},
			},
			{Destination: &sandboxv1.EgressRule_Tenant{Tenant: 42}},
			{Destination: &sandboxv1.EgressRule_Any{Any: true}},
			{Destination: &sandboxv1.EgressRule_Selector{Selector: &sandboxv1.SelectorBlock{PodLabels: map[string]string{"b": "2", "a": "1"}, NamespaceLabels: map[string]string{"n": "3"}}}},
			unknownTo, narrowed, onQUIC,
		}
		r.Status.EffectiveIngress = []*ingressRule{
			{Source: &sandboxv1.IngressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}}},
			{Source: &sandboxv1.IngressRule_Tenant{Tenant: 3}, Ports: []*sandboxv1.PortRange{{Port: 80}, {Port: 90}}},
			{Source: &sandboxv1.IngressRule_Any{Any: true}},
			unknownFrom,
		}
		f.nowGet(func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return r, nil })
		info, err := sb.Refresh(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []EgressRule{
			{Host: "pypi.org"},
			{Host: "*", Except: []string{"bad.org"}},
			{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}, Ports: []PortRange{{Port: 1, End: 2, Protocol: ProtocolUDP}}},
			{Tenant: 42},
			{Any: true},
			{PodLabels: map[string]string{"a": "1", "b": "2"}, NamespaceLabels: map[string]string{"n": "3"}},
			{Unknown: later(9)},
			{Host: "a.org", Unknown: whole},
			{Any: true, Ports: []PortRange{{Port: 1}}, Unknown: quic},
		}, info.Egress)
		assert.Equal(t, []IngressRule{
			{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}},
			{Tenant: TenantSandboxNetwork, Ports: []PortRange{{Port: 80}, {Port: 90}}},
			{Any: true},
			{Unknown: later(9)},
		}, info.Ingress)
		assert.Equal(t, DNSEgress(7), info.DNSEgress)

		var shown []string
		for _, r := range info.Egress {
			shown = append(shown, r.String())
		}
		for _, r := range info.Ingress {
			shown = append(shown, r.String())
		}
		assert.Equal(t, []string{
			"pypi.org", "* except bad.org", "10.0.0.0/8 except 10.1.0.0/16 on UDP 1-2", "Tenant(42)", "any",
			"pods a=1,b=2 in namespaces n=3", "(unknown, 5 bytes)", "a.org (unknown, 12 bytes)", "any (unknown, 12 bytes) on TCP 1",
			"10.0.0.0/8 except 10.1.0.0/16", "sandbox network on TCP 80 and TCP 90", "any", "(unknown, 5 bytes)",
		}, shown)

		info.Egress[2].Except[0], info.Egress[5].PodLabels["a"], info.Ingress[0].Except[0] = "x", "x", "x"
		assert.Equal(t, "10.1.0.0/16", sb.Info().Egress[2].Except[0])
		assert.Equal(t, "1", sb.Info().Egress[5].PodLabels["a"])
		assert.Equal(t, "10.1.0.0/16", sb.Info().Ingress[0].Except[0])
	})
	t.Run("names", func(t *testing.T) {
		assert.Equal(t, []string{"unspecified", "same user", "same org", "sandbox network", "Tenant(4)"},
			[]string{TenantUnspecified.String(), TenantSameUser.String(), TenantSameOrg.String(), TenantSandboxNetwork.String(), Tenant(4).String()})
		assert.Equal(t, []string{"unspecified", "allow", "deny", "DNSEgress(3)"},
			[]string{DNSEgressUnspecified.String(), DNSEgressAllow.String(), DNSEgressDeny.String(), DNSEgress(3).String()})
		opt := WithNetwork(Network{DenyEgress: new(false), DenyIngress: new(true), Egress: []EgressRule{{Host: " A.org "}}, Ingress: []IngressRule{{Any: true}}, DNS: DNSEgressDeny})
		assert.Equal(t, "WithNetwork(deny egress false, deny ingress true, to a.org, from any, dns deny)", opt.(interface{ String() string }).String())
	})
}

func TestFaultsOfLabelsComeInOrder(t *testing.T) {
	labels := map[string]string{"a": "\x00", "b": "\x00", "c": "\x00", "d": "\x00"}
	for range 20 {
		_, err := newCreateConfig("create", environment{}, nil, []Option{WithNetwork(Network{Egress: []EgressRule{{PodLabels: labels}}})})
		const field = "spec.network.egress[0].selector.pod_labels"
		requireViolations(t, err, keyed(field, "a"), keyed(field, "b"), keyed(field, "c"), keyed(field, "d"))
	}
}
