package cwsandbox

import (
	"slices"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
)

// command is what the main process runs. The zero value is the image's own command.
type command struct {
	name string
	args []string
}

func (c command) argv() []string {
	if c.name == "" {
		return nil
	}
	return append([]string{c.name}, c.args...)
}

// mountedFile is a file that a create brings along.
type mountedFile struct {
	path string
	data []byte
	list int // the list of options that it was given in
}

// createConfig is the merged configuration of one create: built-in values under the environment's under the session's
// options under the call's, in the order in which they were given.
type createConfig struct {
	faults faults
	layer  layer // of the options that are being applied
	stage  layer // likewise, without regard to bundles
	list   int   // number of the list that they stand in; a bundle is a list of its own
	lists  int   // seen so far

	origin origin
	since  rank // options of a lower one count only where they do not concern the origin

	image       setting[string]
	command     setting[command]
	dir         setting[string]
	displayName setting[string]
	env         map[string]setting[string]
	annotations map[string]setting[string]
	files       setting[[]mountedFile] // the layer is that of the last one
	tags        setting[[]string]      // likewise
	runners     setting[[]string]
	placement   setting[Placement]
	spillover   setting[Spillover]
	network     setting[*Network] // nil: nothing is said
	resources   setting[Resources]
	volumes     setting[givenVolumes]
	services    setting[[]Service]

	attachments attachments // of a template only
	partial     bool        // a template: what it leaves out, its users say

	maxLifetime    setting[time.Duration] // zero: the platform's own
	grace          time.Duration
	requestTimeout time.Duration          // zero: the client's
	dataPlane      *DataPlane             // nil: the client's
	unmarked       bool                   // no owner mark
	lease          setting[time.Duration] // zero: none
	wrapped        lease.Lease            // once it is in the command

	secrets         []setting[Secret]
	pullCredentials setting[PullCredentials]
	startupProbe    setting[Probe]
	securityContext setting[SecurityContext]
	containers      setting[[]Container] // none: the one that the options are about
	containersRank  rank
	given           map[string]rank // where each option was given last
	runtimeClass    setting[string]
	instanceType    setting[string]
	objectStorage   setting[ObjectStorage]
}

// newCreateConfig merges the layers of a create and validates the result. All faults are reported together.
func newCreateConfig(op string, env environment, session, own []Option) (*createConfig, error) {
	c := blankConfig()
	c.image.value, c.command.value = defaultImage, keepAlive
	c.maxLifetime = env.lifetime()
	c.apply(layerSession, session)
	c.apply(layerCall, own)
	if !c.origin.plain() {
		c = c.besideOrigin(env, session, own)
	}
	c.checkContainers()
	c.checkMounts()
	c.checkLease()
	c.checkAnnotations()
	c.checkPlacement()
	c.checkAttachments()
	c.origin.rename(&c.faults)
	return c, c.faults.err(call{op: op})
}

func blankConfig() *createConfig {
	return &createConfig{
		env:         make(map[string]setting[string]),
		annotations: make(map[string]setting[string]),
		given:       make(map[string]rank),
		grace:       defaultGrace,
	}
}

// lifetime is the max lifetime where no option says anything.
func (e environment) lifetime() setting[time.Duration] {
	if e.maxLifetime != nil {
		return setting[time.Duration]{*e.maxLifetime, layerEnvironment}
	}
	return setting[time.Duration]{value: defaultMaxLifetime}
}

// apply applies one list of options. It is called again for a bundle in that list.
func (c *createConfig) apply(from layer, opts []Option) {
	layer, list := c.layer, c.list
	c.lists++
	c.layer, c.list = from, c.lists
	if from != layerBundle {
		c.stage = from
	}
	applyAll(&c.faults, opts, func(o Option) {
		option := c.faults.option
		if c.skips(option) {
			return
		}
		o.applyCreate(c)
		c.noteGiven(option)
	})
	c.layer, c.list = layer, list
}

// addFile puts a file in the place of an earlier one with its path. Within one list that can only be a mistake.
func (c *createConfig) addFile(path string, data []byte) {
	files := c.files.value
	i := slices.IndexFunc(files, func(f mountedFile) bool { return f.path == path })
	repeated := i >= 0 && files[i].list == c.list
	if i < 0 {
		i = len(files)
		files = append(files, mountedFile{})
	}
	files[i] = mountedFile{path, data, c.list}
	c.files = setting[[]mountedFile]{files, c.layer}

	field := indexed("spec.containers[0].files", i) + ".path"
	checkMountedFile(&c.faults, field, path)
	if repeated {
		c.faults.add(field, "must not repeat %q", path)
	}
}

// values drops the layers of a map. An empty one is nil.
func values(m map[string]setting[string]) map[string]string {
	if len(m) == 0 {
		return nil
	}
	plain := make(map[string]string, len(m))
	for k, v := range m {
		plain[k] = v.value
	}
	return plain
}
