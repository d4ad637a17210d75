package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
)

// The levels of isolation that [Options] can ask for.
const (
	// Auto takes the best level that works here.
	Auto = "auto"
	// Strict is Auto, but refuses to go below Rootless.
	Strict = "strict"
	// Isolated gives each container a copy-on-write view of the host's files and namespaces of its own. It needs root.
	Isolated = "isolated"
	// Rootless is Isolated inside a user namespace. Files of other users of the host cannot be changed in place.
	Rootless = "rootless"
	// Plain runs ordinary processes in a private directory, without isolation of files, processes or network.
	Plain = "plain"
)

// Options configure a [Runtime]. The zero value is usable.
type Options struct {
	// Isolation is one of the levels above; empty is Auto.
	Isolation string
	// DataDir holds what containers write, in one sub-directory per runtime; empty is a directory below the user's
	// state directory. What runtimes that are gone have left in it is removed.
	DataDir string
	// Images says what the images whose names match a pattern stand for. In a pattern a star matches any text; an
	// exact name wins over a pattern, and a longer pattern over a shorter one. Other images are the host's own files.
	Images map[string]Image
	// RequireImage refuses images that Images does not name.
	RequireImage bool
	// MaskPaths are files and directories that appear empty inside containers; nil is the usual places of
	// credentials below the homes. The plain level cannot mask anything.
	MaskPaths []string
	// Logger gets what happens beside the calls; nil discards it.
	Logger *slog.Logger
}

// An Image is what an image name stands for.
type Image struct {
	// Root is the absolute path of an unpacked root file system; empty is the host's own. Only levels with a root of
	// their own can honor another one.
	Root string
	// Path are directories that precede the others in PATH.
	Path []string
	// Command is what runs when a container names no command of its own.
	Command []string
	// Refuse, when not empty, is why the image cannot be used: a simulated failure of the pull.
	Refuse string
}

func (o Options) withDefaults() (Options, error) {
	if o.Isolation == "" {
		o.Isolation = Auto
	}
	switch o.Isolation {
	case Auto, Strict, Isolated, Rootless, Plain:
	default:
		return o, fmt.Errorf("isolation must be one of %s, %s, %s, %s and %s, got %q",
			Auto, Strict, Isolated, Rootless, Plain, o.Isolation)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for pattern, image := range o.Images {
		if err := image.validate(); err != nil {
			return o, fmt.Errorf("image %q: %w", pattern, err)
		}
	}
	return o, nil
}

func (i Image) validate() error {
	if i.Root == "" || i.Refuse != "" {
		return nil
	}
	if !filepath.IsAbs(i.Root) {
		return errors.New("root must be an absolute path")
	}
	info, err := os.Stat(i.Root)
	if err != nil {
		return fmt.Errorf("root: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("root %s is not a directory", i.Root)
	}
	return nil
}
