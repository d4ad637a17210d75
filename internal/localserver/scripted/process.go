package scripted

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// A Handler does what a command does, and returns its exit code. It must return soon after its context ends, which
// means that the process was killed; what it does or returns from then on is not seen.
type Handler func(ctx context.Context, p *Proc) int

// A Command is a function and how it takes signals.
type Command struct {
	Run Handler
	// CatchSignals delivers signals to [Proc.Signals]. Without it a signal does what it does to a program that has no
	// handler: most end the process with 128 plus their number. SIGKILL cannot be caught.
	CatchSignals bool
}

// Reply returns a command that prints and exits.
func Reply(stdout, stderr string, exit int) Command {
	return Command{Run: func(_ context.Context, p *Proc) int {
		_, _ = io.WriteString(p.Stdout, stdout)
		_, _ = io.WriteString(p.Stderr, stderr)
		return exit
	}}
}

// A Proc is a process as its handler sees it.
type Proc struct {
	Argv      []string
	Env       map[string]string
	Dir       string
	Sandbox   string // the id
	Container string // the name
	Files     *Files
	Stdin     io.Reader
	// Stdout and Stderr fail once the process has ended. On a terminal they are one.
	Stdout, Stderr io.Writer
	// TTY says that the standard streams are a terminal. It does not echo.
	TTY bool
	// Signals delivers signals, by number, to a command that catches them; nil otherwise.
	Signals <-chan int
	// Resized delivers every new size of the terminal. Sizes that nobody takes are replaced by newer ones.
	Resized <-chan container.Size

	process *process
	network *network
}

// Size is the present size of the terminal, or zero without one.
func (p *Proc) Size() container.Size {
	p.process.mu.Lock()
	defer p.process.mu.Unlock()
	return p.process.size
}

// signalQueue is how many signals wait for a handler before further ones are lost.
const signalQueue = 16

// A process is a running handler.
type process struct {
	runtime *Runtime
	command Command
	proc    *Proc
	tty     bool
	stdin   *pipe // nil: none was asked for
	stdout  *pipe
	stderr  *pipe
	signals chan int
	resized chan container.Size
	ctx     context.Context
	cancel  context.CancelFunc
	atEnd   func() // runs before Done is closed
	done    chan struct{}

	mu    sync.Mutex
	ended bool
	exit  int
	size  container.Size
}

func (b *box) newProcess(spec container.ProcessSpec) (*process, error) {
	command, err := b.sandbox.runtime.resolve(spec.Argv)
	if err != nil {
		return nil, err
	}
	p := &process{
		runtime: b.sandbox.runtime,
		command: command,
		tty:     spec.TTY != nil,
		stdout:  newPipe(),
		signals: make(chan int, signalQueue),
		resized: make(chan container.Size, 1),
		done:    make(chan struct{}),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.stderr = p.stdout
	if !p.tty {
		p.stderr = newPipe()
	} else {
		p.size = *spec.TTY
	}
	if spec.Stdin || p.tty {
		p.stdin = newPipe()
	}
	p.proc = b.newProc(p, spec)
	return p, nil
}

// newProc is the handler's view of a process.
func (b *box) newProc(p *process, spec container.ProcessSpec) *Proc {
	env := maps.Clone(b.env)
	maps.Copy(env, spec.Env)
	if _, ok := env["TERM"]; p.tty && !ok {
		env["TERM"] = "xterm-256color"
	}
	v := &Proc{
		Argv:      slices.Clone(spec.Argv),
		Env:       env,
		Dir:       b.files.workDir,
		Sandbox:   b.sandbox.spec.ID,
		Container: b.spec.Name,
		Files:     b.files,
		Stdin:     strings.NewReader(""),
		Stdout:    p.stdout,
		Stderr:    p.stderr,
		TTY:       p.tty,
		Resized:   p.resized,
		process:   p,
		network:   &b.sandbox.network,
	}
	if p.stdin != nil {
		v.Stdin = p.stdin
	}
	if p.command.CatchSignals {
		v.Signals = p.signals
	}
	return v
}

func (p *process) start() {
	p.runtime.handlers.Go(func() { p.end(p.command.Run(p.ctx, p.proc)) })
}

// end makes the process one that has ended. Only the first end counts.
func (p *process) end(exit int) {
	p.mu.Lock()
	if p.ended {
		p.mu.Unlock()
		return
	}
	p.ended, p.exit = true, exit
	p.mu.Unlock()
	p.cancel()
	if p.stdin != nil {
		p.stdin.discard()
	}
	_ = p.stdout.Close()
	_ = p.stderr.Close()
	p.atEnd()
	close(p.done)
}

// Stdin is nil when the process was started without one.
func (p *process) Stdin() io.WriteCloser {
	if p.stdin == nil {
		return nil
	}
	return p.stdin
}

// Stdout carries the output, of a terminal all of it.
func (p *process) Stdout() io.Reader { return p.stdout }

// Stderr is nil with a terminal.
func (p *process) Stderr() io.Reader {
	if p.tty {
		return nil
	}
	return p.stderr
}

// Resize sets the size of the terminal.
func (p *process) Resize(s container.Size) {
	if !p.tty {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size = s
	select {
	case <-p.resized: // nobody has taken the one before
	default:
	}
	p.resized <- s
}

// The signals with a meaning of their own here.
const (
	sigKill  = 9
	sigChild = 17
	sigCont  = 18
	sigUrg   = 23
	sigWinch = 28
)

// Signal delivers a signal, or does what it does by default.
func (p *process) Signal(sig int) {
	switch {
	case sig == sigKill:
		p.Kill()
	case p.command.CatchSignals:
		select {
		case p.signals <- sig:
		default:
		}
	case sig == sigChild || sig == sigCont || sig == sigUrg || sig == sigWinch:
	default:
		p.end(128 + sig)
	}
}

// Kill ends the process at once, whatever its handler is doing.
func (p *process) Kill() { p.end(128 + sigKill) }

// Done is closed when the process has ended.
func (p *process) Done() <-chan struct{} { return p.done }

// ExitCode is valid after Done.
func (p *process) ExitCode() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exit
}
