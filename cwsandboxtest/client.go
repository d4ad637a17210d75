package cwsandboxtest

import (
	"fmt"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

// Client makes a client of the server; the options come after its own. What it makes is tracked apart from the program's
// other sandboxes: a test stops its own. The server closes the client when it closes. Options that are wrong end the test,
// or panic without one.
func (s *Server) Client(opts ...cwsandbox.ClientOption) *cwsandbox.Client {
	if s.tb != nil {
		s.tb.Helper()
	}
	own := []cwsandbox.ClientOption{
		cwsandbox.WithBaseURL(s.URL()), cwsandbox.WithAPIKey(s.key), cwsandbox.WithDialOptions(s.DialOptions()...),
		cwsandbox.WithRootCAs(s.RootCAs()),
	}
	if s.ports != nil {
		own = append(own, hook.EndpointDial(s.ports.Dial).(cwsandbox.ClientOption))
	}
	own = append(own, hook.PrivateRegistry().(cwsandbox.ClientOption))
	if s.dialDirect != nil {
		own = append(own, hook.DirectDial(s.dialDirect).(cwsandbox.ClientOption))
	}
	c, err := cwsandbox.NewClient(append(own, opts...)...)
	if err != nil {
		s.fail(fmt.Sprintf("cwsandboxtest: %v", err))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients = append(s.clients, c)
	return c
}

func (s *Server) fail(text string) {
	if s.tb == nil {
		panic(text)
	}
	s.tb.Helper()
	s.tb.Fatal(text)
}
