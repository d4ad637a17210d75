package cwsandbox

import (
	"fmt"
	"math"
	"slices"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// SecurityContext sets the privileges of a container, inside the boundary of its sandbox. What is nil or empty is left to
// the image and to the runner's policy, which limits the rest; false and zero are values: new(false), new(0).
type SecurityContext struct {
	RunAsUser                *int  // numeric
	RunAsGroup               *int  // numeric
	Privileged               *bool // all privileges that there are inside the sandbox
	AllowPrivilegeEscalation *bool // a process may gain more than its parent has, for example by a setuid program
	ReadOnlyRootFilesystem   *bool
	CapabilitiesAdd          []string // such as NET_ADMIN
	CapabilitiesDrop         []string // ALL drops every one that is not added
	SeccompProfile           SeccompProfile
}

// SeccompProfile names a filter of system calls.
type SeccompProfile string

// The profiles that the service knows.
const (
	SeccompRuntimeDefault SeccompProfile = "RuntimeDefault"
	SeccompUnconfined     SeccompProfile = "Unconfined"
)

func (s SecurityContext) clone() SecurityContext {
	s.RunAsUser, s.RunAsGroup = copied(s.RunAsUser), copied(s.RunAsGroup)
	s.Privileged = copied(s.Privileged)
	s.AllowPrivilegeEscalation = copied(s.AllowPrivilegeEscalation)
	s.ReadOnlyRootFilesystem = copied(s.ReadOnlyRootFilesystem)
	s.CapabilitiesAdd, s.CapabilitiesDrop = slices.Clone(s.CapabilitiesAdd), slices.Clone(s.CapabilitiesDrop)
	return s
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	return new(*p)
}

func (s SecurityContext) none() bool {
	return s.RunAsUser == nil && s.RunAsGroup == nil && s.Privileged == nil && s.AllowPrivilegeEscalation == nil &&
		s.ReadOnlyRootFilesystem == nil && len(s.CapabilitiesAdd) == 0 && len(s.CapabilitiesDrop) == 0 && s.SeccompProfile == ""
}

// String shows the fields that are set.
func (s SecurityContext) String() string {
	var shown []string
	for _, field := range []struct {
		name  string
		set   bool
		value func() any
	}{
		{"RunAsUser", s.RunAsUser != nil, func() any { return *s.RunAsUser }},
		{"RunAsGroup", s.RunAsGroup != nil, func() any { return *s.RunAsGroup }},
		{"Privileged", s.Privileged != nil, func() any { return *s.Privileged }},
		{"AllowPrivilegeEscalation", s.AllowPrivilegeEscalation != nil, func() any { return *s.AllowPrivilegeEscalation }},
		{"ReadOnlyRootFilesystem", s.ReadOnlyRootFilesystem != nil, func() any { return *s.ReadOnlyRootFilesystem }},
		{"CapabilitiesAdd", len(s.CapabilitiesAdd) > 0, func() any { return s.CapabilitiesAdd }},
		{"CapabilitiesDrop", len(s.CapabilitiesDrop) > 0, func() any { return s.CapabilitiesDrop }},
		{"SeccompProfile", s.SeccompProfile != "", func() any { return s.SeccompProfile }},
	} {
		if field.set {
			shown = append(shown, fmt.Sprintf("%s: %v", field.name, field.value()))
		}
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

func (s SecurityContext) check(f *faults, field string) {
	checkNumericID(f, field+".run_as_user", s.RunAsUser)
	checkNumericID(f, field+".run_as_group", s.RunAsGroup)
	for i, name := range s.CapabilitiesAdd {
		checkWord(f, indexed(field+".capabilities_add", i), name)
	}
	for i, name := range s.CapabilitiesDrop {
		checkWord(f, indexed(field+".capabilities_drop", i), name)
	}
	switch s.SeccompProfile {
	case "", SeccompRuntimeDefault, SeccompUnconfined:
	default:
		f.add(field+".seccomp_profile", "must be %s or %s, is %q", SeccompRuntimeDefault, SeccompUnconfined, string(s.SeccompProfile))
	}
}

func checkNumericID(f *faults, field string, id *int) {
	if id != nil && (int64(*id) < 0 || int64(*id) > math.MaxUint32) {
		f.add(field, "must be between 0 and %d, is %d", uint32(math.MaxUint32), *id)
	}
}

// message is nil when nothing is set.
func (s SecurityContext) message() *sandboxv1.SecurityContext {
	if s.none() {
		return nil
	}
	return &sandboxv1.SecurityContext{
		RunAsUser:                number[uint32](s.RunAsUser),
		RunAsGroup:               number[uint32](s.RunAsGroup),
		Privileged:               s.Privileged,
		AllowPrivilegeEscalation: s.AllowPrivilegeEscalation,
		ReadOnlyRootFilesystem:   s.ReadOnlyRootFilesystem,
		CapabilitiesAdd:          s.CapabilitiesAdd,
		CapabilitiesDrop:         s.CapabilitiesDrop,
		SeccompProfile:           string(s.SeccompProfile),
	}
}

func number[To, From int | uint32](p *From) *To {
	if p == nil {
		return nil
	}
	return new(To(*p))
}

func securityContextOf(m *sandboxv1.SecurityContext) SecurityContext {
	if m == nil {
		return SecurityContext{}
	}
	return SecurityContext{
		RunAsUser:                number[int](m.RunAsUser),
		RunAsGroup:               number[int](m.RunAsGroup),
		Privileged:               m.Privileged,
		AllowPrivilegeEscalation: m.AllowPrivilegeEscalation,
		ReadOnlyRootFilesystem:   m.ReadOnlyRootFilesystem,
		CapabilitiesAdd:          m.CapabilitiesAdd,
		CapabilitiesDrop:         m.CapabilitiesDrop,
		SeccompProfile:           SeccompProfile(m.SeccompProfile),
	}
}
