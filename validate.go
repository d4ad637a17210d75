package cwsandbox

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"strings"
	"time"
)

const (
	maxTagLength     = 59
	maxAnnotations   = 100
	maxDisplayName   = 128
	maxRunners       = 100
	maxRunnersLength = 64 << 10
	maxSeconds       = math.MaxInt32
)

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z0-9]$`)

// validate checks what only the merged configuration shows.
func (c *createConfig) validate() {
	checkTags(&c.faults, "spec.tags", c.tags)
	if n := len(c.annotations); n > maxAnnotations {
		c.faults.add("spec.annotations", "must not be more than %d, are %d", maxAnnotations, n)
	}
	checkRunners(&c.faults, "spec.runner_ids", c.runners.value)
	if c.resources.value != nil {
		c.resources.value.check(&c.faults, "spec.containers[0].resource_requirements")
	}
}

func checkTags(f *faults, field string, tags []string) {
	for i, tag := range tags {
		field := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case len(tag) > maxTagLength:
			f.add(field, "must have at most %d characters, %q has %d", maxTagLength, tag, len(tag))
		case !tagPattern.MatchString(tag):
			f.add(field, "must be of letters, digits, dots, underscores and dashes, and end in a letter or digit, is %q", tag)
		}
	}
}

func checkRunners(f *faults, field string, ids []string) {
	seen, length := make(map[string]bool), 0
	for i, id := range ids {
		switch {
		case strings.TrimSpace(id) == "":
			f.add(fmt.Sprintf("%s[%d]", field, i), "must not be blank")
		case seen[id]:
			f.add(fmt.Sprintf("%s[%d]", field, i), "must not repeat %q", id)
		}
		seen[id] = true
		length += len(id)
	}
	if len(ids) > maxRunners || length > maxRunnersLength {
		f.add(field, "must be at most %d with %d bytes in all", maxRunners, maxRunnersLength)
	}
}

// checkEnvName is the rule for the names of environment variables.
func checkEnvName(f *faults, field, name string) {
	switch {
	case name == "":
		f.add(field, "the name must not be empty")
	case strings.ContainsAny(name, "=\x00"):
		f.add(field, "the name must not contain = or NUL, is %q", name)
	}
}

// checkDir is the rule for working directories.
func checkDir(f *faults, field, dir string) {
	if !path.IsAbs(dir) || hasNUL(dir) {
		f.add(field, "must be an absolute path, is %q", dir)
	}
}

// checkMountedFile is the rule for the paths of files that are given to a create.
func checkMountedFile(f *faults, field, p string) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || hasNUL(p) {
		f.add(field, "must be an absolute, canonical path of a file, is %q", p)
	}
}

// checkDuration is the rule for durations that travel in whole seconds.
func checkDuration(f *faults, field string, d time.Duration) {
	switch {
	case d < 0:
		f.add(field, "must not be negative, is %v", d)
	case d > maxSeconds*time.Second:
		f.add(field, "must be at most %d seconds, is %v", maxSeconds, d)
	}
}

// wholeSeconds rounds up: a positive duration never becomes zero.
func wholeSeconds(d time.Duration) int32 {
	return int32((d + time.Second - 1) / time.Second)
}
