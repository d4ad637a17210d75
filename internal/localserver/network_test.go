package localserver

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type (
	network     = sandboxv1.NetworkOptions
	egressRule  = sandboxv1.EgressRule
	ingressRule = sandboxv1.IngressRule
)

func networked(n *network) func(*spec) { return func(s *spec) { s.Network = n } }

func reaching(rules ...*egressRule) *network { return &network{Egress: rules} }

func toHost(host string, ports ...*sandboxv1.PortRange) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: host}, Ports: ports}
}

func toBlock(cidr string, except ...string) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: cidr, Except: except}}}
}

func toTenant(t sandboxv1.TenantScope) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_Tenant{Tenant: t}}
}

func toPods(labels map[string]string) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_Selector{Selector: &sandboxv1.SelectorBlock{PodLabels: labels}}}
}

func toAny(ports ...*sandboxv1.PortRange) *egressRule {
	return &egressRule{Destination: &sandboxv1.EgressRule_Any{Any: true}, Ports: ports}
}

func fromBlock(cidr string) *ingressRule {
	return &ingressRule{Source: &sandboxv1.IngressRule_Cidr{Cidr: &sandboxv1.CidrBlock{Cidr: cidr}}}
}

func fromTenant(t sandboxv1.TenantScope) *ingressRule {
	return &ingressRule{Source: &sandboxv1.IngressRule_Tenant{Tenant: t}}
}

func port(first, last int32, protocol string) *sandboxv1.PortRange {
	return &sandboxv1.PortRange{Port: first, EndPort: last, Protocol: protocol}
}

// enforceable are rules that are well formed, and that cannot be enforced here.
var enforceable = map[string]*egressRule{
	"host":                 toHost("example.org"),
	"hosts":                toHost("*.example.org"),
	"host with its port":   toHost("example.org", port(443, 443, "TCP")),
	"block":                toBlock("10.0.0.0/8", "10.1.0.0/16"),
	"block of IPv6":        toBlock("fd00::/8"),
	"same user":            toTenant(1),
	"network":              toTenant(3),
	"pods":                 toPods(map[string]string{"app": "db"}),
	"everything on a port": toAny(port(80, 0, "")),
	"everything on ports":  toAny(port(1, 65535, "UDP"), port(2, 2, "SCTP")),
}

