package localserver

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// reservedPrefix begins the names of containers that belong to the platform.
const reservedPrefix = "cw-object-store-agent"

func reservedName(name string) bool {
	switch name {
	case "dns-egress", "dns-egress-probe", "cws-engine", reservedPrefix:
		return true
	}
	return strings.HasPrefix(name, reservedPrefix+"-")
}

func (c *checker) containers(spec *sandboxv1.SandboxSpec) {
	names, secrets := make(map[string]bool), 0
	for i, ct := range spec.GetContainers() {
		at := fmt.Sprintf("spec.containers[%d].", i)
		name := ct.GetName()
		c.require(validLabel(name), at+"name", "must be 1 to 63 lower-case letters, digits and dashes, with no dash at either end")
		c.require(!reservedName(name), at+"name", "is reserved")
		c.require(!names[name], at+"name", "must not be used twice")
		names[name] = true
		c.require(ct.GetImage() != "", at+"image", "must not be empty")
		c.command(at, ct)
		c.environment(at, ct)
		c.files(at, ct)
		c.probe(at, ct.GetStartupProbe())
		c.mounts(at, spec, ct)
		secrets += c.secrets(at, ct)
		c.require(secrets <= maxSecrets, at+"secret_stores", "must not map more than %d secrets in all", maxSecrets)
		c.security(at, ct.GetSecurityContext())
		c.pullCredentials(at, ct.GetImagePullCredentials())
	}
}

func (c *checker) command(at string, ct *sandboxv1.Container) {
	c.require(ct.GetCommand() != "" || len(ct.GetArgs()) == 0, at+"args", "need a command")
	c.require(!hasNUL(ct.GetCommand()), at+"command", "must not contain NUL")
	for i, arg := range ct.GetArgs() {
		c.require(!hasNUL(arg), fmt.Sprintf("%sargs[%d]", at, i), "must not contain NUL")
	}
	dir := ct.GetWorkingDir()
	c.require(dir == "" || path.IsAbs(dir) && !hasNUL(dir), at+"working_dir", "must be an absolute path")
}

func (c *checker) environment(at string, ct *sandboxv1.Container) {
	env := ct.GetEnvironmentVariables()
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.require(validVariable(name), at+"environment_variables", "names must not be empty or contain '=' or NUL")
		c.require(!hasNUL(env[name]), at+"environment_variables", "values must not contain NUL")
	}
}

func (c *checker) files(at string, ct *sandboxv1.Container) {
	seen := make(map[string]bool)
	for i, f := range ct.GetFiles() {
		field := fmt.Sprintf("%sfiles[%d].path", at, i)
		p := f.GetPath()
		c.require(path.IsAbs(p) && !strings.HasSuffix(p, "/") && !hasNUL(p), field, "must be an absolute path with a file name")
		c.require(!seen[path.Clean(p)], field, "must not be used twice")
		seen[path.Clean(p)] = true
	}
}

func (c *checker) probe(at string, p *sandboxv1.Probe) {
	if p == nil {
		return
	}
	at += "startup_probe."
	for _, number := range []struct {
		name  string
		value int32
	}{
		{"period_seconds", p.GetPeriodSeconds()},
		{"timeout_seconds", p.GetTimeoutSeconds()},
		{"failure_threshold", p.GetFailureThreshold()},
		{"initial_delay_seconds", p.GetInitialDelaySeconds()},
	} {
		c.require(number.value >= 0, at+number.name, "must not be negative")
	}
}

func validVariable(name string) bool { return name != "" && !strings.ContainsAny(name, "=\x00") }

func hasNUL(s string) bool { return strings.IndexByte(s, 0) >= 0 }
