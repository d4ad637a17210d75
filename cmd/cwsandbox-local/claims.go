package main

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

// parseClaim reads NAMESPACE/NAME=DIRECTORY.
func parseClaim(text string) (localserver.Claim, error) {
	claim, dir, _ := strings.Cut(text, "=")
	namespace, name, _ := strings.Cut(claim, "/")
	if namespace == "" || name == "" || dir == "" {
		return localserver.Claim{}, errors.New("must be NAMESPACE/NAME=DIRECTORY")
	}
	dir, err := filepath.Abs(dir)
	return localserver.Claim{Namespace: namespace, Name: name, Dir: dir}, err
}
