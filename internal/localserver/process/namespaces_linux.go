package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// namespaces is the backend of the levels isolated and rootless.
type namespaces struct {
	rootless bool
	thread   *thread
	locks    *fileLocks
	masks    []string
}

func newNamespaces(r *Runtime, o Options, rootless bool) (backend, error) {
	if !mainCalled.Load() {
		return nil, errNoMain
	}
	masks := o.MaskPaths
	if masks == nil {
		masks = credentialPaths()
	}
	return &namespaces{rootless: rootless, thread: r.thread, locks: &r.locks, masks: append([]string{r.data.base}, masks...)}, nil
}

// credentialPaths are the usual places of credentials below the homes of this machine.
func credentialPaths() []string {
	homes, _ := filepath.Glob("/home/*") // fails only for a bad pattern
	homes = append(homes, "/root")
	if home, err := os.UserHomeDir(); err == nil && filepath.IsAbs(home) {
		homes = append(homes, home)
	}
	var paths []string
	for _, home := range homes {
		for _, name := range []string{".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".netrc", ".config/gcloud",
			".config/gh", ".config/cwsandbox", ".git-credentials"} {
			paths = append(paths, filepath.Join(home, name))
		}
	}
	return paths
}

func (n *namespaces) name() string {
	if n.rootless {
		return Rootless
	}
	return Isolated
}

// A nsPlace is a sandbox with a supervisor.
type nsPlace struct {
	backend    *namespaces
	link       *link // to the supervisor
	supervisor *os.Process
	exited     chan struct{} // the supervisor was waited for
	ownNetwork bool

	mu         sync.Mutex
	containers map[uint64]*nsContainer // by the request that launched the init
}

func (n *namespaces) newPlace(ctx context.Context, spec container.SandboxSpec, volumes []volume) (place, error) {
	c, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	process, err := n.startSupervisor(peer, spec.DenyEgress, len(volumes) > 0)
	peer.Close()
	if err != nil {
		c.close()
		return nil, err
	}
	p := &nsPlace{
		backend: n, supervisor: process, exited: make(chan struct{}), ownNetwork: spec.DenyEgress,
		containers: make(map[uint64]*nsContainer),
	}
	p.link = newLink(c, p.initEnded)
	go p.awaitSupervisor()
	_, err = p.link.call(ctx, &request{
		ID:      p.link.newID(),
		Sandbox: &sandboxSetup{Hostname: spec.ID, Loopback: spec.DenyEgress, Memory: memoryMounts(volumes)},
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up sandbox: %w", err), p.close())
	}
	return p, nil
}

func (n *namespaces) startSupervisor(control *os.File, ownNetwork, ownMounts bool) (process *os.Process, err error) {
	attr := &syscall.SysProcAttr{
		Setsid:     true, // a terminal's interrupt is for the server, which then ends its sandboxes in order
		Pdeathsig:  unix.SIGKILL,
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
	if ownNetwork {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	if ownMounts {
		attr.Cloneflags |= unix.CLONE_NEWNS
	}
	if n.rootless {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	executable, err := helperExecutable()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	err = n.thread.do(func() error {
		process, err = os.StartProcess(executable, []string{roleSupervisor}, &os.ProcAttr{
			Env:   roleEnviron(roleSupervisor),
			Files: []*os.File{null, null, os.Stderr, control},
			Sys:   attr,
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("start supervisor: %w", err)
	}
	return process, nil
}

// awaitSupervisor ends with the supervisor, and the supervisor with its connection.
func (p *nsPlace) awaitSupervisor() {
	_, _ = p.supervisor.Wait() // how it ended makes no difference
	close(p.exited)
}

func (p *nsPlace) start(ctx context.Context, l *launch) (container.Container, error) {
	files, err := storeFiles(l)
	if err != nil {
		return nil, err
	}
	if l.workingDir == "" {
		l.workingDir = "/"
	}
	c, err := p.newContainer(ctx, l.dir)
	if err != nil {
		return nil, err
	}
	setup := &rootSetup{
		Rootless:   p.backend.rootless,
		Dir:        l.dir,
		ImageRoot:  l.imageRoot,
		Hostname:   l.hostname,
		Hosts:      l.hosts,
		WorkingDir: l.workingDir,
		Files:      files,
		Mounts:     l.mounts,
		Masks:      p.backend.masks,
		Security:   l.security,
		LinkName:   l.linkName,
		LinkTarget: l.linkTarget,
	}
	if err := c.begin(ctx, setup, l); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// storeFiles puts the content of mounted files where an init can bind it.
func storeFiles(l *launch) ([]boundFile, error) {
	dir := filepath.Join(l.dir, filesDir)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	files := make([]boundFile, len(l.files))
	for i, f := range l.files {
		source := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(source, f.Content, 0o400); err != nil {
			return nil, err
		}
		if err := os.Chmod(source, 0o444); err != nil { // whoever a container runs as may read it, whatever the umask
			return nil, err
		}
		files[i] = boundFile{Source: source, Target: f.Path}
	}
	return files, nil
}

// newContainer starts an init and connects to it.
func (p *nsPlace) newContainer(ctx context.Context, dir string) (*nsContainer, error) {
	control, peer, err := socketPair()
	if err != nil {
		return nil, err
	}
	defer peer.Close()
	c := newNSContainer(dir, control, p.exited, p.backend.locks)
	id := p.link.newID()
	p.mu.Lock()
	p.containers[id] = c
	p.mu.Unlock()
	if _, err := p.link.call(ctx, &request{ID: id, Launch: true}, peer); err != nil {
		p.initEnded(id, 0)
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (p *nsPlace) initEnded(id uint64, _ int) {
	p.mu.Lock()
	c := p.containers[id]
	delete(p.containers, id)
	p.mu.Unlock()
	if c != nil {
		close(c.initGone)
	}
}

// close ends the supervisor, and with it every process of the sandbox: the kernel reports its end after theirs.
func (p *nsPlace) close() error {
	p.link.close()
	<-p.exited
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.containers {
		c.link.close()
	}
	return nil
}
