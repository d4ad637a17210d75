package localserver

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	defaultOutput = 16 << 20
	// maxOutput keeps an answer with both streams below the largest message.
	maxOutput = 49 << 20
	// frameBytes is the largest piece of output in one read and one frame.
	frameBytes = 32 << 10
)

var frames = sync.Pool{New: func() any { return new([frameBytes]byte) }}

// Exec runs a command and returns what it printed.
func (s *sandboxService) Exec(ctx context.Context, req *sandboxv1.ExecRequest) (*sandboxv1.ExecResponse, error) {
	var c checker
	c.exec(req.GetSandboxId(), req.GetCommand(), req.GetEnv())
	c.require(req.GetMaxOutputBytes() >= 0, "max_output_bytes", "must not be negative")
	if err := c.err(); err != nil {
		return nil, err
	}
	ctx, cancel := s.bind(ctx)
	defer cancel(nil)
	ctx, stop := withLimit(ctx, s.opt.Clock, s.opt.MaxExec, errExecTimeout)
	defer stop()
	_, run, err := s.target(ctx, req.GetSandboxId(), req.GetContainer())
	if err != nil {
		return nil, err
	}
	limit := min(orDefault(int(req.GetMaxOutputBytes()), defaultOutput), maxOutput)
	resp, err := s.execute(ctx, run, container.ProcessSpec{Argv: req.GetCommand(), Env: req.GetEnv()}, limit)
	switch {
	case context.Cause(ctx) == errExecTimeout:
		return nil, commandTimeout(req.GetSandboxId())
	case ctx.Err() != nil:
		return nil, endOf(ctx)
	case err != nil:
		return nil, s.runFault(ctx, req.GetSandboxId(), req.GetContainer(), run, err)
	}
	return resp, nil
}

// exec checks what both ways to run a command have in common.
func (c *checker) exec(id string, argv []string, env map[string]string) {
	c.require(id != "", "sandbox_id", "must not be empty")
	c.require(len(argv) > 0 && argv[0] != "", "command", "must name a program")
	for _, arg := range argv {
		c.require(!hasNUL(arg), "command", "must not contain NUL")
	}
	for _, name := range slices.Sorted(maps.Keys(env)) {
		c.require(validVariable(name), "env", "names must not be empty or contain '=' or NUL")
		c.require(!hasNUL(env[name]), "env", "values must not contain NUL")
	}
}

// errExecTimeout ends a command that takes longer than the server allows.
var errExecTimeout = errors.New("the command took too long")

func commandTimeout(id string) error {
	return refusal{
		code:     codes.DeadlineExceeded,
		reason:   reasonCommandTimeout,
		text:     "the command took longer than the server allows",
		metadata: map[string]string{"sandbox_id": id},
	}.err()
}

// execute runs a command to its end, and kills it when the context ends before. A command that cannot be run is a
// result, as it is in a shell; the error is of a runtime that could not even try.
func (s *Server) execute(ctx context.Context, run container.Container, spec container.ProcessSpec, limit int) (*sandboxv1.ExecResponse, error) {
	p, err := run.Exec(ctx, spec)
	if missing := (*container.StartError)(nil); errors.As(err, &missing) {
		text := missing.Text + "\n"
		return &sandboxv1.ExecResponse{
			Stderr: []byte(text), ExitCode: int32(missing.Code), StderrBytesProduced: int64(len(text)),
		}, nil
	}
	if err != nil {
		return nil, err
	}
	release := context.AfterFunc(ctx, p.Kill)
	defer release()
	stdout, stderr := capture{limit: limit}, capture{limit: limit}
	var readers sync.WaitGroup
	readers.Go(func() { stdout.readAll(p.Stdout()) })
	readers.Go(func() { stderr.readAll(p.Stderr()) })
	<-p.Done()
	s.drain(p, &readers)
	return &sandboxv1.ExecResponse{
		Stdout:              stdout.kept,
		Stderr:              stderr.kept,
		ExitCode:            int32(p.ExitCode()),
		StdoutTruncated:     stdout.produced > int64(len(stdout.kept)),
		StderrTruncated:     stderr.produced > int64(len(stderr.kept)),
		StdoutBytesProduced: stdout.produced,
		StderrBytesProduced: stderr.produced,
	}, nil
}

// A capture keeps the first bytes of a stream and counts all of them.
type capture struct {
	limit    int
	kept     []byte
	produced int64
}

func (c *capture) readAll(r io.Reader) {
	frame := frames.Get().(*[frameBytes]byte)
	defer frames.Put(frame)
	for {
		n, err := r.Read(frame[:])
		c.produced += int64(n)
		c.kept = append(c.kept, frame[:min(n, c.limit-len(c.kept))]...)
		if err != nil {
			return
		}
	}
}
