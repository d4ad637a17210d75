// Package relay is the part of a forwarded connection that lies in the sandbox: scripts that connect to a server there and
// copy between it and their standard streams.
package relay

import (
	_ "embed"
	"strings"
)

// The exit codes of the scripts, apart from those of shells and tools.
const (
	ExitNoTools   = 64 // there is nothing that could connect
	ExitNoConnect = 69 // standard error says why
	ExitBroken    = 70 // the connection was; standard error says why
)

// How a relay speaks, as the second word of its first line.
const (
	Framed  = "framed"  // in frames, both ways
	Raw     = "raw"     // as it is; the end of its input ends the connection
	Pending = "pending" // raw, and not yet connected
)

// The lengths of frames that have a meaning of their own.
const (
	EndOfSide = 0
	EndOfAll  = 0xffffffff
)

// Tools are what an image needs one of.
const Tools = "perl, python3, bash with cat, socat, ncat, nc (but for that of OpenBSD)"

var (
	//go:embed relay.sh
	scriptSource string
	//go:embed relay.pl
	perlSource string
	//go:embed relay.py
	pythonSource string
	//go:embed pump.sh
	pumpSource string

	script, perl, python, pump = withoutComments(scriptSource), withoutComments(perlSource), withoutComments(pythonSource), withoutComments(pumpSource)
)

// withoutComments drops the lines that are for readers of the file.
func withoutComments(source string) string {
	var b strings.Builder
	for line := range strings.Lines(source) {
		if trimmed := strings.TrimSpace(line); trimmed != "" && !strings.HasPrefix(trimmed, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// Command is what connects to a server. The preferred relay is tried first; empty: there is no such.
func Command(host, port, preferred string) []string {
	return []string{"/bin/sh", "-c", script, "cwsandbox-relay", host, port, preferred, perl, python, pump}
}

// signs are what relays tell on standard error once they are connected: socat, the original nc.
var signs = []string{" starting data transfer loop ", " open\n"}

// Connected reports whether standard error says so.
func Connected(stderr string) bool {
	for _, sign := range signs {
		if strings.Contains(stderr, sign) {
			return true
		}
	}
	return false
}