func TestNetworkRules(t *testing.T) {
	yes, no := true, false
	t.Run("C-082", func(t *testing.T) {
		faults := []createFault{
			{"deny egress with rules", networked(&network{DenyEgress: &yes, Egress: []*egressRule{toAny()}}), badField("spec.network.egress")},
			{"dns", networked(&network{DnsEgress: 9}), badField("spec.network.dns_egress")},
			{"several", networked(&network{Egress: []*egressRule{toHost("*"), toAny(), {}}, Ingress: []*ingressRule{{}}}),
				badField("spec.network.egress[0].https_hostname", "spec.network.egress[2]", "spec.network.ingress[0]")},
		}
		bad := func(field string, rules ...*egressRule) {
			for _, r := range rules {
				faults = append(faults, createFault{fmt.Sprint(r), networked(reaching(r)), badField("spec.network.egress[0]" + field)})
			}
		}
		for _, host := range []string{"*", "a.*.com", "*.*.com", "-x.com", "", "A.com", strings.Repeat("a", 64), strings.Repeat("a.", 127) + "com"} {
			bad(".https_hostname", toHost(host))
		}
		bad(".https_hostname", toHost("a.org", port(80, 0, "")), toHost("a.org", port(443, 0, "UDP")), toHost("a.org", port(443, 444, "")),
			&egressRule{Destination: toHost("*.a.org").Destination, HttpsHostnameExcept: []string{"x.a.org"}})
		bad("", &egressRule{}, &egressRule{Ports: []*sandboxv1.PortRange{port(1, 0, "")}})
		bad(".cidr", toBlock(""), toBlock("10.0.0.0"), toBlock("10.0.0.0/33"), toBlock("10.0.0.0/8", "x"))
		bad(".tenant", toTenant(0), toTenant(9))
		bad(".any", &egressRule{Destination: &sandboxv1.EgressRule_Any{}})
		bad(".selector.pod_labels", toPods(nil))
		bad(".ports[0].port", toAny(port(0, 0, "")), toAny(port(65536, 0, "")))
		bad(".ports[0].end_port", toAny(port(2, 1, "")), toAny(port(2, 65536, "")))
		bad(".ports[0].protocol", toAny(port(2, 0, "tcp")))
		for field, rules := range map[string][]*ingressRule{
			"":                   {{}},
			".cidr":              {fromBlock("x")},
			".tenant":            {fromTenant(0), fromTenant(3), fromTenant(9)},
			".any":               {{Source: &sandboxv1.IngressRule_Any{}}},
			".ports[1].port":     {{Source: &sandboxv1.IngressRule_Any{Any: true}, Ports: []*sandboxv1.PortRange{port(1, 0, ""), port(-1, 0, "")}}},
			".ports[0].protocol": {{Source: &sandboxv1.IngressRule_Any{Any: true}, Ports: []*sandboxv1.PortRange{port(1, 0, "ICMP")}}},
			".ports[0].end_port": {{Source: &sandboxv1.IngressRule_Any{Any: true}, Ports: []*sandboxv1.PortRange{port(9, 8, "")}}},
		} {
			for _, r := range rules {
				faults = append(faults, createFault{"from " + fmt.Sprint(r), networked(&network{Ingress: []*ingressRule{r}}), badField("spec.network.ingress[0]" + field)})
			}
		}
		inWorld(t, Options{}, func(w *world) {
			w.requireCreateFaults(faults)
			for name, rule := range enforceable {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(networked(reaching(rule)))))
				w.requireRefused(noRunner(), err)
				assert.Equal(t, "egress", w.info(err).GetMetadata()["constraint"], name)
			}
			for _, n := range []*network{{DnsEgress: dnsDeny}, {DnsEgress: dnsAllow, DenyEgress: &yes}} {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(networked(n))))
				w.requireRefused(noRunner(), err)
				assert.Equal(t, "dns", w.info(err).GetMetadata()["constraint"], "%v", n)
			}
			assert.Empty(t, w.srv.Sandboxes())
		})
		var logged bytes.Buffer
		inWorld(t, Options{UnenforcedEgress: true, Logger: slog.New(slog.NewTextHandler(&logged, nil))}, func(w *world) {
			w.requireCreateFaults(faults)
			for name, rule := range enforceable {
				id := w.run(networked(reaching(rule)))
				st := w.get(id).GetStatus()
				require.Len(t, st.GetEffectiveEgress(), 1)
				assert.True(t, proto.Equal(rule, st.GetEffectiveEgress()[0]), name)
				assert.Equal(t, dnsAllow, st.GetEffectiveDnsEgress())
			}
		})
		assert.Equal(t, len(enforceable), strings.Count(logged.String(), "they are not enforced here"))
	})
	effective := func(w *world, n *network) *sandboxv1.SandboxStatus {
		sb := w.create(networked(n))
		got := w.get(sb.GetSandboxId()).GetStatus()
		for _, st := range []*sandboxv1.SandboxStatus{sb.GetStatus(), got} {
			assert.True(w, proto.Equal(n, sb.GetSpec().GetNetwork()), "echoed as it was sent")
			assert.Equal(w, got.GetEffectiveDnsEgress(), st.GetEffectiveDnsEgress())
		}
		return got
	}
	t.Run("C-171", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, n := range []*network{
				nil, {}, {DenyEgress: &no, DenyIngress: &no}, {DnsEgress: dnsAllow}, reaching(toAny()), {DenyEgress: &no, Egress: []*egressRule{toAny()}},
				{DenyIngress: &yes},
			} {
				st := effective(w, n)
				require.Len(t, st.GetEffectiveEgress(), 1, "%v", n)
				assert.True(t, proto.Equal(toAny(), st.GetEffectiveEgress()[0]))
				assert.Equal(t, dnsAllow, st.GetEffectiveDnsEgress())
				assert.Empty(t, st.GetEffectiveIngress())
			}
		})
	})
	t.Run("deny egress", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, n := range []*network{{DenyEgress: &yes}, {DenyEgress: &yes, DnsEgress: dnsDeny}} {
				st := effective(w, n)
				assert.Empty(t, st.GetEffectiveEgress())
				assert.Equal(t, dnsDeny, st.GetEffectiveDnsEgress())
			}
		})
	})
	t.Run("ingress", func(t *testing.T) {
		rules := []*ingressRule{fromBlock("10.0.0.0/8"), fromTenant(2), {Source: &sandboxv1.IngressRule_Any{Any: true}}}
		inWorld(t, Options{}, func(w *world) {
			st := effective(w, &network{Ingress: rules})
			require.Len(t, st.GetEffectiveIngress(), len(rules))
			for i, r := range rules {
				assert.True(t, proto.Equal(r, st.GetEffectiveIngress()[i]))
			}
			assert.Empty(t, effective(w, &network{Ingress: rules, DenyIngress: &yes}).GetEffectiveIngress())
		})
	})
	t.Run("private networks", func(t *testing.T) {
		inWorld(t, Options{PrivateNetwork: true, UnenforcedEgress: true}, func(w *world) {
			for _, n := range []*network{nil, {DenyEgress: &no}, {DenyEgress: &yes}, {DnsEgress: dnsDeny}} {
				st := effective(w, n)
				assert.Empty(t, st.GetEffectiveEgress(), "%v", n)
				assert.Equal(t, dnsDeny, st.GetEffectiveDnsEgress())
			}
			for _, n := range []*network{reaching(toAny()), reaching(toHost("a.org")), {DnsEgress: dnsAllow}} {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(networked(n))))
				w.requireRefused(noRunner(), err)
			}
		})
		_, err := New(Options{Runtime: plainRuntime{scripted.New(programs...)}, PrivateNetwork: true})
		require.ErrorContains(t, err, "without isolation there are no private networks")
	})
	t.Run("a closed network needs isolation", func(t *testing.T) {
		inWorld(t, Options{Runtime: plainRuntime{scripted.New(programs...)}}, func(w *world) {
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(networked(&network{DenyEgress: &yes}))))
			w.requireRefused(noRunner(), err)
			assert.Equal(t, "egress", w.info(err).GetMetadata()["constraint"])
		})
	})
}

