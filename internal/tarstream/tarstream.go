// Package tarstream moves directory trees as tar streams, between a file system and a tool that is not trusted.
package tarstream

import (
	"io/fs"
	"path"
)

// Options are what both directions have in common.
type Options struct {
	// Keep, if not nil, says what is moved. What it refuses is left out with everything below it.
	Keep func(path string, d fs.DirEntry) bool
	// Progress, if not nil, is called with the number of bytes of content that were moved so far.
	Progress func(bytes int64)
}

func (o Options) keeps(name string, d fs.DirEntry) bool { return o.Keep == nil || o.Keep(name, d) }

// permissions are those that a file has on the other side. Directories stay writable for their owner, so that they can be
// filled and removed there.
func permissions(mode fs.FileMode) fs.FileMode {
	if mode.IsDir() {
		return mode.Perm() | 0o700
	}
	return mode.Perm()
}

// parents calls visit with every directory above name, from the top, until it returns false.
func parents(name string, visit func(dir string) bool) {
	for i, c := range name {
		if c == '/' && !visit(name[:i]) {
			return
		}
	}
}

// counter counts content and reports it.
type counter struct {
	n        int64
	progress func(int64)
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	if c.progress != nil {
		c.progress(c.n)
	}
	return len(p), nil
}

// depth is the number of directories between the root and what a name means.
func depth(name string) int {
	n := 0
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		n++
	}
	return n
}
