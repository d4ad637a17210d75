package cwsandbox

import (
	"slices"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// rank orders the places that an option can stand in: a bundle of a session's, the session's own, a bundle of a call's, the
// call's own.
type rank int

func (c *createConfig) rank() rank {
	r := 2 * rank(c.stage)
	if c.layer != layerBundle {
		r++
	}
	return r
}

// ofOneContainer are the options about the only container of a sandbox.
var ofOneContainer = []string{
	"WithImage", "WithCommand", "WithImageCommand", "WithEnv", "WithoutEnv", "WithDir", "WithFile", "WithResources",
	"WithSecrets", "WithPullCredentials", "WithStartupProbe", "WithSecurityContext",
}

// noteGiven remembers where an option was given last.
func (c *createConfig) noteGiven(option string) { c.given[option] = max(c.given[option], c.rank()) }

// addSecrets adds those secrets that are not there yet.
func (c *createConfig) addSecrets(more []Secret) {
	for _, s := range more {
		s.Env = s.env()
		have := c.secretList()
		if !slices.Contains(have, s) {
			s.check(&c.faults, secretField("spec.containers[0]", have, s))
			c.secrets = append(c.secrets, setting[Secret]{s, c.layer})
		}
	}
}

func (c *createConfig) secretList() []Secret {
	var list []Secret
	for _, s := range c.secrets {
		list = append(list, s.value)
	}
	return list
}

// checkContainers is the rule for what can be said about containers only when everything was said.
func (c *createConfig) checkContainers() {
	if len(c.containers.value) > 0 {
		for _, option := range ofOneContainer {
			if at, given := c.given[option]; given && at >= c.containersRank {
				c.faults.add("spec.containers", "cannot be given together with %s, which is about the only container", option)
			}
		}
	}
	count := 0
	for i, container := range c.allContainers() {
		checkSecrets(&c.faults, indexed("spec.containers", i), container, count)
		count += len(container.Secrets)
	}
}

// allContainers are the containers of the sandbox: those that were given as a list, or the one that single options are
// about. That one does not have to say that it is primary.
func (c *createConfig) allContainers() []Container {
	list := c.containers.value
	if len(list) == 0 {
		list = []Container{c.onlyContainer()}
	}
	list = slices.Clone(list)
	if list[0].Name == "" {
		list[0].Name = containerName
	}
	primary := &list[c.primary()]
	said := func(m VolumeMount) bool { return slices.Contains(primary.Mounts, m) }
	primary.Mounts = append(slices.DeleteFunc(c.primaryMounts(), said), primary.Mounts...)
	return list
}

// hasContainers reports whether anything makes a container: over a template that may have been left to it.
func (c *createConfig) hasContainers() bool {
	return len(c.containers.value) > 0 || c.image.value != ""
}

func (c *createConfig) onlyContainer() Container {
	only := Container{
		Image:           c.image.value,
		Command:         c.command.value.argv(),
		Env:             values(c.env),
		Dir:             c.dir.value,
		Resources:       c.resources.value,
		Secrets:         c.secretList(),
		StartupProbe:    c.startupProbe.value,
		SecurityContext: c.securityContext.value,
		PullCredentials: c.pullCredentials.value,
	}
	for _, f := range c.files.value {
		only.Files = append(only.Files, File{f.path, f.data})
	}
	return only
}

// messages are the containers as the service knows them.
func (c *createConfig) messages() []*sandboxv1.Container {
	var list []*sandboxv1.Container
	for _, container := range c.allContainers() {
		list = append(list, container.message())
	}
	return list
}

// mainCommand is the command of the main process; empty: the image's own.
func (c *createConfig) mainCommand() []string {
	return c.allContainers()[c.primary()].Command
}

func (c *createConfig) setMainCommand(name string, args []string) {
	if len(c.containers.value) > 0 {
		c.containers.value[c.primary()].Command = append([]string{name}, args...)
		return
	}
	c.command.value = command{name, args}
}

// primary is the place of the primary container.
func (c *createConfig) primary() int {
	return max(0, slices.IndexFunc(c.containers.value, func(container Container) bool { return container.Primary }))
}
