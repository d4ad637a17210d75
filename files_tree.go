package cwsandbox

import (
	"context"
	"io/fs"
	"path"
	"slices"
	"strings"
)

var (
	statFile = fileScript{"stat", "stat", `exec stat -L -c '` + statFormat + `' -- "$1"` + "\n"}
	statLink = fileScript{"stat", "stat", `exec stat -c '` + statFormat + `' -- "$1"` + "\n"}
	readLink = fileScript{"readlink", "readlink stat", `[ -L "$1" ] || { stat -- "$1" >/dev/null && echo 'not a link' >&2; exit 1; }
exec readlink -n -- "$1"
`}

	// The list of arguments is limited, so stat looks at some files at a time. One that has gone meanwhile is left out.
	list = fileScript{"list", "stat", `[ -d "$1" ] || { stat -L -- "$1" >/dev/null || exit 1; exit 68; }
[ -r "$1" ] && [ -x "$1" ] || exit 66
CDPATH= cd -- "$1" || exit 1
show() {
	stat -c '` + statFormat + `%n/' -- "$@"
}
some() {
	s=$(show "$@" 2>/dev/null) && { printf '%s\n' "$s"; return; }
	for f; do
		s=$(show "$f") && printf '%s\n' "$s" && continue
		[ ! -e "$f" ] && [ ! -L "$f" ] || exit 1
	done
}
set --
for f in ./.* ./*; do
	case $f in ./.|./..) continue ;; esac
	[ -e "$f" ] || [ -L "$f" ] || continue
	set -- "$@" "$f"
	[ $# -lt 200 ] || { some "$@"; set --; }
done
[ $# -eq 0 ] || some "$@"
`}

	makeAll = fileScript{"mkdir", "mkdir", `exec mkdir -p ${2:+-m "$2"} -- "$1"` + "\n"}

	remove = fileScript{"remove", "rm rmdir", `if [ -d "$1" ] && [ ! -L "$1" ]; then
	exec rmdir -- "$1"
fi
exec rm -- "$1"
`}
	removeAll = fileScript{"remove", "rm", `exec rm -rf -- "$1"` + "\n"}
)

// Stat describes a file in the sandbox, as [os.Stat] does: of a link it describes where it leads. Times have whole
// seconds. Like the other methods for directories it runs a small command, which needs the image's /bin/sh and, here, stat;
// without them the error lists what is missing and matches [errors.ErrUnsupported].
//
// The errors are those of [Sandbox.ReadFile]. Without a deadline on ctx the client's request timeout applies.
func (sb *Sandbox) Stat(ctx context.Context, path string, opts ...FileOption) (fs.FileInfo, error) {
	c := call{op: "stat", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, 0)
	if err != nil {
		return nil, err
	}
	info, err := sb.s.stat(ctx, c, statFile, cfg)
	if err != nil {
		return nil, err
	}
	return info, nil
}

func (s *shared) stat(ctx context.Context, c call, script fileScript, file *fileConfig) (fileInfo, error) {
	out, err := s.runScript(ctx, c, script, file, file.shellPath())
	if err != nil {
		return fileInfo{}, err
	}
	info, err := parseInfo(path.Base(file.path), strings.Split(string(out), "/"))
	if err != nil {
		return fileInfo{}, c.refuse("the image's stat is not understood: "+err.Error(), ErrFile, err)
	}
	return info, nil
}

// ReadDir lists a directory in the sandbox, sorted by name, as [os.ReadDir] does: links are not followed. Each entry has
// its FileInfo with it. A directory whose listing is larger than 16 MiB is [ErrTruncated].
//
// See [Sandbox.Stat] for what it needs and for its errors.
func (sb *Sandbox) ReadDir(ctx context.Context, path string, opts ...FileOption) ([]fs.DirEntry, error) {
	c := call{op: "read directory", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, 0)
	if err != nil {
		return nil, err
	}
	out, err := sb.s.runScript(ctx, c, list, cfg, cfg.shellPath())
	if err != nil {
		return nil, err
	}
	entries, err := parseListing(string(out))
	if err != nil {
		return nil, c.refuse("the image's stat is not understood: "+err.Error(), ErrFile, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// MkdirAll makes a directory in the sandbox, and those above it, as [os.MkdirAll] does. One that is there already is left
// as it is. [WithPerm] sets the permissions of the last one; the others have what the umask allows. A file in the way is an
// error, which matches fs.ErrExist where it is the last one.
//
// It needs mkdir; see [Sandbox.Stat].
func (sb *Sandbox) MkdirAll(ctx context.Context, path string, opts ...FileOption) error {
	c := call{op: "mkdir", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, usePerm|useParents)
	if err != nil {
		return err
	}
	_, err = sb.s.runScript(ctx, c, makeAll, cfg, cfg.shellPath(), cfg.octalPerm())
	return err
}

// Remove removes a file, a link or an empty directory in the sandbox, as [os.Remove] does. It needs rm and rmdir; see
// [Sandbox.Stat].
func (sb *Sandbox) Remove(ctx context.Context, path string, opts ...FileOption) error {
	c := call{op: "remove", sandbox: sb.s.id, path: path}
	cfg, err := newFileConfig(c, opts, 0)
	if err != nil {
		return err
	}
	_, err = sb.s.runScript(ctx, c, remove, cfg, cfg.shellPath())
	return err
}

// RemoveAll removes whatever a path names in the sandbox, and everything in it, as [os.RemoveAll] does. A path that does
// not exist is no error. The root directory, and paths that end in "." or "..", are refused. It needs rm; see
// [Sandbox.Stat].
func (sb *Sandbox) RemoveAll(ctx context.Context, name string, opts ...FileOption) error {
	c := call{op: "remove all", sandbox: sb.s.id, path: name}
	cfg, _ := newFileConfig(c, opts, 0) // reported below, with what is wrong here
	if last := path.Base(name); name != "" && (last == "/" || last == "." || last == ".." || path.Clean(name) == "/") {
		cfg.faults.add("path", "must name what can be removed, is %q", name)
	}
	if err := cfg.faults.err(c); err != nil {
		return err
	}
	_, err := sb.s.runScript(ctx, c, removeAll, cfg, cfg.shellPath())
	return err
}
