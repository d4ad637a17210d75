//go:build linux || darwin

package process

import (
	"fmt"
	"path"
	"strings"
)

// images maps image names to what they stand for.
type images struct {
	known    map[string]Image
	required bool
}

// resolve finds what name stands for. An image that is refused is an error that names it.
func (s images) resolve(name string) (Image, error) {
	image, found := s.known[name]
	longest := -1
	for pattern, candidate := range s.known {
		if !found && len(pattern) > longest && matches(pattern, name) {
			image, longest = candidate, len(pattern)
		}
	}
	switch {
	case !found && longest < 0 && s.required:
		return Image{}, fmt.Errorf("image %q is not available here", name)
	case image.Refuse != "":
		return Image{}, fmt.Errorf("image %q cannot be pulled: %s", name, image.Refuse)
	}
	return image, nil
}

// matches reports whether name has the form of pattern, in which a star stands for any text.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	rest, ok := strings.CutPrefix(name, parts[0])
	if !ok || len(parts) == 1 {
		return ok && rest == ""
	}
	last := len(parts) - 1
	for _, part := range parts[1:last] {
		_, after, found := strings.Cut(rest, part)
		if !found {
			return false
		}
		rest = after
	}
	return strings.HasSuffix(rest, parts[last])
}

// convenienceLink says which command the image named here is expected to have although the host knows it by another
// name, and the host's executable behind it; both are empty when there is nothing to do.
func convenienceLink(image string, lookup func(name string) (string, bool)) (name, target string) {
	repository, tag := splitImage(image)
	var command string
	var stands []string
	switch repository {
	case "python":
		command, stands = "python", []string{"python" + minorVersion(tag), "python3"}
	case "node":
		command, stands = "node", []string{"nodejs"}
	default:
		return "", ""
	}
	if _, found := lookup(command); found {
		return "", ""
	}
	for _, candidate := range stands {
		if file, found := lookup(candidate); found {
			return command, file
		}
	}
	return "", ""
}

// splitImage returns the last element of an image's name and its tag.
func splitImage(image string) (repository, tag string) {
	image, _, _ = strings.Cut(image, "@")
	repository, tag, _ = strings.Cut(path.Base(image), ":")
	return repository, tag
}

// minorVersion returns the leading "3.11" of a tag such as "3.11.4-slim".
func minorVersion(tag string) string {
	tag, _, _ = strings.Cut(tag, "-")
	parts := strings.SplitN(tag, ".", 3)
	if len(parts) < 2 {
		return tag
	}
	return parts[0] + "." + parts[1]
}