func TestNoServerless(t *testing.T) {
	mode := func(m sandboxv1.SandboxMode) func(*spec) { return func(s *spec) { s.Mode = m } }
	const serverless, cks = sandboxv1.SandboxMode_SANDBOX_MODE_SERVERLESS, sandboxv1.SandboxMode_SANDBOX_MODE_CKS
	inWorld(t, Options{NoServerless: true}, func(w *world) {
		notAllowed := refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_SERVERLESS_NOT_ALLOWED"}
		w.requireCreateFaults([]createFault{
			{"unset", mode(0), notAllowed},
			{"serverless", mode(serverless), notAllowed},
			{"a GPU, serverless", func(s *spec) {
				s.Containers[0].Resources = &sandboxv1.Resources{Gpu: &sandboxv1.Gpu{Count: 1}}
			}, notAllowed},
		})
		assert.Equal(t, "local-runner", w.create(mode(cks)).GetStatus().GetRunnerId())
	})
	inWorld(t, Options{}, func(w *world) {
		for _, m := range []sandboxv1.SandboxMode{0, serverless, cks} {
			sb := w.create(mode(m))
			assert.Equal(t, m, sb.GetSpec().GetMode(), "echoed")
			assert.Equal(t, "local-runner", sb.GetStatus().GetRunnerId())
		}
	})
}
