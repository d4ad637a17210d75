//go:build linux

package cwsandbox

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// image is a shell and a set of tools, as an image may have them.
type image struct {
	name  string
	shell []string
	path  string
}

// images returns those that this machine can stand in for.
func images(t testing.TB) []image {
	t.Helper()
	var all []image
	add := func(name, path string, shell ...string) {
		program, err := exec.LookPath(shell[0])
		if err != nil {
			t.Logf("not tried: there is no %s here", shell[0])
			return
		}
		all = append(all, image{name, append([]string{program}, shell[1:]...), path})
	}
	add("sh", os.Getenv("PATH"), "/bin/sh")
	add("bash", os.Getenv("PATH"), "bash", "--posix")
	if tools, ok := busybox(t); ok {
		add("busybox", tools, "busybox", "sh")
	}
	return all
}

// busybox returns a directory that has the tools of busybox and nothing else.
func busybox(t testing.TB) (dir string, ok bool) {
	t.Helper()
	program, err := exec.LookPath("busybox")
	if err != nil {
		t.Log("not tried: there is no busybox here")
		return "", false
	}
	dir = t.TempDir()
	applets := strings.Fields(uploadTools + " rmdir tar chown dd")
	for _, applet := range applets {
		require.NoError(t, os.Symlink(program, filepath.Join(dir, applet)))
	}
	return dir, true
}

// run runs a script as a sandbox would.
func (i image) run(t testing.TB, dir string, stdin []byte, script fileScript, words ...string) *Result {
	t.Helper()
	argv := script.argv(countBlocks(script, words)...)
	require.Equal(t, "/bin/sh", argv[0])
	for _, word := range argv {
		require.True(t, utf8.ValidString(word), "%q does not go through the wire", word)
	}
	cmd := exec.Command(i.shell[0], append(i.shell[1:], argv[1:]...)...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + i.path, "LC_ALL=C", "CDPATH=/"}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		require.NoError(t, err)
	}
	return &Result{Argv: argv, ExitCode: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}
}

// countBlocks adds what the script of an upload is told about the number of bytes.
func countBlocks(script fileScript, words []string) []string {
	if n, err := strconv.Atoi(words[min(3, len(words)-1)]); err == nil && script.name == uploadWhole.name {
		words = append(words, strconv.Itoa(n>>16), strconv.Itoa(n&(1<<16-1)))
	}
	return words
}

// succeed runs a script that has to work, and returns what it printed.
func (i image) succeed(t testing.TB, dir string, stdin []byte, script fileScript, words ...string) string {
	t.Helper()
	res := i.run(t, dir, stdin, script, words...)
	require.NoError(t, call{op: script.name}.scriptError(res), "%s", res.Stderr)
	return string(res.Stdout)
}

// awkward are names that a careless script would stumble over.
var awkward = []string{
	"plain", "-", "--", "-n", "-rf", "with blank", " ", "new\nline", "\n", "end\n", "\n\n", "quote'd", `double"d`, "back\\slash",
	`\0101`, "%s%n", "$HOME", "$(touch hurt)", "`touch hurt`", "*", "?", "[a]", "~", "#", "=", "!", "(", "a;b", "\x01\x7f",
	"\xff", "\xff\n", "-\xff\xfe'", "ümlaut", "...", ".hidden",
}

func TestFileScripts(t *testing.T) {
	for _, i := range images(t) {
		t.Run(i.name, func(t *testing.T) {
			t.Parallel()
			t.Run("awkward names", func(t *testing.T) { testAwkwardNames(t, i) })
			t.Run("uploads", func(t *testing.T) { testUploadScripts(t, i) })
			t.Run("refusals", func(t *testing.T) { testScriptRefusals(t, i) })
			t.Run("a long listing", func(t *testing.T) { testLongListing(t, i) })
		})
	}
}

func testAwkwardNames(t *testing.T, i image) {
	dir := t.TempDir()
	for _, name := range awkward {
		roundTrip(t, i, dir, name)
	}
	assert.NoFileExists(t, filepath.Join(dir, "hurt"))
}

