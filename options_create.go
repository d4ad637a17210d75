package cwsandbox

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

const environmentField = "spec.containers[0].environment_variables"

// createOption is an option of creates only.
type createOption struct {
	call  string // that makes it, as it prints
	apply func(*createConfig)
}

func (o createOption) applyCreate(c *createConfig) { o.apply(c) }
func (o createOption) String() string              { return o.call }

// WithImage chooses the container image, python:3.11 by default. Over a template it replaces all containers
// of the template: see [WithTemplate].
func WithImage(ref string) Option {
	return createOption{printed("WithImage", ref), func(c *createConfig) {
		checkWord(&c.faults, "spec.containers[0].image", ref)
		c.image = setting[string]{ref, c.layer}
	}}
}

// WithCommand sets the main process: a program and its arguments, with no shell in between. The sandbox ends when it
// ends. By default a shell waits until the sandbox is stopped. Over a template it needs [WithImage].
func WithCommand(name string, args ...string) Option {
	args = slices.Clone(args)
	shown := printedList("WithCommand", append([]string{name}, args...))
	return createOption{shown, func(c *createConfig) {
		checkCommand(&c.faults, "spec.containers[0]", name, args)
		c.command = setting[command]{command{name, slices.Clone(args)}, c.layer}
	}}
}

// WithImageCommand makes the image's own entrypoint the main process.
func WithImageCommand() Option {
	return createOption{printed("WithImageCommand"), func(c *createConfig) {
		c.command = setting[command]{from: c.layer}
	}}
}

// WithoutEnv removes an environment variable that a weaker layer, or an earlier option, has set.
func WithoutEnv(name string) Option {
	return createOption{printed("WithoutEnv", name), func(c *createConfig) {
		checkEnvName(&c.faults, environmentField, name)
		delete(c.env, name)
	}}
}

// WithFile puts a file into the sandbox before its main process starts. It can be read there but not changed. The path is
// absolute; the content is copied. It replaces a file of the same path that a weaker layer, or a bundle, brings along;
// twice in one list is an error. Over a template it needs [WithImage].
func WithFile(path string, data []byte) Option {
	data = slices.Clone(data)
	shown := fmt.Sprintf("WithFile(%q, %d bytes)", path, len(data))
	return createOption{shown, func(c *createConfig) { c.addFile(path, data) }}
}

// WithDisplayName gives the sandbox a label for people.
func WithDisplayName(name string) Option {
	return createOption{printed("WithDisplayName", name), func(c *createConfig) {
		checkText(&c.faults, "display_name", name)
		c.displayName = setting[string]{name, c.layer}
	}}
}

// WithAnnotation adds an annotation. There can be 99, or 100 with [WithoutOwnerMark]. Keys that begin with cwsandbox-go-
// are reserved. Over a template, annotations replace the template's.
func WithAnnotation(key, value string) Option {
	return createOption{printed("WithAnnotation", key, value), func(c *createConfig) {
		const field = "spec.annotations"
		checkWord(&c.faults, field, key)
		checkText(&c.faults, keyed(field, key), value)
		if strings.HasPrefix(key, reservedPrefix) {
			c.faults.add(field, "must not have a key that begins with %s, has %q", reservedPrefix, key)
		}
		c.annotations[key] = setting[string]{value, c.layer}
	}}
}

// WithResources says how much CPU, memory and GPU the sandbox gets. It replaces what a weaker layer says as a whole. Over a
// template it needs [WithImage].
func WithResources(r Resources) Option {
	r = r.clone()
	return createOption{"WithResources(" + r.shown() + ")", func(c *createConfig) {
		r.check(&c.faults, "spec.containers[0].resource_requirements")
		c.resources = setting[Resources]{r, c.layer}
	}}
}

// WithMaxLifetime caps how long the service keeps the sandbox, whatever happens to this program: one hour by default. It
// is rounded up to whole seconds. Zero asks for the platform's own limit, which is shorter; the service's maximum is 30
// days. What applies is in [Info]. Over a template there is no default, and zero leaves the template's.
func WithMaxLifetime(d time.Duration) Option {
	return createOption{printed("WithMaxLifetime", d), func(c *createConfig) {
		checkSeconds(&c.faults, "spec.max_lifetime_seconds", d)
		c.maxLifetime = setting[time.Duration]{d, c.layer}
	}}
}
