// Package lease is the part of a lease that lies in the sandbox: the watchdog around the main process, the files through
// which it is told that somebody cares, and the mark by which a leased sandbox is recognized.
package lease

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	// Shortest is the shortest lease. The watchdog starts a process for each of the ticks that it counts, which a shorter
	// one would spend its time with.
	Shortest = time.Second
	// Longest is the longest lease.
	Longest = 24 * time.Hour

	// least is how many ticks there are in a lease at least. One of them is the error of the end, one the time between
	// SIGTERM and SIGKILL, and one is lost by rounding.
	least = 30

	// longestTick bounds how late bash may be with a signal, well within the grace of a stop: its wait misses one that comes
	// just before.
	longestTick = 2 * time.Second

	// longestGrace is the most that the service gives a sandbox that is being stopped.
	longestGrace = 300 * time.Second

	prefix = ".cwsandbox-lease-"
)

//go:embed watchdog.sh
var source string

var script = withoutComments(source)

// withoutComments drops the lines that are for readers of the file.
func withoutComments(script string) string {
	var kept strings.Builder
	for line := range strings.Lines(script) {
		if text := strings.TrimSpace(line); text != "" && !strings.HasPrefix(text, "#") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// Lease is the lease of one sandbox.
type Lease struct {
	ID     string // letters, digits and dashes; names the files
	Length time.Duration
}

// Wrap returns the command that runs another one under the watchdog. It needs /bin/sh, sleep, and a directory for
// temporary files in the sandbox.
func (l Lease) Wrap(name string, args []string) (string, []string) {
	tick, ticks := l.tick()
	patience := (longestGrace + tick - 1) / tick
	wrapped := []string{
		"-c", script, "cwsandbox-lease",
		prefix + l.ID, seconds(tick), strconv.Itoa(ticks), strconv.Itoa(int(patience)), name,
	}
	return "/bin/sh", append(wrapped, args...)
}

// Unwrap returns the command that Wrap has wrapped, or argv itself if it did not come from there.
func Unwrap(argv []string) []string {
	const before = 8 // what Wrap puts before the command
	if len(argv) > before && argv[2] == script {
		return argv[before:]
	}
	return argv
}

// tick divides the lease. Ticks are whole seconds where that is fine enough: not every sleep takes fractions.
func (l Lease) tick() (tick time.Duration, ticks int) {
	tick = min(l.Length/least, longestTick)
	if tick >= time.Second {
		tick = tick.Truncate(time.Second)
	}
	return tick, int((l.Length + tick - 1) / tick)
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// Beats returns where a heartbeat can be written. The watchdog looks at all of these files, and any change in one is a
// heartbeat: where the root is read-only the first place may be too.
func (l Lease) Beats() []string {
	return []string{"/tmp/" + prefix + l.ID, "/dev/shm/" + prefix + l.ID}
}

// Offs returns the files of which any disarms the watchdog for good. They are not those of the heartbeats, so that one
// which is late cannot undo it.
func (l Lease) Offs() []string {
	offs := l.Beats()
	for i := range offs {
		offs[i] += ".off"
	}
	return offs
}

// String returns the lease as [Parse] reads it.
func (l Lease) String() string { return l.Length.String() + " " + l.ID }

var form = regexp.MustCompile(`^([0-9.a-zµ]{1,32}) ([0-9A-Za-z-]{1,64})$`)

// Parse reads what String has written. It accepts only what is good for the name of a file.
func Parse(s string) (Lease, error) {
	parts := form.FindStringSubmatch(s)
	if parts == nil {
		return Lease{}, fmt.Errorf("no lease: %q", s)
	}
	length, err := time.ParseDuration(parts[1])
	switch {
	case err != nil:
		return Lease{}, fmt.Errorf("no lease: %w", err)
	case length < Shortest || length > Longest:
		return Lease{}, fmt.Errorf("no lease: its length is %v", length)
	}
	return Lease{ID: parts[2], Length: length}, nil
}
