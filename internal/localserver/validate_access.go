package localserver

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// network checks what a sandbox wants to reach. Everything, which is the default, and nothing can be had here; rules
// cannot be enforced and are refused.
func (c *checker) network(n *sandboxv1.NetworkOptions) {
	const egress, ingress = "spec.network.egress", "spec.network.ingress"
	c.require(!n.GetDenyEgress() || len(n.GetEgress()) == 0, egress, "must be empty together with deny_egress")
	unenforced := false
	for i, rule := range n.GetEgress() {
		c.egressRule(fmt.Sprintf("%s[%d]", egress, i), rule)
		unenforced = unenforced || !rule.GetAny() || len(rule.GetPorts()) > 0
	}
	c.refuseSet(unenforced, egress)
	c.refuseSet(len(n.GetIngress()) > 0, ingress)
	c.refuseSet(n.GetDnsEgress() == sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_DENY && !n.GetDenyEgress(), "spec.network.dns_egress")
	c.refuseSet(n.GetDnsEgress() == sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_ALLOW && n.GetDenyEgress(), "spec.network.dns_egress")
}

func (c *checker) egressRule(at string, rule *sandboxv1.EgressRule) {
	c.require(rule.GetDestination() != nil, at, "must have a destination")
	if block := rule.GetCidr(); block != nil {
		for _, cidr := range append([]string{block.GetCidr()}, block.GetExcept()...) {
			_, err := netip.ParsePrefix(cidr)
			c.require(err == nil, at+".cidr", "must be an address block such as 10.0.0.0/8")
		}
	}
	if _, ok := rule.GetDestination().(*sandboxv1.EgressRule_HttpsHostname); ok {
		c.require(validHostname(rule.GetHttpsHostname()), at+".https_hostname", "must be a host name, or one with a wildcard as its first label")
		c.require(onlyHTTPS(rule.GetPorts()), at+".https_hostname", "ports must be empty or TCP 443")
	}
	c.require(len(rule.GetHttpsHostnameExcept()) == 0, at+".https_hostname", "exceptions are not possible in a sandbox")
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

// secrets checks references to secret stores. What is well formed is refused all the same: this server has none.
func (c *checker) secrets(at string, ct *sandboxv1.Container) {
	variables, count := make(map[string]bool), 0
	for j, ref := range ct.GetSecretStores() {
		at := fmt.Sprintf("%ssecret_stores[%d].", at, j)
		c.require(ref.GetStoreName() != "", at+"store_name", "must not be empty")
		for k, m := range ref.GetSecrets() {
			field := fmt.Sprintf("%ssecrets[%d].env_var", at, k)
			c.require(validVariable(m.GetEnvVar()), field, "must not be empty or contain '=' or NUL")
			c.require(!variables[m.GetEnvVar()], field, "must not be used twice")
			variables[m.GetEnvVar()] = true
			count++
		}
	}
	c.require(count <= 50, at+"secret_stores", "must not map more than 50 secrets")
	c.refuseSet(len(ct.GetSecretStores()) > 0, at+"secret_stores")
}

// security checks the privileges that a container asks for. None can be changed here.
func (c *checker) security(at string, sc *sandboxv1.SecurityContext) {
	at += "security_context"
	c.require(!sc.GetPrivileged(), at+".privileged", "must not be set")
	switch sc.GetSeccompProfile() {
	case "", "RuntimeDefault", "Unconfined":
	default:
		c.require(false, at+".seccomp_profile", "must be RuntimeDefault or Unconfined")
	}
	c.refuseSet(sc != nil && proto.Size(sc) > 0, at)
}

var objectPrefix = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]*/$`)

// objectStorage checks the wish for object storage credentials, which this server cannot mint.
func (c *checker) objectStorage(o *sandboxv1.ObjectStorageAccess) {
	if o == nil {
		return
	}
	const at = "spec.object_storage_access"
	c.require(len(o.GetBuckets()) > 0, at+".buckets", "must not be empty")
	p := o.GetObjectPrefix()
	ok := len(p) <= 512 && objectPrefix.MatchString(p) && !strings.Contains(p, "..") && !strings.Contains(p, "//")
	c.require(p == "" || ok, at+".object_prefix", "must begin with a letter or digit, end with a slash and have no dot segments")
	c.refuseSet(true, at)
}
