package cwsandbox

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// What a create asks for where nobody says anything.
const (
	defaultImage       = "python:3.11"
	defaultMaxLifetime = time.Hour
	containerName      = "main"
)

// keepAlive is the main process of a sandbox whose caller says nothing: it waits, and ends well when it is told to.
var keepAlive = command{"/bin/sh", []string{"-c", `trap "exit 0" TERM INT; sleep infinity & wait`}}

// layer is where a value of a merged configuration came from.
type layer int

const (
	layerBuiltIn layer = iota
	layerEnvironment
	layerBundle // wherever the bundle stands
	layerSession
	layerCall
)

// setting is a value with the layer that set it.
type setting[T any] struct {
	value T
	from  layer
}

// bundle is a list of options that counts as one.
type bundle []Option

// Defaults makes one option of several, to be used again and again: for sessions and calls alike. It takes effect where
// it stands in a list; later options win. An option that is wrong fails every call that the bundle is given to. The
// bundle does not change and may be used by any number of goroutines. It prints as the options that it holds, without
// the values of environment variables and the contents of files.
func Defaults(opts ...Option) Option { return bundle(slices.Clone(opts)) }

func (b bundle) applyCreate(c *createConfig) { c.apply(layerBundle, b) }

func (b bundle) String() string {
	var held []string
	for _, o := range b {
		if o != nil {
			held = append(held, fmt.Sprint(o))
		}
	}
	return "Defaults(" + strings.Join(held, ", ") + ")"
}

// printed shows an option as the call that makes it.
func printed(name string, args ...any) string {
	shown := make([]string, len(args))
	for i, arg := range args {
		shown[i] = fmt.Sprint(arg)
		if text, ok := arg.(string); ok {
			shown[i] = fmt.Sprintf("%q", text)
		}
	}
	return name + "(" + strings.Join(shown, ", ") + ")"
}

// printedList is printed for options that take a list of words.
func printedList(name string, words []string) string {
	args := make([]any, len(words))
	for i, word := range words {
		args[i] = word
	}
	return printed(name, args...)
}
