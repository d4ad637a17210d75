package process

import "errors"

// levels are those of this system, best first.
var levels = []level{
	{Isolated, func(r *Runtime, o Options) (backend, error) { return newNamespaces(r, o, false) }},
	{Rootless, func(r *Runtime, o Options) (backend, error) { return newNamespaces(r, o, true) }},
	{Plain, newPlain},
}

var errNoMain = errors.New("the program does not call process.Main first in its main function")
