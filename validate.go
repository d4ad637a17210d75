package cwsandbox

import (
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// The service's limits. What is not known to be one is left to the service.
const (
	maxTagLength     = 59
	maxAnnotations   = 100
	maxRunners       = 100
	maxRunnersLength = 64 << 10
	maxSeconds       = math.MaxInt32
)

// faults gathers everything that is wrong with the options of one call, so that it is reported together.
type faults struct {
	option string // the one that is being applied; empty: a fault of several
	list   []Violation
	causes []error // that the error matches, beside what it is
}

// add notes a fault: the field in the service's style, and the rule that it breaks.
func (f *faults) add(field, format string, args ...any) {
	rule := fmt.Sprintf(format, args...)
	if f.option != "" {
		rule += " (" + f.option + ")"
	}
	f.list = append(f.list, Violation{Field: field, Description: rule})
}

// err is the error of the call, or nil.
func (f *faults) err(c call) error {
	if len(f.list) == 0 {
		return nil
	}
	e := c.make("", append([]error{ErrInvalidArgument}, f.causes...)...)
	e.Violations = f.list
	return e
}

// applyAll applies the options that are not nil, in their order. Faults carry the names of those that print as a call.
func applyAll[O any](f *faults, opts []O, apply func(O)) {
	for _, o := range opts {
		if any(o) == nil {
			continue
		}
		if s, ok := any(o).(fmt.Stringer); ok {
			f.option, _, _ = strings.Cut(s.String(), "(")
		}
		apply(o)
		f.option = ""
	}
}

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// checkText is the rule for every text that goes to the service. The value may be a secret and is not shown.
func checkText(f *faults, field, text string) {
	switch {
	case strings.Contains(text, "\x00"):
		f.add(field, "must not contain NUL")
	case !utf8.ValidString(text):
		f.add(field, "must be valid UTF-8")
	}
}

// checkWord is the rule for names, ids and the like, which must say something.
func checkWord(f *faults, field, word string) {
	checkFilled(f, field, word)
	checkText(f, field, word)
}

func checkFilled(f *faults, field, word string) {
	switch {
	case word == "":
		f.add(field, "must not be empty")
	case strings.TrimSpace(word) == "":
		f.add(field, "must not be blank, is %q", word)
	}
}

var tagPattern = regexp.MustCompile(`^[A-Za-z0-9._-]*[A-Za-z0-9]$`)

// addTags returns tags with those of more that it lacks. A new slice: the one at hand may be shared.
func addTags(f *faults, field string, tags, more []string) []string {
	tags = slices.Clone(tags)
	for _, tag := range more {
		if slices.Contains(tags, tag) {
			continue
		}
		checkTag(f, indexed(field, len(tags)), tag)
		tags = append(tags, tag)
	}
	return tags
}

func checkTag(f *faults, field, tag string) {
	switch {
	case !tagPattern.MatchString(tag):
		f.add(field, "must be of letters, digits, dots, underscores and dashes, and end in a letter or digit, is %q", tag)
	case len(tag) > maxTagLength:
		f.add(field, "must have at most %d characters, %q has %d", maxTagLength, tag, len(tag))
	}
}

// checkIDs is the rule for lists of ids.
func checkIDs(f *faults, field string, ids []string) {
	for i, id := range ids {
		checkWord(f, indexed(field, i), id)
		if slices.Contains(ids[:i], id) {
			f.add(indexed(field, i), "must not repeat %q", id)
		}
	}
}

func checkRunners(f *faults, field string, ids []string) {
	if len(ids) > maxRunners {
		f.add(field, "must be at most %d, are %d", maxRunners, len(ids))
		return
	}
	if length := len(strings.Join(ids, "")); length > maxRunnersLength {
		f.add(field, "must have at most %d bytes in all, have %d", maxRunnersLength, length)
	}
	checkIDs(f, field, ids)
}

// checkEnvName is the rule for the names of environment variables.
func checkEnvName(f *faults, field, name string) {
	switch {
	case name == "":
		f.add(field, "the name must not be empty")
	case strings.ContainsAny(name, "=\x00"):
		f.add(field, "the name must not contain = or NUL, is %q", name)
	case !utf8.ValidString(name):
		f.add(field, "the name must be valid UTF-8, is %q", name)
	}
}

// keyed is the field of one entry of a map.
func keyed(field, key string) string { return fmt.Sprintf("%s[%q]", field, key) }

// checkDir is the rule for working directories.
func checkDir(f *faults, field, dir string) {
	if !path.IsAbs(dir) {
		f.add(field, "must be an absolute path, is %q", dir)
	}
	checkText(f, field, dir)
}

// checkMountedFile is the rule for the paths of files that are given to a create.
func checkMountedFile(f *faults, field, p string) {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		f.add(field, "must be an absolute, canonical path of a file, is %q", p)
	}
	checkText(f, field, p)
}

// checkSeconds is the rule for durations that travel in whole seconds.
func checkSeconds(f *faults, field string, d time.Duration) {
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
