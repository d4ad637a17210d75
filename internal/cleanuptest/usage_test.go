//go:build linux

package cleanuptest

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clockTick is the unit of processor time in /proc, the same on all machines that Go runs on.
const clockTick = 10 * time.Millisecond

// processorTime returns what a process has used so far.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // the name may hold anything
	fields := strings.Fields(rest)                // from the third on
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			tb.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick
}

// ownProcessorTime returns what this process has used so far.
func ownProcessorTime(tb testing.TB) time.Duration {
	tb.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// watchPeak follows the peak memory of a process until the returned function is called, which returns it in bytes. The
// usage that comes with the exit status would not do: Linux lets it begin with the peak of the process that has started
// this one, and that holds the server.
func watchPeak(pid int) (peak func() int64) {
	stop, result := make(chan struct{}), make(chan int64)
	go func() {
		var last int64
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			last = max(last, peakMemory(pid))
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				result <- last
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		return <-result
	}
}

// peakMemory returns the most memory that a process has had so far, or zero when it has ended.
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	if !found {
		return 0
	}
	kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return kib << 10
}
