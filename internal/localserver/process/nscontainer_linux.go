package process

import (
	"context"
	"maps"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// A nsContainer implements [container.Container] with an init.
type nsContainer struct {
	dir            string
	link           *link // to the init
	initGone       chan struct{}
	supervisorGone <-chan struct{}
	closing        func() error

	env        map[string]string
	workingDir string
	main       *process
	locks      *fileLocks

	mu        sync.Mutex
	processes map[uint64]*child
	gone      bool
}

// A child is a process that was asked for. Its end may be known before the answer that it has started.
type child struct {
	process *process
	ended   bool
	code    int
}

func newNSContainer(dir string, control *conn, supervisorGone <-chan struct{}, locks *fileLocks) *nsContainer {
	c := &nsContainer{
		dir:            dir,
		initGone:       make(chan struct{}),
		supervisorGone: supervisorGone,
		locks:          locks,
		processes:      make(map[uint64]*child),
	}
	c.closing = sync.OnceValue(c.closeNow)
	c.link = newLink(control, c.childEnded)
	go c.awaitEnd()
	return c
}

// awaitEnd ends with the connection, and with it every process that has not reported its end.
func (c *nsContainer) awaitEnd() {
	<-c.link.gone
	c.mu.Lock()
	c.gone = true
	left := slices.Collect(maps.Keys(c.processes))
	c.mu.Unlock()
	for _, id := range left {
		c.childEnded(id, exitCodeKilled)
	}
}

// begin makes the root file system and starts the main process.
func (c *nsContainer) begin(ctx context.Context, setup *rootSetup, l *launch) error {
	c.env, c.workingDir = l.env, l.workingDir
	main, err := c.run(ctx, &request{Root: setup, Run: &runCommand{Argv: l.argv, Env: l.env, Dir: l.workingDir}})
	c.main = main
	return err
}

func (c *nsContainer) Main() container.Process { return c.main }

func (c *nsContainer) Exec(ctx context.Context, spec container.ProcessSpec) (container.Process, error) {
	env := mergeEnv(c.env, spec.Env)
	if _, set := env["TERM"]; !set && spec.TTY != nil {
		env["TERM"] = defaultTerm
	}
	p, err := c.run(ctx, &request{Run: &runCommand{
		Argv: spec.Argv, Env: env, Dir: c.workingDir, Stdin: spec.Stdin, TTY: spec.TTY,
	}})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// run starts a process. One that starts after the context has ended is killed.
func (c *nsContainer) run(ctx context.Context, req *request) (*process, error) {
	req.ID = c.link.newID()
	if !c.expect(req.ID) {
		return nil, errStopping
	}
	s, files, err := new(streams), []*os.File(nil), error(nil)
	if req.Run.TTY == nil {
		if s, files, err = newPipes(req.Run.Stdin); err != nil {
			c.forget(req.ID)
			return nil, err
		}
	}
	answer, err := c.link.call(ctx, req, files...)
	closeAll(files)
	if err == nil && req.Run.TTY != nil {
		s.terminal, err = newTerminal(answer)
	}
	if err != nil {
		c.kill(req.ID) // in case it starts nevertheless
		c.forget(req.ID)
		s.close()
		return nil, err
	}
	p := newProcess(s, nsControl{c, req.ID})
	c.adopt(req.ID, p)
	return p, nil
}

func newTerminal(a answer) (*terminal, error) {
	fd, err := a.descriptor()
	if err != nil {
		return nil, err
	}
	_ = unix.SetNonblock(fd, true) // cannot fail for an open descriptor
	return &terminal{f: os.NewFile(uintptr(fd), "terminal")}, nil
}

// expect makes room for the end of a process. It fails when no process can be started anymore.
func (c *nsContainer) expect(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		c.processes[id] = new(child)
	}
	return !c.gone
}

func (c *nsContainer) forget(id uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.processes, id)
}

// adopt connects a process to its end.
func (c *nsContainer) adopt(id uint64, p *process) {
	c.mu.Lock()
	defer c.mu.Unlock()
	child := c.processes[id]
	child.process = p
	if child.ended {
		delete(c.processes, id)
		p.ended(child.code)
	}
}

func (c *nsContainer) childEnded(id uint64, code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	child := c.processes[id]
	switch {
	case child == nil || child.ended:
	case child.process == nil:
		child.ended, child.code = true, code
	default:
		delete(c.processes, id)
		child.process.ended(code)
	}
}

func (c *nsContainer) kill(id uint64) {
	c.link.post(&request{Signal: &signalChild{Target: id, Signal: int(unix.SIGKILL), Session: true}})
}

// nsControl reaches a process through its init.
type nsControl struct {
	c  *nsContainer
	id uint64
}

func (n nsControl) signal(sig int) {
	n.c.link.post(&request{Signal: &signalChild{Target: n.id, Signal: sig}})
}

func (n nsControl) kill() { n.c.kill(n.id) }

func (c *nsContainer) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	fd, err := c.open(ctx, &openFile{Path: path})
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return readFile(fd, path, limit)
}

func (c *nsContainer) WriteFile(ctx context.Context, path string, content []byte, strictParents bool) error {
	fd, err := c.open(ctx, &openFile{Path: path, Write: true, Strict: strictParents})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return c.locks.write(fd, path, content)
}

func (c *nsContainer) open(ctx context.Context, o *openFile) (fd int, err error) {
	answer, err := c.link.call(ctx, &request{ID: c.link.newID(), Open: o})
	if err != nil {
		return 0, err
	}
	return answer.descriptor()
}

func (c *nsContainer) Close() error { return c.closing() }

// closeNow ends the init with its connection, and returns when the kernel has ended the rest.
func (c *nsContainer) closeNow() error {
	c.link.close()
	select {
	case <-c.initGone:
	case <-c.supervisorGone:
	}
	return removeTree(c.dir)
}
