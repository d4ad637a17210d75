package cwsandbox

import (
	"fmt"
	"slices"
	"strings"
)

// WithContainers makes a sandbox of several containers. They start in their order, each once the one before has started, or
// has passed its startup probe; the sandbox runs when the last one has. It replaces what a weaker layer says about the
// containers, or the only one, as a whole: an environment variable of a session's, for example. Beside an option for the
// only container that counts more, or as much, it is an error. Without a container it clears what a weaker layer says.
// Over a template it replaces all containers of the template.
func WithContainers(containers ...Container) Option {
	containers = cloneContainers(containers)
	shown := make([]string, len(containers))
	for i, c := range containers {
		shown[i] = c.String()
	}
	return createOption{"WithContainers(" + strings.Join(shown, ", ") + ")", func(c *createConfig) {
		checkContainers(&c.faults, containers)
		list := cloneContainers(containers)
		for i := range list {
			list[i].Secrets = withoutRepeats(list[i].Secrets)
		}
		c.containers = setting[[]Container]{list, c.layer}
		c.containersRank = c.rank()
	}}
}

// WithSecrets adds secrets to those of weaker layers. There can be 50 in a sandbox. A variable can have one source only:
// two different secrets, or a secret and [WithEnv], are an error.
func WithSecrets(secrets ...Secret) Option {
	secrets = slices.Clone(secrets)
	shown := make([]string, len(secrets))
	for i, s := range secrets {
		shown[i] = s.String()
	}
	return createOption{"WithSecrets(" + strings.Join(shown, ", ") + ")", func(c *createConfig) { c.addSecrets(secrets) }}
}

// WithPullCredentials names the secret with which the image is pulled. The zero value clears what a weaker layer says.
func WithPullCredentials(p PullCredentials) Option {
	return createOption{fmt.Sprintf("WithPullCredentials(%+v)", p), func(c *createConfig) {
		p.check(&c.faults, "spec.containers[0].image_pull_credentials")
		c.pullCredentials = setting[PullCredentials]{p, c.layer}
	}}
}

// WithStartupProbe makes a sandbox count as running only when the probe has succeeded. The zero value clears what a weaker
// layer says.
func WithStartupProbe(p Probe) Option {
	p = p.clone()
	return createOption{fmt.Sprintf("WithStartupProbe(%+v)", p), func(c *createConfig) {
		p.check(&c.faults, "spec.containers[0].startup_probe")
		c.startupProbe = setting[Probe]{p.clone(), c.layer}
	}}
}

// WithSecurityContext sets privileges of the main process and every command. It replaces what a weaker layer says as a
// whole; the zero value clears it.
func WithSecurityContext(s SecurityContext) Option {
	s = s.clone()
	return createOption{"WithSecurityContext(" + s.String() + ")", func(c *createConfig) {
		s.check(&c.faults, "spec.containers[0].security_context")
		c.securityContext = setting[SecurityContext]{s.clone(), c.layer}
	}}
}

// WithObjectStorage gives every container credentials for object storage. It replaces what a weaker layer says as a whole;
// the zero value clears it. Over a template it replaces the template's, unless it is zero.
func WithObjectStorage(o ObjectStorage) Option {
	o = o.clone()
	return createOption{fmt.Sprintf("WithObjectStorage(%+v)", o), func(c *createConfig) {
		o.check(&c.faults, "spec.object_storage_access")
		c.objectStorage = setting[ObjectStorage]{o.clone(), c.layer}
	}}
}

// WithRuntimeClass has the sandbox run under a runtime class of the runner's policy, exactly as it is called there. What
// was applied is Info.RuntimeClass, which is not for being asked for again. Empty clears what a weaker layer says, but not
// what a template says, which others replace.
func WithRuntimeClass(name string) Option {
	return createOption{printed("WithRuntimeClass", name), func(c *createConfig) {
		checkOptionalWord(&c.faults, "spec.runtime_class", name)
		c.runtimeClass = setting[string]{name, c.layer}
	}}
}

// WithInstanceType has the sandbox run on a type of node of the runner's policy. Empty clears what a weaker layer says: the
// platform chooses by the resources. Over a template it replaces the template's, unless it is empty.
func WithInstanceType(name string) Option {
	return createOption{printed("WithInstanceType", name), func(c *createConfig) {
		checkOptionalWord(&c.faults, "spec.instance_type", name)
		c.instanceType = setting[string]{name, c.layer}
	}}
}

func checkOptionalWord(f *faults, field, word string) {
	if word != "" {
		checkWord(f, field, word)
	}
}
