//go:build linux || darwin

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// The exit codes with which shells say that a command could not be run.
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// lookPath finds the file that runs name: name itself when it has a slash, seen from dir, or else the first
// executable of that name in the directories of path.
func lookPath(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			name = dir + "/" + name
		}
		if err := executable(name); err != nil {
			return "", startError(name, err)
		}
		return name, nil
	}
	var denied error
	if name == "" {
		path = ""
	}
	for _, in := range filepath.SplitList(path) {
		if !filepath.IsAbs(in) {
			in = filepath.Join(dir, in)
		}
		file := filepath.Join(in, name)
		err := executable(file)
		if err == nil {
			return file, nil
		}
		if denied == nil && exists(file) { // a directory that cannot be searched holds nothing
			denied = startError(file, err)
		}
	}
	if denied != nil {
		return "", denied
	}
	return "", &container.StartError{Code: codeNotFound, Text: name + ": command not found"}
}

func executable(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return unix.EISDIR
	}
	return unix.Access(file, unix.X_OK)
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

func missing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR)
}

// startError translates the reason why the system did not run file.
func startError(file string, err error) *container.StartError {
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	code := codeNotExecutable
	if missing(err) {
		code = codeNotFound
	}
	return &container.StartError{Code: code, Text: fmt.Sprintf("%s: %v", file, err)}
}
