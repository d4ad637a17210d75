//go:build linux || darwin

package process

import (
	"errors"
	"io"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// exitCodeKilled is that of a process whose container ended.
const exitCodeKilled = 128 + int(unix.SIGKILL)

var errStopping = errors.New("the container has ended")

// A process implements [container.Process]. How it is reached is a matter of the level.
type process struct {
	streams *streams
	control processControl

	once sync.Once
	done chan struct{}
	code int
}

// processControl acts on a running process. After its end it does nothing.
type processControl interface {
	signal(sig int)
	kill()
}

func newProcess(s *streams, c processControl) *process {
	return &process{streams: s, control: c, done: make(chan struct{})}
}

// ended records the end of the process. Only the first call counts.
func (p *process) ended(code int) {
	p.once.Do(func() {
		p.code = code
		p.streams.processEnded()
		close(p.done)
	})
}

func (p *process) Stdin() io.WriteCloser {
	switch {
	case p.streams.terminal != nil:
		return terminalInput{p.streams.terminal}
	case p.streams.stdin != nil:
		return p.streams.stdin
	default:
		return nil
	}
}

func (p *process) Stdout() io.Reader {
	if p.streams.terminal != nil {
		return p.streams.terminal
	}
	return p.streams.stdout
}

func (p *process) Stderr() io.Reader {
	if p.streams.terminal != nil {
		return nil
	}
	return p.streams.stderr
}

func (p *process) Resize(s container.Size) {
	if p.streams.terminal != nil {
		p.streams.terminal.resize(s)
	}
}

func (p *process) Signal(sig int) { p.control.signal(sig) }

func (p *process) Kill() {
	p.control.kill()
	p.streams.interrupt()
}

func (p *process) Done() <-chan struct{} { return p.done }

func (p *process) ExitCode() int { return p.code }

// exitCode turns a wait status into the code that shells report.
func exitCode(status unix.WaitStatus) int {
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
