package cwsandbox

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/overlay"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// longestLifetime is the most that the service lets a sandbox live.
const longestLifetime = 30 * 24 * time.Hour

// origin is what a create starts from. The zero value is nothing but its options.
type origin struct {
	template string       // id
	compose  *composeFile // or this
	list     int          // of options that it was given in
	rank     rank
}

func (c *createConfig) setOrigin(o origin) {
	o.list, o.rank = c.list, c.rank()
	was := c.origin
	if was.list == o.list && (was.compose == nil) != (o.compose == nil) {
		c.faults.add("template_id", "must not be given together with a Compose document")
	}
	c.origin = o
}

// plain reports whether there are only options.
func (o origin) plain() bool { return o.template == "" && o.compose == nil }

// anyOrigin are the options that apply whatever a sandbox is made of. Bundles are of that kind: what they hold is looked at
// by itself.
var anyOrigin = []string{
	"Defaults", "WithTags", "WithDisplayName", "WithGrace", "WithRequestTimeout", "WithDataPlane", "WithLease", "WithoutOwnerMark",
}

// aroundCompose are the options that apply to a Compose document, too. It says nothing that they would replace.
var aroundCompose = []string{
	"WithAnnotation", "WithMaxLifetime", "WithRunners", "WithPlacement", "WithNetwork", "WithObjectStorage",
}

// fits reports whether an option of any layer applies to the origin.
func (o origin) fits(option string) bool {
	return slices.Contains(anyOrigin, option) || o.compose != nil && slices.Contains(aroundCompose, option)
}

// besideOrigin is the configuration once more, knowing what it starts from: without the built-in values, and without what
// weaker layers say about the same things.
func (c *createConfig) besideOrigin(env environment, session, own []Option) *createConfig {
	b := blankConfig()
	b.origin, b.since = c.origin, c.origin.rank
	if b.origin.compose != nil {
		b.maxLifetime = env.lifetime()
	}
	b.apply(layerSession, session)
	b.apply(layerCall, own)
	b.faults = c.faults // which are all
	b.unmarked = true   // over a template, annotations would replace the template's
	b.checkOrigin()
	return b
}

// skips reports whether an option has no effect where it stands.
func (c *createConfig) skips(option string) bool {
	switch {
	case c.since == 0:
		return false
	case option == "WithTemplate", option == "WithCompose": // are known by now
		return true
	}
	return c.rank() < c.since && !c.origin.fits(option)
}

// checkOrigin is the rule for what can be said beside a template or a Compose document.
func (c *createConfig) checkOrigin() {
	from := c.origin
	if from.template != "" && c.spillover.value != SpilloverNone {
		c.faults.add("spillover", "must be none for a template, is %v", c.spillover.value)
	}
	for _, option := range slices.Sorted(maps.Keys(c.given)) {
		switch {
		case from.compose != nil && !from.fits(option):
			c.faults.add("contents", "cannot be given together with %s", option)
		case from.template != "" && !c.hasContainers() && slices.Contains(ofOneContainer, option):
			c.faults.add("overrides.containers", "need an image: %s is about a container of its own, as WithImage makes one", option)
		}
	}
	if from.template != "" && !c.hasContainers() && len(c.primaryMounts()) > 0 {
		c.faults.add("overrides.containers", "need an image: a volume with a path is mounted in a container of its own, as WithImage makes one")
	}
}

// rename puts the fields of faults to where the request has them.
func (o origin) rename(f *faults) {
	prefix := "overrides."
	switch {
	case o.plain():
		return
	case o.compose != nil:
		prefix = ""
	}
	for i, v := range f.list {
		if field, ok := strings.CutPrefix(v.Field, "spec."); ok {
			f.list[i].Field = prefix + field
		}
	}
}

// overrides is what the options say about the sandbox, for a template to be replaced by.
func (c *createConfig) overrides() *sandboxv1.PartialSandboxSpec {
	spec := c.spec()
	if !c.hasContainers() {
		spec.Containers = nil
	}
	partial := new(sandboxv1.PartialSandboxSpec)
	overlay.Put(partial, spec)
	return partial
}

func (c *createConfig) fromTemplate(requestID string) *sandboxv1.CreateSandboxFromTemplateRequest {
	return &sandboxv1.CreateSandboxFromTemplateRequest{
		TemplateId:  c.origin.template,
		Overrides:   c.overrides(),
		RequestId:   requestID,
		DisplayName: c.displayName.value,
	}
}

func (c *createConfig) fromFile(requestID string) *sandboxv1.CreateSandboxFromFileRequest {
	spec, file := c.spec(), c.origin.compose
	return &sandboxv1.CreateSandboxFromFileRequest{
		Type:                sandboxv1.SandboxFileType_SANDBOX_FILE_TYPE_COMPOSE,
		Contents:            file.contents,
		PrimaryService:      file.Primary,
		ImageOverrides:      file.Images,
		DefaultResources:    file.Resources.requirements(),
		Mode:                spec.GetMode(),
		MaxLifetimeSeconds:  spec.GetMaxLifetimeSeconds(),
		Tags:                spec.GetTags(),
		Network:             spec.GetNetwork(),
		ObjectStorageAccess: spec.GetObjectStorageAccess(),
		Annotations:         spec.GetAnnotations(),
		RunnerIds:           spec.GetRunnerIds(),
		RequestId:           requestID,
		DisplayName:         c.displayName.value,
	}
}

// longest is how long what the create makes can live.
func (c *createConfig) longest() time.Duration {
	switch {
	case c.maxLifetime.value > 0:
		return c.maxLifetime.value
	case c.origin.template != "": // it may have one of its own
		return longestLifetime
	}
	return defaultMaxLifetime // the platform's own is shorter
}
