package localserver

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A checker collects the faults of one request, so that all are reported together.
type checker struct {
	faults   []violation
	unserved []string // fields that are well formed, and that this server does not act on
}

// require notes a fault unless the condition holds.
func (c *checker) require(ok bool, field, format string, args ...any) {
	if !ok {
		c.faults = append(c.faults, violation{field, fmt.Sprintf(format, args...)})
	}
}

// refuseSet notes a field that is not served, when it is set.
func (c *checker) refuseSet(set bool, field string) {
	if set {
		c.unserved = append(c.unserved, field)
	}
}

func (c *checker) err() error {
	switch {
	case len(c.faults) > 0:
		return badFields(c.faults)
	case len(c.unserved) > 0:
		return notServed(c.unserved...)
	}
	return nil
}

// plan checks a create and works out what follows from its spec.
func (s *Server) plan(in *sandboxv1.Sandbox, who identity) (*plan, error) {
	switch {
	case in == nil:
		return nil, bad("sandbox", "must be set")
	case in.GetSpec() == nil:
		return nil, bad("spec", "must be set")
	}
	spec := in.GetSpec()
	var c checker
	c.require(len([]rune(in.GetDisplayName())) <= 128, "display_name", "must not be longer than 128 characters")
	c.spec(spec)
	c.classes(s.opt, spec)
	primary := c.primary(spec)
	demands := c.resources(spec, primary)
	if err := c.err(); err != nil {
		return nil, err
	}
	if spec = resolveSizes(&c, spec, demands); len(c.faults) > 0 {
		return nil, c.err()
	}
	if err := s.checkVolumes(spec, who); err != nil {
		return nil, err
	}
	granted, err := s.resolve(spec, who)
	if err != nil {
		return nil, err
	}
	if err := s.admit(spec, demands); err != nil {
		return nil, err
	}
	return &plan{
		spec: spec, displayName: in.GetDisplayName(), primary: primary, effective: effective(demands), granted: granted,
	}, nil
}

// classes checks names that whoever runs the server decides on.
func (c *checker) classes(o *settings, spec *sandboxv1.SandboxSpec) {
	class, instance := spec.GetRuntimeClass(), spec.GetInstanceType()
	c.require(class == "" || slices.Contains(o.RuntimeClasses, class), "spec.runtime_class", "is not one that can be chosen here")
	c.require(instance == "" || slices.Contains(o.InstanceTypes, instance), "spec.instance_type", "is not one that can be chosen here")
}

// spec checks everything whose correctness is decided by the request alone.
func (c *checker) spec(spec *sandboxv1.SandboxSpec) {
	c.require(len(spec.GetContainers()) > 0, "spec.containers", "must not be empty")
	c.containers(spec)
	lifetime := spec.GetMaxLifetimeSeconds()
	c.require(lifetime >= 0 && lifetime <= maxLifetime, "spec.max_lifetime_seconds", "must be between 0 and %d", maxLifetime)
	for i, tag := range spec.GetTags() {
		c.require(validTag(tag), fmt.Sprintf("spec.tags[%d]", i),
			"must be 1 to 59 letters, digits, dots, underscores and dashes, the last one a letter or digit")
	}
	c.require(len(spec.GetAnnotations()) <= 100, "spec.annotations", "must not hold more than 100 entries")
	if _, ok := spec.GetAnnotations()[""]; ok {
		c.require(false, "spec.annotations", "must not hold an empty key")
	}
	c.runners(spec)
	c.services(spec.GetServices())
	c.volumes(spec)
	c.network(spec.GetNetwork())
	c.objectStorage(spec.GetObjectStorageAccess())
	c.refuseSet(len(spec.GetNetworkIds()) > 0, "spec.network_ids")
	c.refuseSet(formerFields(spec).initContainers, "spec.init_containers")
}

func (c *checker) runners(spec *sandboxv1.SandboxSpec) {
	const field = "spec.runner_ids"
	ids, size := spec.GetRunnerIds(), 0
	for _, id := range ids {
		size += len(id)
		c.require(strings.TrimSpace(id) != "", field, "must not hold blank entries")
	}
	c.require(len(ids) == 0 || spec.GetMode() == sandboxv1.SandboxMode_SANDBOX_MODE_CKS, field, "need mode SANDBOX_MODE_CKS")
	c.require(unique(ids), field, "must not hold an entry twice")
	c.require(len(ids) <= 100 && size <= 64<<10, field, "must not hold more than 100 entries or 64 KiB")
}

// primary finds the container that the sandbox lives and dies with; -1 stands for none.
func (c *checker) primary(spec *sandboxv1.SandboxSpec) int {
	containers := spec.GetContainers()
	if len(containers) < 2 {
		return 0
	}
	marked := []int{}
	for i, ct := range containers {
		if ct.GetPrimary() {
			marked = append(marked, i)
		}
	}
	if former := formerFields(spec).primary; len(marked) == 0 && former != "" {
		for i, ct := range containers {
			if ct.GetName() == former {
				marked = append(marked, i)
			}
		}
	}
	if len(marked) != 1 {
		c.require(false, "spec.containers", "exactly one of several containers must be primary")
		return -1
	}
	return marked[0]
}

// former is what older clients say in fields that the contract no longer has.
type former struct {
	primary        string // number 2: the name of the primary container
	initContainers bool   // number 12
}

func formerFields(spec *sandboxv1.SandboxSpec) (f former) {
	for rest := []byte(spec.ProtoReflect().GetUnknown()); len(rest) > 0; {
		number, kind, tag := protowire.ConsumeTag(rest)
		size := protowire.ConsumeFieldValue(number, kind, rest[max(tag, 0):])
		if tag < 0 || size < 0 {
			return f
		}
		value := rest[tag : tag+size]
		rest = rest[tag+size:]
		switch {
		case number == 2 && kind == protowire.BytesType:
			name, _ := protowire.ConsumeString(value)
			f.primary = name
		case number == 12:
			f.initContainers = true
		}
	}
	return f
}

func validTag(tag string) bool {
	if tag == "" || len(tag) > 59 || !alphanumeric(tag[len(tag)-1]) {
		return false
	}
	for i := range len(tag) {
		if !alphanumeric(tag[i]) && !strings.ContainsRune("._-", rune(tag[i])) {
			return false
		}
	}
	return true
}

func alphanumeric(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9'
}

// validLabel reports whether a name is a DNS-1123 label.
func validLabel(name string) bool {
	if name == "" || len(name) > 63 || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for i := range len(name) {
		if b := name[i]; b != '-' && (b < 'a' || b > 'z') && (b < '0' || b > '9') {
			return false
		}
	}
	return true
}

func unique[T comparable](list []T) bool {
	seen := make(map[T]bool, len(list))
	for _, v := range list {
		if seen[v] {
			return false
		}
		seen[v] = true
	}
	return true
}
