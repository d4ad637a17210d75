package cwsandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"time"
)

// serveLimit is how long a program may take to come to ServeFuncs. One that does not serve must not go on.
const serveLimit = 30 * time.Second

// aftermath is what a call leaves of its sandbox.
type aftermath int

const (
	intact  aftermath = iota // it takes the next call
	broken                   // nobody knows what goes on in it
	useless                  // another one would do no better
)

// callFunc runs a function of the program in the sandbox.
func (s *shared) callFunc(ctx context.Context, c call, cfg *funcConfig, req request, input []byte) (*answer, aftermath, error) {
	head, err := json.Marshal(req)
	if err != nil {
		return nil, intact, c.wrap(err)
	}
	where, err := s.provide(ctx, c, cfg)
	if err != nil {
		return nil, unfit(err), err
	}
	said := &tail{w: cfg.output}
	a := &answer{greeted: make(chan struct{})}
	p, receive, err := s.open(ctx, c, cfg.process(where.path, req.Name, a, said), s.tally())
	if err != nil {
		return nil, broken, err
	}
	silent := time.AfterFunc(serveLimit, func() {
		select {
		case <-a.greeted:
		default:
			p.cancel(errNoGreeting)
		}
	})
	defer silent.Stop()
	var receiving sync.WaitGroup
	receiving.Go(receive)
	for _, part := range [][]byte{head, input} {
		if err := writePart(p.Stdin(), part); err != nil {
			break // the end of the process tells why
		}
	}
	receiving.Wait()
	res, err := p.outcome()
	switch {
	case a.complete: // whatever became of the stream after that
		return a, afterAnswer(a, err), nil
	case errors.Is(err, errNoGreeting):
		return nil, useless, c.refuse(errNoGreeting.Error(), errNoGreeting)
	case err != nil:
		return nil, broken, err
	case a.heard():
		return nil, intact, c.crashed(res, said)
	}
	where.forget()
	return nil, unstarted(res.ExitCode), c.notStarted(res, said)
}

// unstarted is the state of a sandbox whose process has ended before it served. The next call uploads an executable that is
// gone; whoever killed the process need not do so in another sandbox.
func unstarted(code int) aftermath {
	switch {
	case code == 127:
		return intact
	case code > 128:
		return broken
	}
	return useless
}

// afterAnswer is the state of a sandbox whose process has answered and was seen to end, or not.
func afterAnswer(a *answer, err error) aftermath {
	switch {
	case a.failure != nil && a.failure.Kind == failedUnknown:
		return useless
	case err != nil:
		return broken
	}
	return intact
}

// unfit is the state of a sandbox that could not be provided with the executable.
func unfit(err error) aftermath {
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, ErrPrecondition) || errors.Is(err, ErrInvalidArgument) {
		return useless
	}
	return broken
}

var errNoGreeting = implying("the executable does not serve functions: the first thing that main does must be "+
	"cwsandbox.ServeFuncs or cwsandbox.Main", errors.ErrUnsupported)

// crashed is the error of a process that has ended without an answer.
func (c call) crashed(res *Result, said *tail) error {
	text := fmt.Sprintf("the process of the function ended with exit code %d and without a result", res.ExitCode)
	switch line := said.crash(); {
	case line != "":
		text += ": " + line
	case res.ExitCode == 137:
		text += ": it was killed, for want of memory perhaps"
	}
	return c.refuse(text, exitOf(res, said))
}

// notStarted is the error of a process that has not come as far as ServeFuncs.
func (c call) notStarted(res *Result, said *tail) error {
	exit := exitOf(res, said)
	switch res.ExitCode {
	case 126:
		return c.refuse("the executable may not be run where it is: choose another directory by WithTempDir", exit, errors.ErrUnsupported)
	case 127:
		return c.refuse("the executable is gone from the sandbox: the next call uploads it again", exit)
	}
	text := fmt.Sprintf("the executable ended with exit code %d before it served the function", res.ExitCode)
	switch line := said.last(); {
	case res.ExitCode > 128:
		return c.refuse(text+": it was killed", exit)
	case line != "":
		text += ": " + line
	default:
		text += ": the first thing that main does must be cwsandbox.ServeFuncs or cwsandbox.Main"
	}
	return c.refuse(text, exit, errors.ErrUnsupported)
}

