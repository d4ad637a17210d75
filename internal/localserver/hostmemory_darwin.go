package localserver

import "golang.org/x/sys/unix"

// hostMemory returns the bytes of memory of this machine, or zero when they cannot be found out.
func hostMemory() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}
