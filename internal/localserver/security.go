package localserver

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var capabilityPattern = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// capability is the name without the prefix that may precede it.
func capability(name string) string { return strings.TrimPrefix(name, "CAP_") }

// security checks the privileges that a container asks for. There can be no more than the usual.
func (c *checker) security(at string, sc *sandboxv1.SecurityContext) {
	at += "security_context."
	c.require(!sc.GetPrivileged(), at+"privileged", "must not be set")
	for i, name := range sc.GetCapabilitiesAdd() {
		c.require(slices.Contains(container.DefaultCapabilities, capability(name)), fmt.Sprintf("%scapabilities_add[%d]", at, i),
			"must be one of %s", strings.Join(container.DefaultCapabilities, ", "))
	}
	for i, name := range sc.GetCapabilitiesDrop() {
		c.require(capabilityPattern.MatchString(name), fmt.Sprintf("%scapabilities_drop[%d]", at, i),
			"must be ALL, or a name such as NET_RAW")
	}
	switch sc.GetSeccompProfile() {
	case "", "RuntimeDefault", "Unconfined":
	default:
		c.require(false, at+"seccomp_profile", "must be RuntimeDefault or Unconfined")
	}
}

// securityOf translates a security context for the runtime. No level has a filter of system calls, so that there is nothing
// to do for a profile.
func securityOf(sc *sandboxv1.SecurityContext) container.Security {
	return container.Security{
		User:           sc.GetRunAsUser(),
		Group:          sc.GetRunAsGroup(),
		ReadOnlyRoot:   sc.GetReadOnlyRootFilesystem(),
		GainPrivileges: sc.GetAllowPrivilegeEscalation(),
		Drop:           droppedCapabilities(sc),
	}
}

// droppedCapabilities are those of the usual ones that a container goes without: what is added stays, whatever is dropped.
func droppedCapabilities(sc *sandboxv1.SecurityContext) (dropped []string) {
	drops := func(name string) bool {
		return slices.ContainsFunc(sc.GetCapabilitiesDrop(), func(d string) bool { return d == "ALL" || capability(d) == name })
	}
	adds := func(name string) bool {
		return slices.ContainsFunc(sc.GetCapabilitiesAdd(), func(a string) bool { return capability(a) == name })
	}
	for _, name := range container.DefaultCapabilities {
		if drops(name) && !adds(name) {
			dropped = append(dropped, name)
		}
	}
	return dropped
}

// admitSecurity refuses what the level of isolation cannot give.
func (s *Server) admitSecurity(spec *sandboxv1.SandboxSpec) error {
	level := s.opt.Runtime.Isolation()
	var c checker
	for i, ct := range spec.GetContainers() {
		sc := ct.GetSecurityContext()
		at := fmt.Sprintf("spec.containers[%d].security_context.", i)
		switch {
		case level == plainIsolation && !asItIs(sc):
			return noHost("security_context", "without isolation processes run as they are")
		case level == "rootless":
			c.require(sc.GetRunAsUser() == 0, at+"run_as_user", "can only be 0 here")
			c.require(sc.GetRunAsGroup() == 0, at+"run_as_group", "can only be 0 here")
		}
	}
	return c.err()
}

// asItIs reports whether a context asks for nothing that an ordinary process does not have anyway.
func asItIs(sc *sandboxv1.SecurityContext) bool {
	if sc == nil {
		return true
	}
	rest := proto.CloneOf(sc)
	rest.Privileged, rest.SeccompProfile, rest.CapabilitiesAdd = nil, "", nil
	if rest.GetAllowPrivilegeEscalation() {
		rest.AllowPrivilegeEscalation = nil
	}
	if !rest.GetReadOnlyRootFilesystem() {
		rest.ReadOnlyRootFilesystem = nil
	}
	return proto.Size(rest) == 0
}
