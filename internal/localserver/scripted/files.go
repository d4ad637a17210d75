package scripted

import (
	"bytes"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// Files is the file system of a container. Relative paths begin at its working directory. The errors of its methods
// are of type *container.FileError. It is safe for concurrent use.
type Files struct {
	workDir string
	root    *tree
	mounts  []treeMount // inner ones first
	sealed  bool        // nothing can be written but to mounts
}

// A treeMount shows a part of a volume at a path.
type treeMount struct {
	path     string
	volume   *tree
	sub      string // absolute in the volume
	readOnly bool
}

// A tree is a file system. Its paths are absolute and clean.
type tree struct {
	mu       sync.Mutex
	content  map[string][]byte
	readOnly map[string]bool
	dirs     map[string]bool
}

func newTree() *tree {
	return &tree{content: make(map[string][]byte), readOnly: make(map[string]bool), dirs: map[string]bool{"/": true}}
}

// systemDirs exist in every container.
var systemDirs = []string{"/", "/bin", "/dev", "/etc", "/home", "/opt", "/proc", "/root", "/tmp", "/usr", "/usr/bin", "/var", "/var/tmp"}

func newFiles(workDir string, mounted []container.File, mounts []treeMount) *Files {
	if workDir == "" {
		workDir = "/"
	}
	f := &Files{workDir: path.Clean(workDir), root: newTree(), mounts: slices.Clone(mounts)}
	slices.SortFunc(f.mounts, func(a, b treeMount) int { return len(b.path) - len(a.path) })
	for _, dir := range systemDirs {
		f.root.dirs[dir] = true
	}
	for _, m := range f.mounts {
		f.makeDirs(m.path)
		m.volume.makeDirs(m.sub)
	}
	f.makeDirs(f.workDir)
	for _, m := range mounted {
		at := f.find(m.Path)
		at.tree.makeDirs(path.Dir(at.name))
		at.tree.content[at.name] = bytes.Clone(m.Content)
		at.tree.readOnly[at.name] = true
	}
	return f
}

// ReadFile returns the content of a file.
func (f *Files) ReadFile(name string) ([]byte, error) {
	content, err := f.read(name, -1)
	return bytes.Clone(content), err
}

// WriteFile creates or overwrites a file, and makes the directories above it.
func (f *Files) WriteFile(name string, content []byte) error { return f.write(name, content, false) }

// Remove removes a file.
func (f *Files) Remove(name string) error {
	at := f.find(name)
	if at.readOnly {
		return refuse(container.FilePermission, "read-only file system")
	}
	return at.tree.remove(at.name)
}

// List returns the paths of all files below a directory, sorted.
func (f *Files) List(dir string) []string {
	dir = f.resolve(dir)
	at := f.find(dir)
	names := at.tree.below(at.name)
	for i, name := range names {
		names[i] = path.Join(dir, strings.TrimPrefix(name, at.name))
	}
	// A volume hides what the directory that it is mounted at holds, and shows what it holds itself.
	for _, m := range f.mounts {
		if m.path != dir && below(m.path, dir) {
			names = slices.DeleteFunc(names, func(name string) bool { return below(name, m.path) })
			for _, name := range m.volume.below(m.sub) {
				names = append(names, path.Join(m.path, strings.TrimPrefix(name, m.sub)))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// read returns a file of at most limit bytes; a negative limit is none. The caller does not change what it gets.
func (f *Files) read(name string, limit int64) ([]byte, error) {
	at := f.find(name)
	return at.tree.read(at.name, limit)
}

func (f *Files) write(name string, content []byte, strictParents bool) error {
	at := f.find(name)
	if at.readOnly {
		return refuse(container.FilePermission, "read-only file system")
	}
	return at.tree.write(at.name, bytes.Clone(content), strictParents)
}

func (f *Files) makeDirs(dir string) {
	at := f.find(dir)
	at.tree.makeDirs(at.name)
}

// A place is where a path of a container really is.
type place struct {
	tree     *tree
	name     string
	readOnly bool
}

func (f *Files) find(name string) place {
	name = f.resolve(name)
	for _, m := range f.mounts {
		if below(name, m.path) {
			return place{m.volume, path.Join(m.sub, strings.TrimPrefix(name, m.path)), m.readOnly}
		}
	}
	return place{tree: f.root, name: name, readOnly: f.sealed}
}

// resolve makes a path absolute.
func (f *Files) resolve(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(f.workDir, name)
}

// below reports whether name is dir or lies in it.
func below(name, dir string) bool {
	return name == dir || strings.HasPrefix(name, strings.TrimSuffix(dir, "/")+"/")
}

func (t *tree) remove(name string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.content[name]; !ok {
		return refuse(container.FileNotFound, "no such file")
	}
	if t.readOnly[name] {
		return refuse(container.FilePermission, "permission denied")
	}
	delete(t.content, name)
	return nil
}

// below returns the paths of the files below a directory.
func (t *tree) below(dir string) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Collect(maps.Keys(t.content))
	return slices.DeleteFunc(names, func(name string) bool { return name == dir || !below(name, dir) })
}

func (t *tree) read(name string, limit int64) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	content, ok := t.content[name]
	switch {
	case t.dirs[name]:
		return nil, refuse(container.FileIsDirectory, "is a directory")
	case !ok && t.belowFile(name):
		return nil, refuse(container.FileIO, "not a directory")
	case !ok:
		return nil, refuse(container.FileNotFound, "no such file")
	case limit >= 0 && int64(len(content)) > limit:
		return nil, &container.FileError{Kind: container.FileTooLarge, Size: int64(len(content)), Text: "file too large"}
	}
	return content, nil
}

func (t *tree) write(name string, content []byte, strictParents bool) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.dirs[name]:
		return refuse(container.FileIsDirectory, "is a directory")
	case t.readOnly[name]:
		return refuse(container.FilePermission, "permission denied")
	case t.belowFile(name):
		return refuse(container.FileIO, "not a directory")
	case strictParents && !t.dirs[path.Dir(name)]:
		return refuse(container.FileNotFound, "no such directory")
	}
	t.addDirs(path.Dir(name))
	t.content[name] = content
	return nil
}

// belowFile reports whether a file stands where a directory above the path would be.
func (t *tree) belowFile(name string) bool {
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, ok := t.content[dir]; ok {
			return true
		}
	}
	return false
}

func (t *tree) makeDirs(dir string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addDirs(dir)
}

func (t *tree) addDirs(dir string) {
	for ; !t.dirs[dir]; dir = path.Dir(dir) {
		t.dirs[dir] = true
	}
}

func refuse(kind container.FileErrorKind, text string) error {
	return &container.FileError{Kind: kind, Text: text}
}
