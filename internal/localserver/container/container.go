// Package container is the seam between the local server, which knows the API and the state machine, and the
// runtimes, which know how to run something: real processes (package process) or Go functions (package scripted).
package container

import (
	"context"
	"fmt"
	"io"
	"net"
)

// A Runtime makes the sandboxes of one server. All methods of this package's interfaces are safe for concurrent use.
type Runtime interface {
	// Isolation names what separates the sandboxes from the host and from each other: "isolated", "rootless",
	// "plain" or "scripted".
	Isolation() string
	// Warnings are sentences that the person who starts the server should read, one per missing capability.
	Warnings() []string
	// NewSandbox prepares a place for containers. The context bounds the preparation only.
	NewSandbox(ctx context.Context, spec SandboxSpec) (Sandbox, error)
	// Close ends every sandbox and releases everything. Nothing of the runtime is left afterwards.
	Close() error
}

// SandboxSpec is what the containers of one sandbox share.
type SandboxSpec struct {
	ID string // also the host name
	// DenyEgress gives the sandbox a network of its own that has only a loopback interface.
	DenyEgress bool
	// Volumes are the directories that containers can mount. All of them exist, and are filled, before the first
	// container starts, and they outlive its restarts.
	Volumes []Volume
}

// A Sandbox holds containers.
type Sandbox interface {
	// Start builds a container and starts its main process. A main process that cannot be run is a *StartError.
	// The context bounds the start only.
	Start(ctx context.Context, spec Spec) (Container, error)
	// Dial connects to a TCP port of the network that the containers share, on its loopback interface.
	Dial(ctx context.Context, port int) (net.Conn, error)
	// Archive keeps a copy of what a scratch volume holds, while its containers may go on writing. One of more than
	// limit bytes is a *SizeError; zero is no limit. The copy stops when the context ends. It must have returned before
	// Close is called.
	Archive(ctx context.Context, volume string, limit int64) (Archive, error)
	// Close kills whatever is left in the sandbox and removes its data.
	Close() error
}

// Spec describes a container. The runtime does not change it.
type Spec struct {
	Name       string
	Image      string
	Command    string   // empty: the image's own command
	Args       []string // arguments of Command
	Env        map[string]string
	WorkingDir string // absolute; empty: "/"; created when missing
	Files      []File
	Mounts     []Mount
	Hosts      []string // more names of 127.0.0.1, where the container has a file system of its own
	Security   Security
}

// File is a file that is mounted read-only at start.
type File struct {
	Path    string
	Content []byte
}

// A Container is a root file system and the processes in it.
type Container interface {
	// Main is the main process. When it ends, the runtime kills everything else in the container.
	Main() Process
	// Exec starts another process. A command that is missing or cannot be executed is a *StartError. The context
	// bounds the start only.
	Exec(ctx context.Context, spec ProcessSpec) (Process, error)
	// ReadFile returns the content of a file, or a *FileError. A file of more than limit bytes is refused with
	// FileTooLarge before anything is read.
	ReadFile(ctx context.Context, path string, limit int64) ([]byte, error)
	// WriteFile creates or overwrites a file in place, or fails with a *FileError. Unless strictParents is set,
	// missing parent directories are made.
	WriteFile(ctx context.Context, path string, content []byte, strictParents bool) error
	// Close kills the container's processes and removes its writable layer.
	Close() error
}

// ProcessSpec describes a process in a container.
type ProcessSpec struct {
	Argv  []string          // Argv[0] without a slash is looked up in PATH, as Env and the container define it
	Env   map[string]string // laid over the container's environment
	Stdin bool              // false: standard input is /dev/null
	TTY   *Size             // not nil: standard streams are a pseudo terminal, and Stdin is implied
}

// Size is the size of a terminal in characters.
type Size struct{ Cols, Rows uint16 }

// A Process is a running command with its standard streams. Reading and waiting are independent: the runtime does
// not wait for readers.
type Process interface {
	// Stdin is nil when the process was started without one. Closing it is the end of input; on a terminal that
	// means the end-of-file character when the terminal is in canonical mode. Writing to a process that has closed
	// its input or ended is not an error: the bytes are discarded.
	Stdin() io.WriteCloser
	// Stdout ends with io.EOF when every process that holds the stream has ended. With a terminal it carries
	// everything. One Read returns as soon as there is something.
	Stdout() io.Reader
	// Stderr is nil with a terminal.
	Stderr() io.Reader
	// Resize sets the size of the terminal. Without one it does nothing.
	Resize(s Size)
	// Signal sends a signal, by number, to the process and its group. After the end it does nothing.
	Signal(sig int)
	// Kill ends the process and every process that it started, and closes the streams.
	Kill()
	// Done is closed when the process has ended and what it left behind was killed.
	Done() <-chan struct{}
	// ExitCode is valid after Done: the exit status, or 128 plus the signal that ended the process.
	ExitCode() int
}

// StartError says that a command could not be run.
type StartError struct {
	Code int    // 127: not found; 126: found, but not executable
	Text string // one line, as a shell would print it
}

func (e *StartError) Error() string { return e.Text }

// FileErrorKind is the cause of a FileError.
type FileErrorKind int

// The causes of a FileError.
const (
	FileIO FileErrorKind = iota
	FileNotFound
	FileIsDirectory
	FilePermission
	FileTooLarge
)

// FileError is the refusal of a file operation.
type FileError struct {
	Kind FileErrorKind
	Size int64 // of a file that is too large; negative when unknown
	Text string
}

func (e *FileError) Error() string { return fmt.Sprintf("file operation failed: %s", e.Text) }
