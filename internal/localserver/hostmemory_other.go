//go:build !linux && !darwin && !windows

package localserver

// hostMemory returns zero: on this system the memory of the machine is not known.
func hostMemory() int64 { return 0 }
