package localserver

import "golang.org/x/sys/unix"

// hostMemory returns the bytes of memory of this machine, or zero when they cannot be found out.
func hostMemory() int64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return int64(info.Totalram) * int64(info.Unit)
}
