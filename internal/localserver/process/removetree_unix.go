//go:build linux || darwin

package process

import (
	"io/fs"
	"os"
	"path/filepath"
)

// removeTree removes dir and what is below it, also where a sandbox has left directories that their owner may not
// enter.
func removeTree(dir string) error {
	if os.RemoveAll(dir) == nil {
		return nil
	}
	// A directory is visited before it is read, so that one walk opens up nested ones too. What cannot be opened up
	// shows as an error of the removal.
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, _ error) error {
		if entry != nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
