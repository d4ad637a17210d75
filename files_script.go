package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"
)

// What the service has no call for is done by small scripts in the container. They need /bin/sh and a few tools, of
// busybox or of GNU, and get paths as parameters, so that nothing needs quoting.

// The exit codes of the scripts, apart from those of shells and tools.
const (
	exitNoTools      = 64 // standard error lists them
	exitIsDirectory  = 65
	exitPermission   = 66
	exitShort        = 67
	exitNotDirectory = 68
)

// diagnosticLimit is how much of a script's standard error is kept.
const diagnosticLimit = 16 << 10

// fileScript is a script for /bin/sh.
type fileScript struct {
	name  string // $0, for messages and for those who look at the processes
	tools string // those that it cannot do without, with blanks in between
	text  string
}

// checkTools ends a script with the list of the tools that the image lacks.
const checkTools = `m=; for c in %s; do command -v "$c" >/dev/null 2>&1 || m="$m $c"; done
[ -z "$m" ] || { echo "$m" >&2; exit 64; }
`

// decodeWords turns the parameters back into what encodeWord was given. The dot keeps line breaks at the end.
const decodeWords = `for a; do a=$(printf '%b.' "$a"); set -- "$@" "${a%.}"; shift; done
`

// argv is the command that runs the script. Words on the wire are UTF-8, which paths need not be.
func (s fileScript) argv(words ...string) []string {
	text := fmt.Sprintf(checkTools, s.tools) + s.text
	if !validWords(words) {
		text = decodeWords + text
		for i, word := range words {
			words[i] = encodeWord(word)
		}
	}
	return append([]string{"/bin/sh", "-c", text, "cwsandbox-" + s.name}, words...)
}

func validWords(words []string) bool {
	for _, word := range words {
		if !utf8.ValidString(word) {
			return false
		}
	}
	return true
}

// encodeWord writes every byte as an octal escape of printf's %b.
func encodeWord(word string) string {
	var b strings.Builder
	for _, c := range []byte(word) {
		fmt.Fprintf(&b, `\0%03o`, c)
	}
	return b.String()
}

// command is the configuration of a command that runs the script. The tools speak the C locale, whose messages are known.
func (s fileScript) command(file *fileConfig, words ...string) *execConfig {
	return &execConfig{
		argv:        s.argv(words...),
		env:         map[string]string{"LC_ALL": "C"},
		container:   file.container,
		timeout:     file.timeout,
		outputLimit: defaultOutputLimit,
	}
}

// runScript runs a script that moves little, within the request timeout unless ctx has a deadline, and returns what it printed.
func (s *shared) runScript(ctx context.Context, c call, script fileScript, file *fileConfig, words ...string) ([]byte, error) {
	cfg := script.command(file, words...)
	cfg.timeout = s.patience(ctx)
	res, err := s.exec(ctx, c, cfg, nil)
	if err == nil {
		err = c.scriptError(res)
	}
	switch {
	case err != nil:
		return nil, err
	case res.Truncated():
		return nil, cutError(c, cfg.outputLimit)
	}
	return res.Stdout, nil
}

// patience is the limit of a command that stands for a request; zero when ctx has a deadline.
func (s *shared) patience(ctx context.Context) time.Duration {
	if _, ok := ctx.Deadline(); ok {
		return 0
	}
	return s.client.config.requestTimeout
}

// scriptError is what a script's exit says; nil for success.
func (c call) scriptError(res *Result) error {
	exit := res.Err()
	switch res.ExitCode {
	case 0:
		return nil
	case exitNoTools:
		lacking := strings.Join(strings.Fields(string(res.Stderr)), ", ")
		return c.refuse("the image lacks "+lacking, ErrFile, errors.ErrUnsupported, exit)
	case 126, 127:
		return c.refuse("the image has no /bin/sh that runs", ErrFile, errors.ErrUnsupported, exit)
	case exitIsDirectory:
		return c.refuse("is a directory", ErrIsDirectory, exit)
	case exitPermission:
		return c.refuse("permission denied", ErrFilePermission, exit)
	case exitShort:
		return c.refuse("less has arrived than was sent", ErrFile, ErrTruncated, exit)
	case exitNotDirectory:
		return c.refuse("not a directory", ErrFile, exit)
	}
	text, sentinels := diagnose(string(res.Stderr))
	if text == "" {
		text = fmt.Sprintf("%s exited with %d", path.Base(res.Argv[0]), res.ExitCode)
	}
	return c.refuse(text, append(sentinels, exit)...)
}

// diagnoses are the ends of the lines in which tools report an error of the system.
var diagnoses = []struct {
	suffix    string
	sentinels []error
}{
	{": No such file or directory", []error{ErrFileNotFound}},
	{": Permission denied", []error{ErrFilePermission}},
	{": Operation not permitted", []error{ErrFilePermission}},
	{": Read-only file system", []error{ErrFilePermission}},
	{": Is a directory", []error{ErrIsDirectory}},
	{": File exists", []error{ErrFile, fs.ErrExist}},
}

// diagnose finds the line that tells most in what the tools have printed, and what it means.
func diagnose(stderr string) (text string, sentinels []error) {
	lines := strings.Split(strings.TrimSpace(stderr), "\n")
	for _, line := range lines {
		for _, d := range diagnoses {
			if strings.HasSuffix(line, d.suffix) {
				return line, append([]error(nil), d.sentinels...)
			}
		}
	}
	return lines[0], []error{ErrFile}
}
