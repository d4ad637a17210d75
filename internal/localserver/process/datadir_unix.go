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
)

const (
	serverPrefix = "server-"
	lockSuffix   = ".lock"
)

// A dataDir is a runtime's own directory below the common one. A lock on a file beside it shows that its runtime
// lives; the kernel gives the lock up when the process ends, however it ends.
type dataDir struct {
	base string // the common directory, without links
	path string
	lock *os.File
}

// openDataDir makes a directory for one runtime below base and removes those whose runtimes are gone. What it could
// not remove comes back as stale.
func openDataDir(base string) (d *dataDir, stale []error, err error) {
	if base == "" {
		if base, err = defaultDataDir(); err != nil {
			return nil, nil, err
		}
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	if base, err = filepath.Abs(base); err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	if base, err = filepath.EvalSymlinks(base); err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}

	// Held while directories come and go, so that nobody takes a directory that is not locked yet for a stale one.
	guard, err := lockFile(filepath.Join(base, "lock"), unix.LOCK_EX)
	if err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	defer guard.Close()

	stale = sweep(base)
	path, err := os.MkdirTemp(base, serverPrefix)
	if err != nil {
		return nil, nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := lockFile(path+lockSuffix, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("data directory: %w", err), os.Remove(path))
	}
	return &dataDir{base: base, path: path, lock: lock}, stale, nil
}

// close removes the runtime's directory. The lock goes last: nobody else sweeps what is being removed.
func (d *dataDir) close() error {
	err := removeTree(d.path)
	return errors.Join(err, os.Remove(d.lock.Name()), d.lock.Close())
}

// sweep removes the directories and locks of runtimes that are gone.
func sweep(base string) []error {
	entries, err := os.ReadDir(base)
	if err != nil {
		return []error{err}
	}
	var errs []error
	for _, entry := range entries {
		name, isLock := strings.CutSuffix(entry.Name(), lockSuffix)
		if entry.IsDir() == isLock || !strings.HasPrefix(name, serverPrefix) {
			continue
		}
		if err := removeStale(filepath.Join(base, name)); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

func removeStale(dir string) error {
	lock, err := lockFile(dir+lockSuffix, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) || errors.Is(err, fs.ErrPermission) {
		return nil // its runtime lives, or belongs to another user
	}
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("remove what an earlier server left: %w", err)
	}
	if err := os.Remove(lock.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) { // its runtime may just have closed
		return err
	}
	return nil
}

func lockFile(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		switch err := unix.Flock(int(f.Fd()), how); err {
		case nil:
			return f, nil
		case unix.EINTR:
		default:
			f.Close()
			return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
		}
	}
}

// defaultDataDir is below the user's state directory, or for a user who has none a directory of the user's own below
// the temporary one.
func defaultDataDir() (string, error) {
	if state := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(state) {
		return filepath.Join(state, "cwsandbox", "local"), nil
	}
	if home, err := os.UserHomeDir(); err == nil && unix.Access(home, unix.W_OK) == nil {
		return filepath.Join(home, ".local", "state", "cwsandbox", "local"), nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("cwsandbox-%d", os.Getuid()))
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("data directory: %w", err)
	}
	var stat unix.Stat_t
	if err := unix.Lstat(dir, &stat); err != nil {
		return "", fmt.Errorf("data directory: %w", err)
	}
	if int(stat.Uid) != os.Getuid() || stat.Mode&unix.S_IFMT != unix.S_IFDIR || stat.Mode&0o077 != 0 {
		return "", fmt.Errorf("data directory: %s is not a private directory of this user", dir)
	}
	return dir, nil
}
