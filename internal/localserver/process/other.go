//go:build !linux && !darwin

package process

import (
	"errors"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// Runtime exists only on Unix systems.
type Runtime struct{ container.Runtime }

// New fails: this system has no way to run sandboxes as processes.
func New(o Options) (*Runtime, error) {
	if _, err := o.withDefaults(); err != nil {
		return nil, err
	}
	return nil, errors.New("sandboxes as real processes need Linux or another Unix-like system; use the scripted runtime")
}

// Main returns at once.
func Main() {}
