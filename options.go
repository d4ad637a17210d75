package cwsandbox

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// Option is an option of a create: of [Client.Run], [Client.Create], of a session, and of [Defaults].
type Option interface{ applyCreate(*createConfig) }

// ListOption is an option of [Client.List] and [Client.Orphans].
type ListOption interface{ applyList(*listConfig) }

// AttachOption is an option of [Client.Attach].
type AttachOption interface{ applyAttach(*attachConfig) }

// StopOption is an option of [Sandbox.Stop].
type StopOption interface{ applyStop(*stopConfig) }

// DeleteOption is an option of [Client.Delete].
type DeleteOption interface{ applyDelete(*deleteConfig) }

// TagOption is an option of creates, lists and purges.
type TagOption interface {
	Option
	ListOption
	PurgeOption
}

// RunnerOption is an option of creates and lists.
type RunnerOption interface {
	Option
	ListOption
	VolumeListOption
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

// CommandOption is an option of a create, where it is about the main process, of a command, of a terminal, and of a call of a
// function.
type CommandOption interface {
	Option
	ExecOption
	ShellOption
	FuncOption
}

type tagOption []string

// WithTags adds tags to a create, to those of weaker layers; lists and purges are for sandboxes that carry all of them. A tag
// has at most 59 letters, digits, dots, underscores and dashes, and ends in a letter or digit. Over a template they
// replace the template's.
func WithTags(tags ...string) TagOption { return tagOption(slices.Clone(tags)) }

func (o tagOption) applyCreate(c *createConfig) {
	c.tags = setting[[]string]{addTags(&c.faults, "spec.tags", c.tags.value, o), c.layer}
}

func (o tagOption) applyList(c *listConfig) { c.tags = addTags(&c.faults, "tags", c.tags, o) }

func (o tagOption) String() string { return printedList("WithTags", o) }

type runnerOption []string

// WithRunners restricts a create to the caller's own runners of these ids, and a list to sandboxes on any of them, or to
// registered volumes whose claims are theirs.
// Without an id it clears what a weaker layer says. Over a template they replace the template's, which stay if there are none.
func WithRunners(ids ...string) RunnerOption { return runnerOption(slices.Clone(ids)) }

func (o runnerOption) applyCreate(c *createConfig) {
	checkRunners(&c.faults, "spec.runner_ids", o)
	c.runners = setting[[]string]{slices.Clone(o), c.layer}
}

func (o runnerOption) applyList(c *listConfig) {
	checkRunners(&c.faults, "runner_ids", o)
	c.runners = slices.Clone(o)
}

func (o runnerOption) String() string { return printedList("WithRunners", o) }

type graceOption time.Duration

// WithGrace is the time between SIGTERM and SIGKILL when the sandbox is stopped, rounded up to whole seconds: 10 s by
// default for [Sandbox.Stop], none for [Client.Delete]. On a create or an attach it is the default of that sandbox's
// stops. The service cuts it to its own maximum.
func WithGrace(d time.Duration) GraceOption { return graceOption(d) }

func (o graceOption) check(f *faults) time.Duration {
	checkSeconds(f, "grace_period_seconds", time.Duration(o))
	return time.Duration(o)
}

func (o graceOption) applyCreate(c *createConfig) { c.grace = o.check(&c.faults) }
func (o graceOption) applyDelete(c *deleteConfig) { c.grace = o.check(&c.faults) }

func (o graceOption) applyAttach(c *attachConfig) {
	grace := o.check(&c.faults)
	c.grace = &grace
}

func (o graceOption) applyStop(c *stopConfig) {
	grace := o.check(&c.faults)
	c.grace = &grace
}

func (o graceOption) String() string { return printed("WithGrace", time.Duration(o)) }

type requestTimeoutOption time.Duration

// WithRequestTimeout bounds a request, with its repetitions, whose context has no deadline: 300 s by default. On a create
// it is the limit of that one call.
func WithRequestTimeout(d time.Duration) CallOption { return requestTimeoutOption(d) }

func (o requestTimeoutOption) check(f *faults) time.Duration {
	if o <= 0 {
		f.add("request timeout", "must be above zero, is %v", time.Duration(o))
	}
	return time.Duration(o)
}

func (o requestTimeoutOption) applyClient(c *clientConfig) { c.requestTimeout = o.check(&c.faults) }
func (o requestTimeoutOption) applyCreate(c *createConfig) { c.requestTimeout = o.check(&c.faults) }
func (o requestTimeoutOption) applyAttach(c *attachConfig) { c.requestTimeout = o.check(&c.faults) }

func (o requestTimeoutOption) String() string { return printed("WithRequestTimeout", time.Duration(o)) }

type envOption struct{ name, value string }

// WithEnv sets an environment variable: of a create, for the main process and every command; of a command, for that one,
// over the sandbox's. Over a template it needs [WithImage].
func WithEnv(name, value string) CommandOption { return envOption{name, value} }

func (o envOption) check(f *faults, field string) {
	checkEnvName(f, field, o.name)
	checkText(f, keyed(field, o.name), o.value)
}

func (o envOption) applyCreate(c *createConfig) {
	o.check(&c.faults, environmentField)
	c.env[o.name] = setting[string]{o.value, c.layer}
}

func (o envOption) applyExec(c *execConfig) {
	o.check(&c.faults, "env")
	if c.env == nil {
		c.env = make(map[string]string)
	}
	c.env[o.name] = o.value
}

func (o envOption) applyShell(c *execConfig) { o.applyExec(c) }

// String shows the name only: values are often secrets.
func (o envOption) String() string { return printed("WithEnv", o.name) }

// Format is String for every verb.
func (o envOption) Format(f fmt.State, _ rune) { io.WriteString(f, o.String()) }

type dirOption string

// WithDir sets the working directory, an absolute path: of a create, for the main process; of a command, for that one,
// by way of the image's /bin/sh, because the service has no such field. Over a template it needs [WithImage].
func WithDir(path string) CommandOption { return dirOption(path) }

func (o dirOption) applyCreate(c *createConfig) {
	checkDir(&c.faults, "spec.containers[0].working_dir", string(o))
	c.dir = setting[string]{string(o), c.layer}
}

func (o dirOption) applyExec(c *execConfig) {
	checkDir(&c.faults, "dir", string(o))
	c.dir = string(o)
}

func (o dirOption) applyShell(c *execConfig) { o.applyExec(c) }

func (o dirOption) String() string { return printed("WithDir", string(o)) }