// exitOf is the end of a process with what it has printed.
func exitOf(res *Result, said *tail) error {
	res.Stderr = said.kept
	return &ExitError{SandboxID: res.sandbox, Code: res.ExitCode, Result: res}
}

// process is the configuration of the process that serves one call.
func (c *funcConfig) process(path, name string, a *answer, said *tail) *execConfig {
	cfg := c.execConfig
	cfg.argv = []string{path, funcWord, name}
	cfg.env = maps.Clone(c.env)
	if cfg.env == nil {
		cfg.env = make(map[string]string)
	}
	cfg.env[funcVariable] = name
	cfg.stdinPipe, cfg.stdout, cfg.stderr = true, a, said
	return &cfg
}

// answer takes what the process says on its standard output.
type answer struct {
	greeted chan struct{} // closed when the greeting has come

	buf      []byte
	failure  *funcFailure
	output   []byte
	complete bool
}

func (a *answer) heard() bool { return isClosed(a.greeted) }

// Write fails as soon as this cannot become an answer.
func (a *answer) Write(b []byte) (int, error) {
	if a.complete {
		return 0, errors.New("the answer is followed by something else")
	}
	a.buf = append(a.buf, b...)
	if !a.heard() {
		n := min(len(a.buf), len(greeting))
		if string(a.buf[:n]) != greeting[:n] {
			return 0, errNoGreeting
		}
		if n < len(greeting) {
			return len(b), nil
		}
		close(a.greeted)
		a.buf = a.buf[n:]
	}
	return len(b), a.parse()
}

// parse reads the answer once all of it has come.
func (a *answer) parse() error {
	rest := a.buf
	var parts [2][]byte
	for i, limit := range [2]uint64{maxHead, maxPayload} {
		if len(rest) < 8 {
			return nil
		}
		n := binary.BigEndian.Uint64(rest)
		if n > limit {
			return fmt.Errorf("the answer has a part of %d bytes", n)
		}
		if rest = rest[8:]; uint64(len(rest)) < n {
			a.grow(int(n) - len(rest))
			return nil
		}
		parts[i], rest = rest[:n], rest[n:]
	}
	if len(rest) > 0 {
		return errors.New("the answer is followed by something else")
	}
	var head answerHead
	if err := json.Unmarshal(parts[0], &head); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	a.failure, a.output, a.complete = head.Failure, parts[1], true
	return nil
}

// grow makes room for so many bytes more, once.
func (a *answer) grow(n int) {
	if cap(a.buf)-len(a.buf) < n {
		a.buf = append(make([]byte, 0, len(a.buf)+n), a.buf...)
	}
}

// outputTail is how much of what a function prints last is kept.
const outputTail = 64 << 10

// tail keeps the end of what is written, and hands everything on.
type tail struct {
	w    io.Writer // may be nil
	kept []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b...)
	if len(t.kept) > 2*outputTail {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-outputTail:]...)
	}
	if t.w == nil {
		return len(b), nil
	}
	return t.w.Write(b)
}

// last returns the last line that is not blank.
func (t *tail) last() string {
	text := strings.TrimSpace(string(t.kept))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// crash returns the line in which the Go runtime says why it has ended the program.
func (t *tail) crash() string {
	at := -1
	for _, word := range []string{"panic: ", "fatal error: "} {
		if bytes.HasPrefix(t.kept, []byte(word)) {
			at = max(at, 0)
		}
		if i := bytes.LastIndex(t.kept, []byte("\n"+word)); i >= 0 {
			at = max(at, i+1)
		}
	}
	if at < 0 {
		return ""
	}
	line, _, _ := strings.Cut(string(t.kept[at:]), "\n")
	return line
}
