package container

import "fmt"

// A Volume is a directory beside the root file systems of a sandbox's containers.
type Volume struct {
	Name string
	// HostDir is a directory of this machine, by a path without links, which every sandbox that has it shares. Empty: a
	// scratch volume, which is born empty with its sandbox and removed with it.
	HostDir string
	// ReadOnly lets no container write to it, whatever its mount says.
	ReadOnly bool
	// MemoryBytes, when not zero, makes a scratch volume that lies in memory and holds no more than that.
	MemoryBytes int64
	// Restore fills a scratch volume. It is nil for an empty one, and else comes from the same runtime.
	Restore Archive
}

// A Mount shows a volume in a container.
type Mount struct {
	Volume   string // by name
	Path     string // absolute and canonical; made when missing
	SubPath  string // of a directory in the volume, relative and canonical; made when missing. Empty: all of it
	ReadOnly bool
}

// An Archive is a copy of a volume that nobody changes. It outlives the sandbox that it was taken from, and ends with
// the runtime.
type Archive interface {
	// Size is how many bytes its files have.
	Size() int64
	// Remove deletes the copy. What is being restored from it at that time may fail.
	Remove() error
}

// SizeError says that a volume holds more than an archive may.
type SizeError struct{ Limit int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the volume holds more than %d bytes", e.Limit)
}