// roundTrip does all that there is with one name in a directory that has nothing else, as a relative path and as an
// absolute one.
func roundTrip(t testing.TB, i image, dir, name string) {
	t.Helper()
	data := []byte("of " + name)
	for _, path := range []string{"./" + name, filepath.Join(dir, name)} {
		i.succeed(t, dir, data, uploadWhole, path, "", ".tmp", fmt.Sprint(len(data)), "640")
		written, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		require.Equal(t, data, written)

		require.Equal(t, string(data), i.succeed(t, dir, nil, download, path))
		info, err := parseInfo(name, strings.Split(i.succeed(t, dir, nil, statFile, path), "/"))
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o640), info.Mode())
		require.EqualValues(t, len(data), info.Size())
		entries, err := parseListing(i.succeed(t, dir, nil, list, dir))
		require.NoError(t, err)
		require.Len(t, entries, 1, "%q", entries)
		require.Equal(t, name, entries[0].Name())

		i.succeed(t, dir, nil, remove, path)
		i.succeed(t, dir, nil, makeAll, path+"/below", "")
		require.DirExists(t, filepath.Join(dir, name, "below"))
		i.succeed(t, dir, nil, removeAll, path)
		require.NoDirExists(t, filepath.Join(dir, name))
	}
}

// FuzzPath runs the scripts with any name against the shells and tools of this machine.
func FuzzPath(f *testing.F) {
	for _, name := range awkward {
		f.Add(name)
	}
	all := images(f)
	f.Fuzz(func(t *testing.T, name string) {
		if !isFileName(name) {
			t.Skip("no name of a file")
		}
		for _, i := range all {
			roundTrip(t, i, t.TempDir(), name)
		}
	})
}

// FuzzDirectory runs a command in a directory of any name, with any argument, by the shells of this machine.
func FuzzDirectory(f *testing.F) {
	for _, name := range awkward {
		f.Add(name, name)
	}
	all := images(f)
	f.Fuzz(func(t *testing.T, name, arg string) {
		if !isFileName(name) || strings.Contains(arg, "\x00") {
			t.Skip("cannot be given")
		}
		for _, i := range all {
			dir := filepath.Join(t.TempDir(), name)
			require.NoError(t, os.Mkdir(dir, 0o700))
			argv := []string{"/bin/sh", "-c", `printf '%s' "$1" >mark; exit 3`, "sh", arg}
			command := (&execConfig{argv: argv, dir: dir}).command()
			require.Equal(t, "/bin/sh", command[0])
			cmd := exec.Command(i.shell[0], append(i.shell[1:], command[1:]...)...)
			cmd.Dir = t.TempDir()
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "CDPATH=/"}
			out, _ := cmd.CombinedOutput() // its exit code is looked at
			require.Equal(t, 3, cmd.ProcessState.ExitCode(), "%s", out)
			require.Empty(t, out)
			mark, err := os.ReadFile(filepath.Join(dir, "mark"))
			require.NoError(t, err)
			require.Equal(t, arg, string(mark))
		}
	})
}

func isFileName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 200 && !strings.ContainsAny(name, "/\x00")
}

