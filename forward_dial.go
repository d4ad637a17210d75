package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/cwsandbox/cwsandbox-go/internal/relay"
)

// dial starts a relay and returns when that has connected.
func (s *shared) dial(ctx context.Context, c call, to target) (*conn, error) {
	limit := s.patience(ctx)
	over := c.refuse(fmt.Sprintf("there was no connection within %v", limit), ErrTimeout)
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, over)
		defer cancel()
	}
	t, err := s.connect(ctx, c, to)
	switch {
	case err == nil:
		return newConn(t), nil
	case ctx.Err() == nil:
		return nil, err
	case context.Cause(ctx) == over:
		return nil, over
	}
	return nil, c.wrap(ctxError(ctx))
}

func (s *shared) connect(ctx context.Context, c call, to target) (*tunnel, error) {
	if err := s.ready(ctx, c.op); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := s.newTunnel(ctx, c, to)
	unlink := context.AfterFunc(ctx, t.end)
	if err := t.start(to); err != nil {
		t.end()
		return nil, err
	}
	select {
	case <-t.connected:
	case <-t.over:
	}
	if isClosed(t.connected) && unlink() { // also one that has ended already
		s.relay.Store(t.relay)
		return t, nil
	}
	t.end()
	_ = t.close()
	<-t.over
	return nil, t.refusal(to)
}

// start starts the relay. What runs for it here ends with it, or when the tunnel is closed.
func (t *tunnel) start(to target) error {
	preferred, _ := t.s.relay.Load().(string)
	p, receive, err := t.s.open(t.life, t.call, &execConfig{
		argv:      relay.Command(to.host, to.port, preferred),
		env:       map[string]string{"LC_ALL": "C"}, // its messages are known
		stdinPipe: true,
		stdout:    &relayOutput{t: t},
		stderr:    relayErrors{t},
	}, nil)
	if err != nil {
		return err
	}
	t.process = p
	go t.receiveAll(receive)
	go t.sendAll()
	return nil
}

// refusal says why there is no connection, once the relay has ended.
func (t *tunnel) refusal(to target) error {
	res, err := t.process.outcome()
	if err != nil {
		return err
	}
	switch res.ExitCode {
	case relay.ExitNoTools:
		return t.call.refuse("the image has nothing that connects; it needs one of "+relay.Tools, errors.ErrUnsupported, res.Err())
	case 126, 127:
		return t.call.refuse("the image has no /bin/sh that runs", errors.ErrUnsupported, res.Err())
	}
	text, errno := t.diagnosis()
	if text == "" {
		text = fmt.Sprintf("the relay exited with %d", res.ExitCode)
	}
	if errno == 0 {
		return t.call.refuse(to.addr+": "+text, res.Err())
	}
	return t.call.refuse(to.addr+": "+text, errno)
}

// errnos are the errors of the system that a program may want to know, as tools report them.
var errnos = []struct {
	text  string
	errno syscall.Errno
}{
	{"connection refused", syscall.ECONNREFUSED},
	{"connection reset", syscall.ECONNRESET},
	{"broken pipe", syscall.EPIPE},
	{"connection timed out", syscall.ETIMEDOUT},
	{"no route to host", syscall.EHOSTUNREACH},
	{"network is unreachable", syscall.ENETUNREACH},
}

// diagnosis is what the relay's standard error comes to: an error of the system, or its last line that says something.
func (t *tunnel) diagnosis() (text string, errno syscall.Errno) {
	said := strings.ToLower(t.said())
	for _, e := range errnos {
		if strings.Contains(said, e.text) {
			return e.text, e.errno
		}
	}
	for line := range strings.Lines(said) {
		if line = strings.TrimSpace(line); line != "" {
			text = line
		}
	}
	return text, 0
}
