package cwsandbox

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

// guard is the registry's line to whoever undoes things when the program dies. Nobody listens unless package reaper is
// part of the program, and to registries of tests nobody ever does. The methods that record something are called under the
// registry's lock, flush and await without it.
type guard struct{ to hook.Guardian }

func (r *registry) guard() guard {
	if r != processRegistry {
		return guard{}
	}
	return guard{hook.Guard}
}

// freeze returns a request as it will be sent, with its type. One that has no bytes fails when it is sent.
func (g guard) freeze(req createRequest) []byte {
	if g.to == nil {
		return nil
	}
	exact := proto.MarshalOptions{Deterministic: true}
	var typed anypb.Any
	if anypb.MarshalFrom(&typed, req, exact) != nil {
		return nil
	}
	frozen, err := exact.Marshal(&typed)
	if err != nil {
		return nil
	}
	return frozen
}

// thaw reads what freeze has returned.
func thaw(frozen []byte) (createRequest, error) {
	var typed anypb.Any
	if err := proto.Unmarshal(frozen, &typed); err != nil {
		return nil, err
	}
	message, err := typed.UnmarshalNew()
	if err != nil {
		return nil, err
	}
	req, ok := message.(createRequest)
	if !ok {
		return nil, fmt.Errorf("%T makes no sandbox", message)
	}
	return req, nil
}

// creating records a create.
func (g guard) creating(e *entry, frozen []byte) {
	if g.to != nil && frozen != nil {
		g.to.Create(e, e.client.link, frozen)
	}
}

// track records a sandbox.
func (g guard) track(e *entry) {
	if g.to == nil {
		return
	}
	e.state.mu.Lock()
	grace := e.state.grace
	e.state.mu.Unlock()
	g.to.Track(e, e.client.link, e.state.id, grace)
}

// settle records that nothing is left to do.
func (g guard) settle(e *entry) {
	if g.to != nil {
		g.to.Settle(e)
	}
}

func (g guard) flush() {
	if g.to != nil {
		g.to.Flush()
	}
}

func (g guard) await() {
	if g.to != nil {
		g.to.Await()
	}
}

// relieve records that the service has taken the delete of a sandbox, so that another one would be of no use.
func (r *registry) relieve(s *shared) { r.settle(s, func(*entry) {}) }

// settle records that nothing is left to do for a sandbox, if it is in, and hands its entry to then under the lock.
func (r *registry) settle(s *shared, then func(*entry)) {
	g := r.guard()
	defer g.flush()
	r.mu.Lock()
	defer r.mu.Unlock()
	if e := r.of[s]; e != nil {
		g.settle(e)
		then(e)
	}
}

// link describes the client for the guard, and has what is not known yet told to the guard when it shows: the credential that a
// request is about to be sent with, and the roots that have vouched for the service. It is nil where nobody listens.
func (c *clientConfig) link() *hook.Connection {
	if c.privateRegistry {
		return nil
	}
	link := &hook.Connection{
		BaseURL:      c.baseURL,
		Insecure:     c.insecure,
		Integration:  c.integration,
		PrivateRoots: c.rootCAs != nil && !c.base.plaintext,
		Logger:       c.loudLogger(),
	}
	if len(c.dialOptions) > 0 {
		link.Refused = errors.New("dial options cannot be handed to another process")
	}
	c.credentials = telling(link, c.credentials)
	if link.PrivateRoots {
		c.verifyConnection = func(state tls.ConnectionState) error {
			tell(link, link.AddRoots(state))
			return nil
		}
	}
	return link
}

// loudLogger is where a protection that is off gets known: to the program's default logger where the client has none.
func (c *clientConfig) loudLogger() *slog.Logger {
	if c.logger.Handler() == slog.DiscardHandler {
		return slog.Default()
	}
	return c.logger
}

// telling tells the guard of every new credential before the request that it is for is sent.
func telling(link *hook.Connection, fn func(context.Context) (Credential, error)) func(context.Context) (Credential, error) {
	return func(ctx context.Context) (Credential, error) {
		credential, err := fn(ctx)
		if err != nil {
			return credential, err
		}
		if headers, err := credential.metadata(); err == nil { // else the request fails by it
			tell(link, link.SetHeaders(headers))
		}
		return credential, nil
	}
}

func tell(link *hook.Connection, changed bool) {
	if changed && hook.Guard != nil {
		hook.Guard.Update(link)
		hook.Guard.Flush()
	}
}

// What a helper process does with a client of its own.
func init() {
	hook.Undo = func(ctx context.Context, client any, request []byte) (made bool, err error) {
		req, err := thaw(request)
		if err != nil {
			return false, err
		}
		return client.(*Client).undoCreate(ctx, req)
	}
	hook.Stop = func(ctx context.Context, client any, id string, grace time.Duration) error {
		_, err := client.(*Client).stateOf(id).delete(ctx, removal{grace: grace, insist: true})
		return err
	}
}

// undoCreate repeats somebody else's create and deletes what it made.
func (c *Client) undoCreate(ctx context.Context, req createRequest) (made bool, err error) {
	cr := &creation{client: c, op: "undo", config: &createConfig{}, request: req}
	if ctx, err = c.registry.begin(ctx, cr); err != nil {
		return false, err
	}
	defer cr.forget() // the caller remembers what was not undone
	defer c.registry.decide(cr.entry)
	s, err := cr.replay(ctx)
	switch {
	case err == nil:
		return true, s.discard(ctx)
	case conclusive(err):
		return false, nil
	}
	return false, cr.call().wrap(err)
}
