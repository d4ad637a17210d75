package cwsandboxtest

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// undoTime is what clients get to stop sandboxes that they are about to stop by themselves, such as those of
	// creates that were given up.
	undoTime = 2 * time.Second
	undoPoll = 5 * time.Millisecond
)

// Close ends the rules, the clients and the server, and stops all sandboxes. When it returns nothing of the server is
// left. A server made by [NewServer] closes by itself; closing again does nothing.
//
// A sandbox that is still running, and that nobody has begun to stop, is an error of the test of [NewServer], unless
// [AllowLeftovers] was given. A program that uses [Start] has no test to fail.
func (s *Server) Close() error {
	s.closing.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Server) close() error {
	s.layer.Release()
	if s.tb != nil && !s.allowLeftovers {
		s.AssertNoneLeft(s.tb)
	}
	errs := []error{s.closeClients(), s.core.Close()}
	<-s.served
	errs = append(errs, s.serving)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cwsandboxtest: %w", err)
	}
	return nil
}

func (s *Server) closeClients() error {
	s.mu.Lock()
	clients := s.clients
	s.clients = nil
	s.mu.Unlock()
	var errs []error
	for _, c := range clients {
		errs = append(errs, hook.CloseWhole(c))
	}
	return errors.Join(errs...)
}

// AssertNoneLeft fails the test when sandboxes are still running that nobody has begun to stop, and names them. Clients
// that are about to stop some by themselves get a moment for it.
func (s *Server) AssertNoneLeft(tb testing.TB) {
	tb.Helper()
	for deadline := time.Now().Add(undoTime); ; time.Sleep(undoPoll) {
		left := s.leftovers()
		if len(left) == 0 {
			return
		}
		if !time.Now().Before(deadline) {
			tb.Errorf("cwsandboxtest: %d sandboxes were not stopped: %s", len(left), strings.Join(left, ", "))
			return
		}
	}
}

// leftovers describes the sandboxes that run and that nobody has begun to stop.
func (s *Server) leftovers() []string {
	active := make(map[string]bool)
	for _, id := range s.core.Active() {
		active[id] = true
	}
	var left []string
	for _, sb := range s.core.Sandboxes() {
		if !active[sb.GetSandboxId()] || sb.GetStatus().GetState() == sandboxv1.State_STATE_TERMINATING {
			continue
		}
		text := sb.GetSandboxId()
		if tags := sb.GetSpec().GetTags(); len(tags) > 0 {
			text += " (" + strings.Join(tags, ", ") + ")"
		}
		left = append(left, text)
	}
	return left
}