func testUploadScripts(t *testing.T, i image) {
	const content = "the content"
	size := fmt.Sprint(len(content))
	for _, c := range []struct {
		name    string
		prepare string // a script of its own, in the directory
		words   []string
		stdin   string
		exit    int
		mode    fs.FileMode
		want    string // of the file f
	}{
		{"a new file", "umask 022", []string{"./f", "", ".t", size, ""}, content, 0, 0o644, content},
		{"a new file with permissions", "", []string{"./f", "", ".t", size, "604"}, content, 0, 0o604, content},
		{"permissions stay", "echo old >f; chmod 751 f", []string{"./f", "", ".t", size, ""}, content, 0, 0o751, content},
		{"permissions change", "echo old >f; chmod 751 f", []string{"./f", "", ".t", size, "600"}, content, 0, 0o600, content},
		{"empty", "echo old >f; chmod 644 f", []string{"./f", "", ".t", "0", ""}, "", 0, 0o644, ""},
		{"in place", "echo old longer than that >f; chmod 751 f", []string{"./f", "", "", size, ""}, content, 0, 0o751, content},
		{"in place, empty", "echo old >f; chmod 644 f", []string{"./f", "", "", "0", ""}, "", 0, 0o644, ""},
		{"short", "echo old >f; chmod 644 f", []string{"./f", "", ".t", "12", ""}, content, exitShort, 0o644, "old\n"},
		{"in place, short", "echo old >f; chmod 644 f", []string{"./f", "", "", "12", ""}, content, exitShort, 0o644, content},
		{"no more than counted", "umask 022", []string{"./f", "", ".t", "3", ""}, content, 0, 0o644, "the"},
		{"parents", "mkdir d; ln -s d/e/f f", []string{"./d/e/f", "./d/e", ".t", size, "644"}, content, 0, 0o644, content},
		{"a link is followed", "mkdir d; echo old >d/g; chmod 600 d/g; ln -s d/g f", []string{"./f", "", ".t", size, ""}, content, 0, 0o600, content},
		{"a link to nothing is followed", "mkdir d; ln -s d/g f", []string{"./f", "", ".t", size, "644"}, content, 0, 0o644, content},
		{"a missing parent", "", []string{"./d/f", "", ".t", size, ""}, content, 1, 0, ""},
		{"a parent that is a file", "echo old >d", []string{"./d/f", "", ".t", size, ""}, content, 1, 0, ""},
		{"a directory", "mkdir f; chmod 755 f", []string{"./f", "", ".t", size, ""}, content, exitIsDirectory, fs.ModeDir | 0o755, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			prepare := exec.Command("/bin/sh", "-c", c.prepare)
			prepare.Dir = dir
			require.NoError(t, prepare.Run())
			res := i.run(t, dir, []byte(c.stdin), uploadWhole, c.words...)
			require.Equal(t, c.exit, res.ExitCode, "%s", res.Stderr)
			leftovers, err := filepath.Glob(filepath.Join(dir, "*", ".t"))
			require.NoError(t, err)
			assert.Empty(t, leftovers)
			assert.NoFileExists(t, filepath.Join(dir, ".t"))
			f := filepath.Join(dir, "f")
			info, err := os.Stat(f)
			if c.mode == 0 {
				assert.ErrorIs(t, err, fs.ErrNotExist)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.mode, info.Mode())
			if !info.IsDir() {
				data, err := os.ReadFile(f)
				require.NoError(t, err)
				assert.Equal(t, c.want, string(data))
			}
		})
	}

	t.Run("blocks", func(t *testing.T) {
		for _, n := range []int{1<<16 - 1, 1 << 16, 1<<16 + 1, 5<<16 + 77} {
			dir, data := t.TempDir(), sample(n)
			i.succeed(t, dir, data, uploadWhole, "./f", "", ".t", strconv.Itoa(n), "")
			written, err := os.ReadFile(filepath.Join(dir, "f"))
			require.NoError(t, err)
			require.True(t, bytes.Equal(data, written), "%d of %d bytes", len(written), n)
		}
	})

	t.Run("in two steps", func(t *testing.T) {
		dir := t.TempDir()
		i.succeed(t, dir, []byte(content), uploadStart, "./f", "", ".t", "", "640")
		assert.NoFileExists(t, filepath.Join(dir, "f"))
		i.succeed(t, dir, nil, uploadFinish, "./f", "", ".t", size, "640")
		data, err := os.ReadFile(filepath.Join(dir, "f"))
		require.NoError(t, err)
		assert.Equal(t, content, string(data))

		i.succeed(t, dir, []byte("more"), uploadStart, "./f", "", ".t", "", "")
		res := i.run(t, dir, nil, uploadFinish, "./f", "", ".t", "5", "")
		assert.Equal(t, exitShort, res.ExitCode)
		assert.NoFileExists(t, filepath.Join(dir, ".t"))
		res = i.run(t, dir, nil, uploadFinish, "./f", "", ".t", "5", "")
		assert.Equal(t, exitShort, res.ExitCode, "there is nothing to finish")

		i.succeed(t, dir, []byte("more"), uploadStart, "./f", "", ".t", "", "")
		i.succeed(t, dir, nil, uploadDiscard, "./f", "", ".t", "", "")
		i.succeed(t, dir, nil, uploadDiscard, "./f", "", "", "", "")
		assert.NoFileExists(t, filepath.Join(dir, ".t"))
		data, err = os.ReadFile(filepath.Join(dir, "f"))
		require.NoError(t, err)
		assert.Equal(t, content, string(data), "as it was")
	})

	t.Run("the owner stays", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("only root may give files away")
		}
		dir := t.TempDir()
		f := filepath.Join(dir, "f")
		require.NoError(t, os.WriteFile(f, nil, 0o640))
		require.NoError(t, os.Chown(f, 1234, 4321))
		require.NoError(t, os.Chmod(f, fs.ModeSetuid|0o755))
		i.succeed(t, dir, []byte(content), uploadWhole, "./f", "", ".t", size, "")
		info, err := os.Stat(f)
		require.NoError(t, err)
		assert.EqualValues(t, 1234, info.Sys().(*syscall.Stat_t).Uid)
		assert.EqualValues(t, 4321, info.Sys().(*syscall.Stat_t).Gid)
		assert.Equal(t, fs.ModeSetuid|0o755, info.Mode())
	})

	t.Run("a device is not replaced", func(t *testing.T) {
		i.succeed(t, t.TempDir(), []byte(content), uploadWhole, "/dev/null", "", ".t", size, "")
		info, err := os.Stat("/dev/null")
		require.NoError(t, err)
		assert.Equal(t, fs.ModeCharDevice, info.Mode()&fs.ModeCharDevice)
	})
}

