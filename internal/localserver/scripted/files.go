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

	mu       sync.Mutex
	content  map[string][]byte
	readOnly map[string]bool
	dirs     map[string]bool
}

// systemDirs exist in every container.
var systemDirs = []string{"/", "/bin", "/dev", "/etc", "/home", "/opt", "/proc", "/root", "/tmp", "/usr", "/usr/bin", "/var", "/var/tmp"}

func newFiles(workDir string, mounted []container.File) *Files {
	if workDir == "" {
		workDir = "/"
	}
	f := &Files{
		workDir:  path.Clean(workDir),
		content:  make(map[string][]byte, len(mounted)),
		readOnly: make(map[string]bool, len(mounted)),
		dirs:     make(map[string]bool),
	}
	for _, dir := range systemDirs {
		f.dirs[dir] = true
	}
	f.makeDirs(f.workDir)
	for _, m := range mounted {
		name := path.Clean(m.Path)
		f.makeDirs(path.Dir(name))
		f.content[name] = bytes.Clone(m.Content)
		f.readOnly[name] = true
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
	f.mu.Lock()
	defer f.mu.Unlock()
	name = f.resolve(name)
	if _, ok := f.content[name]; !ok {
		return refuse(container.FileNotFound, "no such file")
	}
	if f.readOnly[name] {
		return refuse(container.FilePermission, "permission denied")
	}
	delete(f.content, name)
	return nil
}

// List returns the paths of all files below a directory, sorted.
func (f *Files) List(dir string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	prefix := strings.TrimSuffix(f.resolve(dir), "/") + "/"
	names := slices.Collect(maps.Keys(f.content))
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, prefix) })
	slices.Sort(names)
	return names
}

// read returns a file of at most limit bytes; a negative limit is none. The caller does not change what it gets.
func (f *Files) read(name string, limit int64) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name = f.resolve(name)
	content, ok := f.content[name]
	switch {
	case f.dirs[name]:
		return nil, refuse(container.FileIsDirectory, "is a directory")
	case !ok && f.belowFile(name):
		return nil, refuse(container.FileIO, "not a directory")
	case !ok:
		return nil, refuse(container.FileNotFound, "no such file")
	case limit >= 0 && int64(len(content)) > limit:
		return nil, &container.FileError{Kind: container.FileTooLarge, Size: int64(len(content)), Text: "file too large"}
	}
	return content, nil
}

func (f *Files) write(name string, content []byte, strictParents bool) error {
	content = bytes.Clone(content)
	f.mu.Lock()
	defer f.mu.Unlock()
	name = f.resolve(name)
	switch {
	case f.dirs[name]:
		return refuse(container.FileIsDirectory, "is a directory")
	case f.readOnly[name]:
		return refuse(container.FilePermission, "permission denied")
	case f.belowFile(name):
		return refuse(container.FileIO, "not a directory")
	case strictParents && !f.dirs[path.Dir(name)]:
		return refuse(container.FileNotFound, "no such directory")
	}
	f.makeDirs(path.Dir(name))
	f.content[name] = content
	return nil
}

// resolve makes a path absolute.
func (f *Files) resolve(name string) string {
	if path.IsAbs(name) {
		return path.Clean(name)
	}
	return path.Join(f.workDir, name)
}

// belowFile reports whether a file stands where a directory above the path would be.
func (f *Files) belowFile(name string) bool {
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, ok := f.content[dir]; ok {
			return true
		}
	}
	return false
}

func (f *Files) makeDirs(dir string) {
	for ; !f.dirs[dir]; dir = path.Dir(dir) {
		f.dirs[dir] = true
	}
}

func refuse(kind container.FileErrorKind, text string) error {
	return &container.FileError{Kind: kind, Text: text}
}
