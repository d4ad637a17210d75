package cwsandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ticksPerSecond is the unit of times in /proc on every platform of Go.
const ticksPerSecond = 100

// addSystem adds what only the system knows. What cannot be read stays zero, and the mark then proves no death.
func (o *Owner) addSystem() {
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	o.Boot = string(bytes.TrimSpace(boot))
	o.PIDNamespace = pidNamespace()
	stat, err := readStat("self")
	if err != nil {
		return
	}
	o.ticks = stat.started
	var now unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) == nil {
		age := time.Duration(now.Nano()) - time.Duration(stat.started)*time.Second/ticksPerSecond
		o.Started = time.Now().Add(-age).UTC().Truncate(time.Second / ticksPerSecond)
	}
}

// pidNamespace identifies the pid namespace of this process. The time namespace belongs to it, where the kernel has them:
// processes in different ones see different start times of the same process.
func pidNamespace() string {
	pids, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return ""
	}
	clocks, err := os.Readlink("/proc/self/ns/time")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return strings.TrimSpace(pids + " " + clocks)
}

// processEnded reports whether it is certain that the process of this pid namespace that had a pid and began then has
// ended. A zombie has: only its parent has not asked yet.
//
// That /proc shows nothing proves nothing: it may hide the processes of others, or belong to another namespace.
func processEnded(pid int, started uint64) bool {
	if unix.Kill(pid, 0) == unix.ESRCH {
		return true
	}
	stat, err := readStat(strconv.Itoa(pid))
	return err == nil && ownProc() && (stat.started != started || stat.zombie())
}

// ownProc reports whether /proc counts processes as this process's pid namespace does. The kernel lists the pid of a
// process in the namespace of /proc first, then in every one below that.
func ownProc() bool {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if pids, found := strings.CutPrefix(line, "NSpid:"); found {
			return strings.TrimSpace(pids) == strconv.Itoa(os.Getpid())
		}
	}
	return false
}

// processStat is part of what /proc says of a process.
type processStat struct {
	state   string
	threads int
	started uint64 // in ticks since the boot
}

// zombie reports whether the process has ended. Where other threads go on, only its first one has.
func (s processStat) zombie() bool { return (s.state == "Z" || s.state == "X") && s.threads <= 1 }

func readStat(pid string) (processStat, error) {
	line, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return processStat{}, err
	}
	return parseStat(string(line))
}

// parseStat reads a line of /proc/[pid]/stat. The second field is the name of the program in parentheses, which may hold
// anything, so counting begins behind the last one.
func parseStat(line string) (s processStat, err error) {
	const state, threads, started = 3, 20, 22 // as the manual counts
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) <= started-state {
		return s, fmt.Errorf("%d fields behind the name, too few", len(fields))
	}
	s.state = fields[0]
	if s.threads, err = strconv.Atoi(fields[threads-state]); err != nil {
		return s, err
	}
	s.started, err = strconv.ParseUint(fields[started-state], 10, 64)
	return s, err
}
