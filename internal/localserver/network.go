package localserver

import (
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	plainIsolation = "plain"

	dnsAllow = sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_ALLOW
	dnsDeny  = sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_DENY
)

// closed reports whether a sandbox has a network of its own, with nothing but its loopback interface. The real service
// still resolves names then; here not even that leaves.
func (s *settings) closed(n *sandboxv1.NetworkOptions) bool {
	return s.PrivateNetwork || n.GetDenyEgress()
}

// admitNetwork decides whether what a sandbox may reach can be had. Everything and nothing can; what lies in between is
// enforced by nobody here.
func (s *Server) admitNetwork(n *sandboxv1.NetworkOptions) error {
	closed := s.opt.closed(n)
	switch {
	case closed && s.opt.Runtime.Isolation() == plainIsolation:
		return noHost("egress", "without isolation the network of a sandbox cannot be closed")
	case closed && len(n.GetEgress()) > 0:
		return noHost("egress", "sandboxes here reach nothing")
	case restricted(n.GetEgress()) && !s.opt.UnenforcedEgress:
		return noHost("egress", "rules about what a sandbox may reach cannot be enforced here")
	case n.GetDnsEgress() == dnsDeny && !closed:
		return noHost("dns", "name resolution alone cannot be closed here")
	case n.GetDnsEgress() == dnsAllow && closed:
		return noHost("dns", "a network that is closed does not resolve names here")
	}
	if restricted(n.GetEgress()) {
		s.opt.Logger.Warn("a sandbox reaches more than its rules say: they are not enforced here")
	}
	return nil
}

// restricted reports whether rules allow less than everything.
func restricted(rules []*sandboxv1.EgressRule) bool {
	for _, rule := range rules {
		if rule.GetAny() && len(rule.GetPorts()) == 0 {
			return false
		}
	}
	return len(rules) > 0
}

// describeNetwork reports what the network options come to.
func (r *record) describeNetwork(st *sandboxv1.SandboxStatus) {
	n := r.spec.GetNetwork()
	if !n.GetDenyIngress() {
		st.EffectiveIngress = n.GetIngress()
	}
	if r.server.opt.closed(n) {
		st.EffectiveDnsEgress = dnsDeny
		return
	}
	st.EffectiveDnsEgress = dnsAllow
	st.EffectiveEgress = n.GetEgress()
	if len(n.GetEgress()) == 0 {
		st.EffectiveEgress = []*sandboxv1.EgressRule{{Destination: &sandboxv1.EgressRule_Any{Any: true}}}
	}
}
