package cwsandbox

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// shareTokenBudget bounds the recovery of a share token, as the client's request timeout does.
const shareTokenBudget = 15 * time.Second

const shareTokenHeader = "X-Sandbox-Share-Token"

// ShareToken is what callers of an endpoint with [EndpointAuthShareToken] have to show: see [Sandbox.ShareToken]. However it
// is printed, logged or encoded, it shows nothing secret; [ShareToken.Reveal] does. The zero value is no token.
type ShareToken struct {
	token func() string // as in Credential
}

// NewShareToken makes a token out of its text, for a sandbox that another program has created: see [WithShareToken].
func NewShareToken(text string) ShareToken {
	if text == "" {
		return ShareToken{}
	}
	return ShareToken{func() string { return text }}
}

// Reveal returns the token itself, for handing it on.
func (t ShareToken) Reveal() string {
	if t.token == nil {
		return ""
	}
	return t.token()
}

// IsZero reports whether there is no token.
func (t ShareToken) IsZero() bool { return t.token == nil }

// SetHeader adds the token to the header of a request to the endpoint, as X-Sandbox-Share-Token. The zero value adds
// nothing.
func (t ShareToken) SetHeader(h http.Header) {
	if !t.IsZero() {
		h.Set(shareTokenHeader, t.token())
	}
}

// String returns REDACTED.
func (t ShareToken) String() string { return redacted }

// GoString returns REDACTED.
func (t ShareToken) GoString() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (t ShareToken) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (t ShareToken) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, for JSON too.
func (t ShareToken) MarshalText() ([]byte, error) { return []byte(redacted), nil }

type shareTokenOption ShareToken

// WithShareToken tells a handle the share token of a sandbox that another program has created: the service gives it to the
// creator only.
func WithShareToken(t ShareToken) AttachOption { return shareTokenOption(t) }

func (o shareTokenOption) applyAttach(c *attachConfig) {
	token := ShareToken(o)
	if token.IsZero() || checkToken(token.Reveal()) != nil {
		c.faults.add("share token", "must be printable ASCII, and not empty")
	}
	c.shareToken = token
}

func (o shareTokenOption) String() string { return printed("WithShareToken", redacted) }

// ShareToken returns the token of a sandbox that has a service with [EndpointAuthShareToken]: one for all its endpoints. The
// service gives it to the creator only, with the answer to the create. Where that came without it, the create is
// repeated, with the same request id, until an answer has it: for 15 seconds, or the client's request timeout where that
// is shorter. Callers share that, and ctx only bounds the wait; a later call tries again.
//
// A sandbox that has ended is [ErrNotRunning]. [ErrUnauthenticated] says that the token cannot be had: the sandbox was
// attached or listed, without [WithShareToken], or has no such service.
func (sb *Sandbox) ShareToken(ctx context.Context) (ShareToken, error) {
	return sb.s.shareToken(ctx, "share token")
}

func (s *shared) shareToken(ctx context.Context, op string) (ShareToken, error) {
	c := call{op: op, sandbox: s.id}
	s.mu.Lock()
	token, work, err := s.token, (*Future[ShareToken])(nil), error(nil)
	if token.IsZero() {
		if work, err = s.recoverToken(c); err != nil {
			s.mu.Unlock()
			return ShareToken{}, err
		}
	}
	s.mu.Unlock()
	if work == nil {
		return token, nil
	}
	select {
	case <-work.Done():
	case <-ctx.Done():
		return ShareToken{}, c.wrap(ctxError(ctx))
	}
	token, err = work.Wait()
	if err != nil {
		return ShareToken{}, c.wrap(err)
	}
	return token, nil
}

// recoverToken begins to ask for the token, or joins whoever does already. The caller holds s.mu.
func (s *shared) recoverToken(c call) (*Future[ShareToken], error) {
	if _, err := s.readyNow(c.op); err != nil {
		return nil, err
	}
	switch {
	case s.tokenless == nil:
		return nil, c.refuse("no share token is known: the service gives it to the creator of a sandbox only, "+
			"where one of its services asks for it", ErrUnauthenticated)
	case isClosed(s.client.closed):
		return nil, c.refuse("the client is closed", ErrClosed)
	case s.recovery == nil || s.recovery.finished():
		made, budget := s.tokenless, min(shareTokenBudget, s.client.config.requestTimeout)
		s.recovery = Go(func() (ShareToken, error) {
			ctx, cancel := context.WithTimeoutCause(context.Background(), budget, errOwnLimit)
			defer cancel()
			return s.replayForToken(ctx, made)
		})
	}
	return s.recovery, nil
}

// replayForToken repeats a create that was answered until an answer brings the token.
func (s *shared) replayForToken(ctx context.Context, made *creation) (ShareToken, error) {
	c := call{op: "share token", sandbox: s.id}
	for interval := firstInterval; ; interval = min(2*interval, largestInterval) {
		if err := made.again(ctx, c.op, s, transport.RetryFor(shareTokenBudget)); err != nil {
			return ShareToken{}, err
		}
		s.mu.Lock()
		token := s.token
		_, over := s.readyNow(c.op)
		s.mu.Unlock()
		switch {
		case !token.IsZero():
			return token, nil
		case over != nil:
			return ShareToken{}, over
		}
		select {
		case <-time.After(jitter(interval)):
		case <-s.client.closed:
			return ShareToken{}, c.refuse("the client is closed", ErrClosed)
		case <-ctx.Done():
			return ShareToken{}, c.refuse("the service answers without a share token", ErrTimeout)
		}
	}
}

// noteToken takes the token out of an answer to a create. Of one that should have it, and has not, it keeps the create.
func (s *shared) noteToken(made *creation, record *sandboxv1.Sandbox) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch token := record.GetEndpointShareToken(); {
	case token != "":
		s.token, s.tokenless = NewShareToken(token), nil
	case s.token.IsZero() && wantsToken(servicesOf(record)):
		s.tokenless = made
	}
}

func wantsToken(services []ServiceStatus) bool {
	for _, svc := range services {
		if svc.Endpoint.Auth == EndpointAuthShareToken {
			return true
		}
	}
	return false
}
