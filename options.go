package cwsandbox

import (
	"slices"
	"time"
)

// Option is an option of a create: of [Client.Run], [Client.Create], of a session, and of [Defaults].
type Option interface{ applyCreate(*createConfig) }

// ListOption is an option of [Client.List].
type ListOption interface{ applyList(*listConfig) }

// AttachOption is an option of [Client.Attach].
type AttachOption interface{ applyAttach(*attachConfig) }

// StopOption is an option of [Sandbox.Stop].
type StopOption interface{ applyStop(*stopConfig) }

// DeleteOption is an option of [Client.Delete].
type DeleteOption interface{ applyDelete(*deleteConfig) }

// TagOption is an option of creates and lists.
type TagOption interface {
	Option
	ListOption
}

// RunnerOption is an option of creates and lists.
type RunnerOption interface {
	Option
	ListOption
}

// GraceOption is an option of whatever ends a sandbox, or makes or finds one that will be stopped.
type GraceOption interface {
	Option
	AttachOption
	StopOption
	DeleteOption
}

// CallOption is an option of a client and of single calls.
type CallOption interface {
	ClientOption
	Option
	AttachOption
}

// CommandOption is an option of a create, where it is about the main process, and of a command.
type CommandOption interface {
	Option
	ExecOption
}

type createOption func(*createConfig)

func (o createOption) applyCreate(c *createConfig) { o(c) }

// WithImage chooses the container image, python:3.11 by default.
func WithImage(ref string) Option {
	return createOption(func(c *createConfig) {
		if ref == "" {
			c.faults.add("spec.containers[0].image", "must not be empty")
		}
		c.image = setting[string]{ref, c.layer}
	})
}

// WithCommand sets the main process: a program and its arguments, with no shell in between. The sandbox ends when it
// ends. By default a shell waits until the sandbox is stopped.
func WithCommand(name string, args ...string) Option {
	args = slices.Clone(args)
	return createOption(func(c *createConfig) {
		if name == "" {
			c.faults.add("spec.containers[0].command", "must not be empty; WithImageCommand asks for the image's own")
		}
		if hasNUL(name) || slices.ContainsFunc(args, hasNUL) {
			c.faults.add("spec.containers[0].args", "must not contain NUL")
		}
		c.command = setting[command]{command{name, args}, c.layer}
	})
}

// WithImageCommand makes the image's own entrypoint the main process.
func WithImageCommand() Option {
	return createOption(func(c *createConfig) { c.command = setting[command]{from: c.layer} })
}

// WithoutEnv removes an environment variable that a weaker layer, or an earlier option, has set.
func WithoutEnv(name string) Option {
	return createOption(func(c *createConfig) { delete(c.env, name) })
}

// WithFile puts a file into the sandbox before its main process starts. It can be read there but not changed. The path is
// absolute; the content is copied.
func WithFile(path string, data []byte) Option {
	data = slices.Clone(data)
	return createOption(func(c *createConfig) {
		const field = "spec.containers[0].files"
		checkMountedFile(&c.faults, field, path)
		if earlier, ok := c.files[path]; ok && earlier.from == c.layer {
			c.faults.add(field, "must not repeat %q", path)
		}
		c.files[path] = setting[[]byte]{data, c.layer}
	})
}

// WithDisplayName gives the sandbox a label for people, of at most 128 characters.
func WithDisplayName(name string) Option {
	return createOption(func(c *createConfig) {
		if n := len([]rune(name)); n > maxDisplayName {
			c.faults.add("display_name", "must have at most %d characters, has %d", maxDisplayName, n)
		}
		c.displayName = setting[string]{name, c.layer}
	})
}

// WithAnnotation adds an annotation. There can be 100.
func WithAnnotation(key, value string) Option {
	return createOption(func(c *createConfig) {
		if key == "" {
			c.faults.add("spec.annotations", "the key must not be empty")
		}
		c.annotations[key] = setting[string]{value, c.layer}
	})
}

// WithResources says how much CPU, memory and GPU the sandbox gets. It replaces what a weaker layer says as a whole.
func WithResources(r Resources) Option {
	r = *r.clone()
	return createOption(func(c *createConfig) { c.resources = setting[*Resources]{r.clone(), c.layer} })
}

// WithMaxLifetime caps how long the service keeps the sandbox, whatever happens to this program: one hour by default. It
// is rounded up to whole seconds. Zero asks for the platform's own limit, which is shorter; the service's maximum is 30
// days. What applies is in [Info].
func WithMaxLifetime(d time.Duration) Option {
	return createOption(func(c *createConfig) {
		checkDuration(&c.faults, "spec.max_lifetime_seconds", d)
		c.maxLifetime = setting[time.Duration]{d, c.layer}
	})
}

