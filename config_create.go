package cwsandbox

import (
	"slices"
	"time"
)

// command is what the main process runs. The zero value is the image's own command.
type command struct {
	name string
	args []string
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
	list   int   // number of the list that they stand in; a bundle is a list of its own
	lists  int   // seen so far

	image          setting[string]
	command        setting[command]
	dir            setting[string]
	displayName    setting[string]
	env            map[string]setting[string]
	annotations    map[string]setting[string]
	files          setting[[]mountedFile] // the layer is that of the last one
	tags           setting[[]string]      // likewise
	runners        setting[[]string]
	resources      setting[Resources]
	maxLifetime    setting[time.Duration] // zero: the platform's own
	grace          time.Duration
	requestTimeout time.Duration // zero: the client's
}

// newCreateConfig merges the layers of a create and validates the result. All faults are reported together.
func newCreateConfig(op string, env environment, session, own []Option) (*createConfig, error) {
	c := &createConfig{
		image:       setting[string]{value: defaultImage},
		command:     setting[command]{value: keepAlive},
		env:         make(map[string]setting[string]),
		annotations: make(map[string]setting[string]),
		maxLifetime: setting[time.Duration]{value: defaultMaxLifetime},
		grace:       defaultGrace,
	}
	if env.maxLifetime != nil {
		c.maxLifetime = setting[time.Duration]{*env.maxLifetime, layerEnvironment}
	}
	c.apply(layerSession, session)
	c.apply(layerCall, own)
	if n := len(c.annotations); n > maxAnnotations {
		c.faults.add("spec.annotations", "must be at most %d, are %d", maxAnnotations, n)
	}
	return c, c.faults.err(call{op: op})
}

// apply applies one list of options. It is called again for a bundle in that list.
func (c *createConfig) apply(from layer, opts []Option) {
	layer, list := c.layer, c.list
	c.lists++
	c.layer, c.list = from, c.lists
	applyAll(&c.faults, opts, func(o Option) { o.applyCreate(c) })
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
