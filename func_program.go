package cwsandbox

import (
	"context"
	"crypto/rand"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
)

// programs are the executables that were uploaded to a sandbox.
type programs struct {
	mu sync.Mutex
	of map[programKey]*program
}

// programKey is what makes an upload another one.
type programKey struct{ executable, dir, container string }

// program is an executable in a sandbox.
type program struct {
	turn chan struct{} // holds something while one uploads
	mu   sync.Mutex
	path string // empty: it is not there
}

func (p *programs) get(key programKey) *program {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.of == nil {
		p.of = make(map[programKey]*program)
	}
	if p.of[key] == nil {
		p.of[key] = &program{turn: make(chan struct{}, 1)}
	}
	return p.of[key]
}

func (p *program) known() (where uploaded, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return uploaded{p, p.path}, p.path != ""
}

// uploaded is where a program was when a call began.
type uploaded struct {
	program *program
	path    string
}

// forget has the next call upload the program again.
func (u uploaded) forget() {
	u.program.mu.Lock()
	defer u.program.mu.Unlock()
	if u.program.path == u.path {
		u.program.path = ""
	}
}

// provide uploads the program, unless it is there. Callers that come meanwhile wait; when the upload fails, the next of
// them tries it for itself.
func (s *shared) provide(ctx context.Context, c call, cfg *funcConfig) (uploaded, error) {
	p := s.programs.get(programKey{cfg.executable, cfg.tempDir, cfg.container})
	if where, ok := p.known(); ok {
		return where, nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return uploaded{}, c.wrap(ctxError(ctx))
	}
	if where, ok := p.known(); ok {
		return where, nil
	}
	remote := path.Join(cfg.tempDir, "cwsandbox-func-"+rand.Text())
	if err := s.uploadProgram(ctx, c, cfg, remote); err != nil {
		return uploaded{}, err
	}
	s.client.config.logger.LogAttrs(ctx, slog.LevelDebug, "the executable was uploaded",
		slog.String("sandbox", s.id), slog.String("path", remote))
	p.mu.Lock()
	p.path = remote
	p.mu.Unlock()
	return uploaded{p, remote}, nil
}

func (s *shared) uploadProgram(ctx context.Context, c call, cfg *funcConfig, remote string) error {
	e, err := cfg.open(c)
	if err != nil {
		return err
	}
	defer e.Close()
	file := &fileConfig{path: remote, container: cfg.container, parents: true, perm: 0o700, given: useParents | usePerm}
	found, err := s.runScript(ctx, c, platformScript, file, e.interpreter)
	if err != nil {
		return err
	}
	if err := e.fits(string(found)); err != nil {
		return c.refuse(err.Error(), err, errors.ErrUnsupported)
	}
	c.path = remote
	_, err = s.upload(ctx, c, file, e.File)
	return err
}

// platformScript prints what the sandbox is, as far as it knows, and whether the interpreter of an executable, if it needs
// one, is there.
var platformScript = fileScript{"platform", "", `uname -s 2>/dev/null || echo
uname -m 2>/dev/null || echo
[ -z "$1" ] || [ -e "$1" ] || echo "$1"
`}

// executable is a program that can be uploaded.
type executable struct {
	*os.File
	os, arch    string
	interpreter string // the loader of a dynamically linked one
}

// open opens the executable of the configuration.
func (c *funcConfig) open(op call) (*executable, error) {
	if c.executable == "" {
		e, err := openOwn()
		if err != nil {
			return nil, op.refuse(err.Error(), err)
		}
		return e, nil
	}
	e, err := openExecutable(c.executable)
	if err != nil {
		return nil, op.refuse("the executable of WithExecutable: "+err.Error(), err, ErrInvalidArgument)
	}
	return e, nil
}

// openOwn opens the executable that runs, even if its file was replaced or removed meanwhile.
func openOwn() (*executable, error) {
	functions.mu.Lock()
	served := functions.served
	functions.mu.Unlock()
	if !served {
		return nil, errNotServed
	}
	if runtime.GOOS == "linux" {
		if e, err := openExecutable("/proc/self/exe"); err == nil {
			return e, nil
		}
	}
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return openExecutable(name)
}

var errNotServed = implying("this program does not serve functions: the first thing that main does must be "+
	"cwsandbox.ServeFuncs or cwsandbox.Main", ErrPrecondition)

func openExecutable(name string) (*executable, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	e := &executable{File: f}
	if err := e.inspect(); err != nil {
		f.Close()
		return nil, err
	}
	return e, nil
}

// inspect finds out what the file is for. One that is not in the format of Linux must be for the system that this is.
func (e *executable) inspect() error {
	info, err := e.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", e.Name())
	}
	e.os, e.arch = runtime.GOOS, runtime.GOARCH
	header, err := elf.NewFile(e.File)
	var format *elf.FormatError
	switch {
	case errors.As(err, &format), err == io.EOF:
		if e.os == "linux" {
			return fmt.Errorf("%s is no executable for Linux: %w", e.Name(), errors.ErrUnsupported)
		}
		return nil
	case err != nil:
		return err
	}
	e.os, e.arch = "linux", elfArchitecture(header)
	for _, part := range header.Progs {
		if part.Type != elf.PT_INTERP {
			continue
		}
		name, err := io.ReadAll(io.LimitReader(part.Open(), 4096))
		if err != nil {
			return err
		}
		e.interpreter = strings.TrimRight(string(name), "\x00")
	}
	return nil
}

func elfArchitecture(f *elf.File) string {
	little := f.ByteOrder.String() == "LittleEndian"
	switch f.Machine {
	case elf.EM_X86_64:
		return "amd64"
	case elf.EM_AARCH64:
		return "arm64"
	case elf.EM_386:
		return "386"
	case elf.EM_ARM:
		return "arm"
	case elf.EM_RISCV:
		return "riscv64"
	case elf.EM_S390:
		return "s390x"
	case elf.EM_PPC64:
		if little {
			return "ppc64le"
		}
		return "ppc64"
	}
	return strings.ToLower(strings.TrimPrefix(f.Machine.String(), "EM_"))
}

// architectures are Go's names for what uname says.
var architectures = map[string]string{
	"x86_64": "amd64", "aarch64": "arm64", "i386": "386", "i586": "386", "i686": "386",
	"armv6l": "arm", "armv7l": "arm", "armv8l": "arm",
}

// fits compares the executable with what the sandbox has said of itself. What it does not know is not compared.
func (e *executable) fits(found string) error {
	lines := strings.SplitN(found+"\n\n", "\n", 4)
	system, machine, missing := strings.ToLower(lines[0]), lines[1], lines[2]
	if arch := architectures[machine]; arch != "" {
		machine = arch
	}
	if system == "" {
		system = e.os
	}
	if machine == "" {
		machine = e.arch
	}
	switch {
	case system != e.os, machine != e.arch:
		return fmt.Errorf("the executable is for %s/%s and the sandbox is %s/%s: build the program with GOOS=%s GOARCH=%s "+
			"and name it by WithExecutable", e.os, e.arch, system, machine, system, machine)
	case missing != "":
		return fmt.Errorf("the executable is dynamically linked and the sandbox has no %s: build it with CGO_ENABLED=0, "+
			"or choose an image with a C library", missing)
	}
	return nil
}
