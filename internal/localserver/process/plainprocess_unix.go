//go:build linux || darwin

package process

import (
	"os"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// run starts a process in the container.
func (c *plainContainer) run(spec container.ProcessSpec) (*process, error) {
	env := mergeEnv(c.env, spec.Env)
	file, err := lookPath(spec.Argv[0], c.workingDir, env["PATH"])
	if err != nil {
		return nil, err
	}
	s, child, err := plainStreams(spec)
	if err != nil {
		return nil, err
	}
	defer closeAll(child)
	if _, set := env["TERM"]; !set && spec.TTY != nil {
		env["TERM"] = defaultTerm
	}
	attr := &syscall.ProcAttr{
		Dir: c.workingDir,
		Env: environ(env),
		Sys: ownSession(spec.TTY != nil),
	}
	for _, f := range child {
		attr.Files = append(attr.Files, f.Fd())
	}
	control := new(plainControl)
	p := newProcess(s, control)
	if err := c.fork(p, control, file, spec.Argv, attr); err != nil {
		s.close()
		return nil, err
	}
	return p, nil
}

func (c *plainContainer) fork(p *process, control *plainControl, file string, argv []string, attr *syscall.ProcAttr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errStopping
	}
	err := c.thread.do(func() (err error) {
		control.pid, err = syscall.ForkExec(file, argv, attr)
		return err
	})
	if err != nil {
		return startError(argv[0], err)
	}
	c.running[p] = struct{}{}
	c.wait.Go(func() {
		code := control.wait()
		c.mu.Lock()
		delete(c.running, p)
		c.mu.Unlock()
		p.ended(code)
	})
	return nil
}

// plainStreams makes the streams of a process; the child's ends are in the order of its descriptors.
func plainStreams(spec container.ProcessSpec) (s *streams, child []*os.File, err error) {
	if spec.TTY != nil {
		master, slave, err := pty.Open()
		if err != nil {
			return nil, nil, err
		}
		t := &terminal{f: master}
		t.resize(sizeOrDefault(*spec.TTY))
		return &streams{terminal: t}, []*os.File{slave, slave, slave}, nil
	}
	s, child, err = newPipes(spec.Stdin)
	if err != nil || spec.Stdin {
		return s, child, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		closeAll(child)
		s.close()
		return nil, nil, err
	}
	return s, append([]*os.File{null}, child...), nil
}

// plainControl reaches a child of this process.
type plainControl struct {
	pid int

	mu     sync.Mutex
	waited bool // the number may belong to another process
}

func (p *plainControl) signal(sig int) {
	p.do(func() { _ = unix.Kill(-p.pid, unix.Signal(sig)) }) // fails only when the group has just ended
}

func (p *plainControl) kill() {
	p.do(func() { killRemains(p.pid) })
}

func (p *plainControl) do(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.waited {
		f()
	}
}

// wait waits for the child, kills what it has left behind and returns its exit code.
func (p *plainControl) wait() int {
	awaitEnd(p.pid)
	p.mu.Lock()
	defer p.mu.Unlock()
	killRemains(p.pid)
	p.waited = true
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.pid, &status, 0, nil)
		if err == nil {
			return exitCode(status)
		}
		if err != unix.EINTR {
			return exitCodeKilled // somebody else has waited for our child, so that its code is lost
		}
	}
}