func testScriptRefusals(t *testing.T, i image) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o644))
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "dir", "full"), 0o755))
	require.NoError(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for _, c := range []struct {
		script fileScript
		words  []string
		is     error
	}{
		{download, []string{"./missing"}, ErrFileNotFound},
		{download, []string{"./dir"}, ErrIsDirectory},
		{download, []string{"./file/below"}, ErrFile},
		{download, []string{"./loop"}, ErrFile},
		{statFile, []string{"./missing"}, ErrFileNotFound},
		{statLink, []string{"./missing"}, ErrFileNotFound},
		{readLink, []string{"./missing"}, ErrFileNotFound},
		{readLink, []string{"./file"}, ErrFile},
		{list, []string{"./missing"}, ErrFileNotFound},
		{list, []string{"./file"}, ErrFile},
		{remove, []string{"./missing"}, ErrFileNotFound},
		{remove, []string{"./dir"}, ErrFile},
		{makeAll, []string{"./file", ""}, fs.ErrExist},
		{makeAll, []string{"./file/below", ""}, ErrFile},
		{packTree, []string{"./missing"}, ErrFileNotFound},
		{packTree, []string{"./file"}, ErrFile},
		{unpackTree, []string{"./file", "mark"}, fs.ErrExist},
		{unpackTree, []string{"./new", "mark"}, ErrFile},
		{uploadWhole, []string{"./missing/f", "", ".t", "0", ""}, ErrFileNotFound},
		{uploadWhole, []string{"./loop", "", ".t", "0", ""}, ErrFile},
	} {
		err := call{op: c.script.name}.scriptError(i.run(t, dir, nil, c.script, c.words...))
		assert.ErrorIs(t, err, c.is, "%s %q", c.script.name, c.words)
		assert.ErrorIs(t, err, ErrFile, "%s %q", c.script.name, c.words)
	}
	i.succeed(t, dir, nil, removeAll, "./missing")

	i.path = t.TempDir()
	err := call{op: "download"}.scriptError(i.run(t, dir, nil, download, "./file"))
	if strings.HasPrefix(i.name, "busybox") { // its shell runs its tools without looking for them
		return
	}
	assert.ErrorIs(t, err, ErrFile)
	assert.ErrorContains(t, err, "the image lacks cat, stat")
}

func testLongListing(t *testing.T, i image) {
	const n = 1001 // not a multiple of what is looked at together
	dir := t.TempDir()
	for k := range n {
		require.NoError(t, os.WriteFile(filepath.Join(dir, fmt.Sprintf("file %d\n", k)), nil, 0o600))
	}
	entries, err := parseListing(i.succeed(t, dir, nil, list, dir))
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, e := range entries {
		names[e.Name()] = true
	}
	assert.Len(t, names, n)
	entries, err = parseListing(i.succeed(t, dir, nil, list, t.TempDir()))
	require.NoError(t, err)
	assert.Empty(t, entries)
}