type tagOption []string

// WithTags adds tags to a create, to those of weaker layers; in a list it asks for sandboxes that carry all of them. A tag
// has at most 59 letters, digits, dots, underscores and dashes, and ends in a letter or digit.
func WithTags(tags ...string) TagOption { return tagOption(slices.Clone(tags)) }

func (o tagOption) applyCreate(c *createConfig) { c.tags = addTags(c.tags, o...) }
func (o tagOption) applyList(c *listConfig)     { c.tags = addTags(c.tags, o...) }

type runnerOption []string

// WithRunners restricts a create to the caller's own runners of these ids, and a list to sandboxes on any of them.
// Without an id it clears what a weaker layer says.
func WithRunners(ids ...string) RunnerOption { return runnerOption(slices.Clone(ids)) }

func (o runnerOption) applyCreate(c *createConfig) {
	c.runners = setting[[]string]{slices.Clone(o), c.layer}
}
func (o runnerOption) applyList(c *listConfig) { c.runners = slices.Clone(o) }

type graceOption time.Duration

// WithGrace is the time between SIGTERM and SIGKILL when the sandbox is stopped, rounded up to whole seconds: 10 s by
// default for [Sandbox.Stop], none for [Client.Delete]. On a create or an attach it is the default of that sandbox's
// stops. The service cuts it to its own maximum.
func WithGrace(d time.Duration) GraceOption { return graceOption(d) }

func (o graceOption) check(f *faults) { checkDuration(f, "grace_period_seconds", time.Duration(o)) }

func (o graceOption) applyCreate(c *createConfig) {
	o.check(&c.faults)
	c.grace = time.Duration(o)
}

func (o graceOption) applyAttach(c *attachConfig) {
	o.check(&c.faults)
	c.grace = (*time.Duration)(&o)
}

func (o graceOption) applyStop(c *stopConfig) {
	o.check(&c.faults)
	c.grace = (*time.Duration)(&o)
}

func (o graceOption) applyDelete(c *deleteConfig) {
	o.check(&c.faults)
	c.grace = time.Duration(o)
}

type requestTimeoutOption time.Duration

// WithRequestTimeout bounds a request, with its repetitions, whose context has no deadline: 300 s by default. On a create
// it is the limit of that one call.
func WithRequestTimeout(d time.Duration) CallOption { return requestTimeoutOption(d) }

func (o requestTimeoutOption) check(f *faults) {
	if o <= 0 {
		f.add("request timeout", "must be above zero, is %v", time.Duration(o))
	}
}

func (o requestTimeoutOption) applyClient(c *clientConfig) {
	o.check(&c.faults)
	c.requestTimeout = time.Duration(o)
}

func (o requestTimeoutOption) applyCreate(c *createConfig) {
	o.check(&c.faults)
	c.requestTimeout = time.Duration(o)
}

func (o requestTimeoutOption) applyAttach(c *attachConfig) {
	o.check(&c.faults)
	c.requestTimeout = time.Duration(o)
}

type envOption struct{ name, value string }

// WithEnv sets an environment variable: of a create, for the main process and every command; of a command, for that one,
// over the sandbox's.
func WithEnv(name, value string) CommandOption { return envOption{name, value} }

func (o envOption) check(f *faults, field string) {
	checkEnvName(f, field, o.name)
	if hasNUL(o.value) {
		f.add(field, "the value of %q must not contain NUL", o.name)
	}
}

func (o envOption) applyCreate(c *createConfig) {
	o.check(&c.faults, "spec.containers[0].environment_variables")
	c.env[o.name] = setting[string]{o.value, c.layer}
}

func (o envOption) applyExec(c *execConfig) {
	o.check(&c.faults, "env")
	if c.env == nil {
		c.env = make(map[string]string)
	}
	c.env[o.name] = o.value
}

type dirOption string

// WithDir sets the working directory, an absolute path: of a create, for the main process; of a command, for that one,
// by way of the image's /bin/sh, because the service has no such field.
func WithDir(path string) CommandOption { return dirOption(path) }

func (o dirOption) applyCreate(c *createConfig) {
	checkDir(&c.faults, "spec.containers[0].working_dir", string(o))
	c.dir = setting[string]{string(o), c.layer}
}

func (o dirOption) applyExec(c *execConfig) {
	checkDir(&c.faults, "dir", string(o))
	c.dir = string(o)
}
