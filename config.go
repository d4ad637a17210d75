package cwsandbox

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// layer is where a value of a merged configuration came from. A later layer lies over an earlier one.
type layer int

const (
	layerBuiltIn layer = iota
	layerEnvironment
	layerBundle
	layerSession
	layerCall
)

// setting is a value with the layer that set it.
type setting[T any] struct {
	value T
	from  layer
}

// faults gathers everything that is wrong with one call, so that it is reported together.
type faults []Violation

func (f *faults) add(field, format string, args ...any) {
	*f = append(*f, Violation{Field: field, Description: fmt.Sprintf(format, args...)})
}

// err is the error of the call, or nil.
func (f faults) err(c call) error {
	if len(f) == 0 {
		return nil
	}
	e := c.make("", ErrInvalidArgument)
	e.Violations = f
	return e
}

// command is what the main process runs. The zero value is the image's own command.
type command struct {
	name string
	args []string
}

// keepAlive is the main process of a sandbox whose caller says nothing: it waits, and ends well when it is told to.
var keepAlive = command{"/bin/sh", []string{"-c", `trap "exit 0" TERM INT; sleep infinity & wait`}}

const (
	defaultImage       = "python:3.11"
	defaultMaxLifetime = time.Hour
	containerName      = "main"
)

// createConfig is the merged configuration of one create.
type createConfig struct {
	faults faults
	layer  layer // of the option that is being applied

	image          setting[string]
	command        setting[command]
	dir            setting[string]
	displayName    setting[string]
	env            map[string]setting[string]
	annotations    map[string]setting[string]
	tags           []string
	files          map[string]setting[[]byte]
	runners        setting[[]string]
	resources      setting[*Resources]
	maxLifetime    setting[time.Duration] // zero: the platform's own
	grace          time.Duration
	requestTimeout time.Duration // zero: the client's
}

// newCreateConfig merges the layers of a create and validates the result.
func newCreateConfig(op string, env environment, session, call_ []Option) (*createConfig, error) {
	c := &createConfig{
		image:       setting[string]{value: defaultImage},
		command:     setting[command]{value: keepAlive},
		env:         make(map[string]setting[string]),
		annotations: make(map[string]setting[string]),
		files:       make(map[string]setting[[]byte]),
		maxLifetime: setting[time.Duration]{value: defaultMaxLifetime},
		grace:       defaultGrace,
	}
	if env.maxLifetime != nil {
		c.maxLifetime = setting[time.Duration]{*env.maxLifetime, layerEnvironment}
	}
	c.layer = layerSession
	c.apply(session)
	c.layer = layerCall
	c.apply(call_)
	c.validate()
	return c, c.faults.err(call{op: op})
}

func (c *createConfig) apply(opts []Option) {
	for _, o := range opts {
		if o != nil {
			o.applyCreate(c)
		}
	}
}

// bundle is a list of options that counts as one. Its values are weaker in one respect only: they are known to come from
// a bundle.
type bundle []Option

// Defaults makes one option of several, to be used again and again: for sessions and calls alike. It takes effect where
// it stands in a list; later options win. An option that is wrong fails the call that the bundle is given to. The bundle
// does not change and may be used by any number of goroutines.
func Defaults(opts ...Option) Option { return bundle(slices.Clone(opts)) }

func (b bundle) applyCreate(c *createConfig) {
	outer := c.layer
	c.layer = layerBundle
	c.apply(b)
	c.layer = outer
}

// keys returns the sorted keys of a map, so that what is made from it is the same every time.
func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

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

// addTags adds tags that are not there yet.
func addTags(tags []string, more ...string) []string {
	for _, t := range more {
		if !slices.Contains(tags, t) {
			tags = append(tags, t)
		}
	}
	return tags
}

func hasNUL(s string) bool { return strings.Contains(s, "\x00") }
