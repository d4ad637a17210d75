package process

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// killSession kills every process of a session. Its number must be taken: by its leader, even a dead one, until that
// was waited for.
func killSession(sid int) {
	killed := make(map[int]bool)
	for {
		members := 0
		for _, pid := range sessionMembers(sid) {
			if !killed[pid] {
				_ = unix.Kill(pid, unix.SIGKILL) // fails only when it has just ended
				killed[pid] = true
				members++
			}
		}
		// What a member started just before its end shows in the next round.
		if members == 0 {
			return
		}
	}
}

// sessionMembers returns the processes of a session that have not ended.
func sessionMembers(sid int) []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1) // what was read before an error counts
	var members []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if session, err := unix.Getsid(pid); err == nil && session == sid && !hasEnded(pid) {
			members = append(members, pid)
		}
	}
	return members
}

// hasEnded reports whether a process is gone or waits only to be waited for.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	// The command's name stands in parentheses and may contain anything; the state comes after it.
	rest := bytes.TrimSpace(stat[bytes.LastIndexByte(stat, ')')+1:])
	return len(rest) == 0 || rest[0] == 'Z' || rest[0] == 'X'
}
