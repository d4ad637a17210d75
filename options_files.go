package cwsandbox

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
)

// FileOption is an option of the methods of [Sandbox] for files and directories. One that makes no sense for a method is
// refused by it.
type FileOption interface{ applyFile(*fileConfig) }

// fileConfig is the configuration of a file operation.
type fileConfig struct {
	faults    faults
	given     fileUse
	path      string
	container string
	parents   bool
	inPlace   bool
	perm      fs.FileMode // when given
	length    int64       // when given
	progress  func(bytes int64)
	filter    func(path string, d fs.DirEntry) bool
	timeout   time.Duration // of a command that moves content; zero: none
}

// fileUse is a set of options that not every method has a use for.
type fileUse uint

const (
	useParents fileUse = 1 << iota
	usePerm
	useInPlace
	useLength
	useProgress
	useFilter
)

var fileUseNames = []string{"parents", "permissions", "in place", "length", "progress", "filter"} // by bit

// has reports whether all of the options are in the set.
func (u fileUse) has(options fileUse) bool { return u&options == options }

// newFileConfig applies the options of a method that has a use for those in allowed.
func newFileConfig(c call, opts []FileOption, allowed fileUse) (*fileConfig, error) {
	cfg := &fileConfig{path: c.path}
	switch {
	case c.path == "":
		cfg.faults.add("path", "must not be empty")
	case strings.Contains(c.path, "\x00"):
		cfg.faults.add("path", "must not contain NUL")
	}
	applyAll(&cfg.faults, opts, func(o FileOption) { o.applyFile(cfg) })
	for bit, name := range fileUseNames {
		if use := fileUse(1) << bit; cfg.given.has(use) && !allowed.has(use) {
			cfg.faults.add(name, "is no option of this method")
		}
	}
	return cfg, cfg.faults.err(c)
}

// shellPath is the path as a word that no tool takes for an option or for standard input.
func (c *fileConfig) shellPath() string {
	if path.IsAbs(c.path) {
		return c.path
	}
	return "./" + c.path
}

// octalPerm are the permissions in the notation of chmod; empty: none were given.
func (c *fileConfig) octalPerm() string {
	if !c.given.has(usePerm) {
		return ""
	}
	return fmt.Sprintf("%o", c.perm)
}

// report tells how far a transfer has come.
func (c *fileConfig) report(bytes int64) {
	if c.progress != nil {
		c.progress(bytes)
	}
}

func (o containerOption) applyFile(c *fileConfig) {
	checkText(&c.faults, "container", string(o))
	c.container = string(o)
}

type fileOption struct {
	use   fileUse
	apply func(*fileConfig)
}

func (o fileOption) applyFile(c *fileConfig) {
	c.given |= o.use
	o.apply(c)
}

// WithParents makes the directory of a file that is written, and those above it, by the image's mkdir.
func WithParents() FileOption {
	return fileOption{useParents, func(c *fileConfig) { c.parents = true }}
}

// WithPerm sets the permissions of a file that is written, or of a directory that [Sandbox.MkdirAll] makes, whatever the
// umask. The file never has wider ones in between. Only permission bits are allowed. By default a file that is replaced
// keeps its permissions, and a new one has what the service or the container's umask gives it.
func WithPerm(perm fs.FileMode) FileOption {
	return fileOption{usePerm, func(c *fileConfig) {
		if perm&^fs.ModePerm != 0 {
			c.faults.add("permissions", "must be permission bits only, are %v", perm)
		}
		c.perm = perm
	}}
}

// WithInPlace writes into the file itself instead of replacing it by a complete one: readers may see a part, and what
// was there is lost when the transfer fails. It is for files that cannot be replaced, such as mount points, and for those
// whose hard links are to stay.
func WithInPlace() FileOption {
	return fileOption{useInPlace, func(c *fileConfig) { c.inPlace = true }}
}

// WithLength says how many bytes [Sandbox.Upload] is to take from its reader, as in [io.CopyN]: exactly n, or it fails
// with [io.ErrUnexpectedEOF]. The transfer is one command instead of two then. It is not needed for the readers of bytes
// and strings and for regular files, whose length is known.
func WithLength(n int64) FileOption {
	return fileOption{useLength, func(c *fileConfig) {
		if n < 0 {
			c.faults.add("length", "must not be negative, is %d", n)
		}
		c.length = n
	}}
}

// WithProgress has fn called during a transfer with the bytes of content that were moved so far. The calls follow one
// another and hold the transfer up, so fn should be quick. A transfer in one piece calls once, at its end.
func WithProgress(fn func(bytes int64)) FileOption {
	return fileOption{useProgress, func(c *fileConfig) { c.progress = fn }}
}

// WithFilter leaves out of a directory transfer what keep returns false for, and everything below it. The path is
// relative to the directory, with slashes. The root itself is not asked for.
func WithFilter(keep func(path string, d fs.DirEntry) bool) FileOption {
	return fileOption{useFilter, func(c *fileConfig) { c.filter = keep }}
}
