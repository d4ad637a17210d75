//go:build linux || darwin

package relay

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// image makes a directory with programs, each a script.
func image(t *testing.T, scripts map[string]string) (path string) {
	t.Helper()
	dir := t.TempDir()
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	return dir
}

// installed is a script that runs a program of this machine.
func installed(t *testing.T, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("this machine has no %s", name)
	}
	return fmt.Sprintf(`PATH=%s exec %s "$@"`, os.Getenv("PATH"), program)
}

// run runs the script up to its end, with no input, and returns its first line and its exit code.
func run(t *testing.T, path, preferred string) (line string, code int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	host, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	argv := Command(host, port, preferred)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + path, "LC_ALL=C"}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, _ = bufio.NewReader(out).ReadString('\n')
	_ = cmd.Wait() // its exit code is looked at
	return line, cmd.ProcessState.ExitCode()
}

func TestChoice(t *testing.T) {
	const lacksModules = `[ "$1" = -e ] && echo "lacks modules" && exit 0; exit 2` // what it is probed with fails
	const openbsd = `[ "$1" = -h ] && printf '\t-v\t\tVerbose\n' >&2 && exit 1; echo "cannot be used"`
	bash, cat, perl := installed(t, "bash"), installed(t, "cat"), installed(t, "perl")
	for _, row := range []struct {
		name      string
		tools     map[string]string
		preferred string
		line      string
		code      int
	}{
		{"the best", map[string]string{"perl": perl, "bash": bash, "cat": cat}, "", "perl framed\n", 0},
		{"what worked before", map[string]string{"perl": perl, "bash": bash, "cat": cat}, "bash", "bash raw\n", 0},
		{"what worked before is gone", map[string]string{"perl": perl}, "socat", "perl framed\n", 0},
		{"without modules", map[string]string{"perl": lacksModules, "bash": bash, "cat": cat}, "", "bash raw\n", 0},
		{"what cannot tell the end", map[string]string{"nc": openbsd, "cat": cat}, "", "", ExitNoTools},
		{"without cat", map[string]string{"bash": bash}, "", "", ExitNoTools},
		{"nothing", nil, "", "", ExitNoTools},
		{"nothing, although it worked before", nil, "perl", "", ExitNoTools},
	} {
		t.Run(row.name, func(t *testing.T) {
			line, code := run(t, image(t, row.tools), row.preferred)
			assert.Equal(t, row.line, line)
			assert.Equal(t, row.code, code)
		})
	}
}

func TestConnected(t *testing.T) {
	for _, text := range []string{
		"localhost [127.0.0.1] 8080 (?) open\n",
		"2026/11/26 13:02:12 socat[1] N starting data transfer loop with FDs [0,1] and [5,5]\n",
	} {
		assert.True(t, Connected("before\n"+text+"after"), text)
	}
	for _, text := range []string{
		"", "localhost [127.0.0.1] 8080 (?) open", "(UNKNOWN) [127.0.0.1] 1 (tcpmux) : Connection refused\n",
		"2026/11/26 13:02:12 socat[1] N opening connection to AF=2 127.0.0.1:1\n",
	} {
		assert.False(t, Connected(text), text)
	}
}

func TestScriptsAreSentWithoutComments(t *testing.T) {
	for _, s := range []string{script, perl, python, pump} {
		assert.NotEmpty(t, s)
		for line := range strings.Lines(s) {
			assert.NotEmpty(t, strings.TrimSpace(line))
			assert.False(t, strings.HasPrefix(strings.TrimSpace(line), "#"), line)
		}
	}
}
