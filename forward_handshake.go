package cwsandbox

import (
	"strings"
	"sync"

	"github.com/cwsandbox/cwsandbox-go/internal/relay"
)

// greetingLimit is longer than the first line of any relay.
const greetingLimit = 64

// handshake is what is known of a relay until it has connected, and what it has said on standard error. The streams of a
// relay that cannot wait with its first line may overtake one another.
type handshake struct {
	connected chan struct{} // closed when there is a connection; relay and framed stand then

	mu       sync.Mutex
	greeting strings.Builder // the first line, as far as it has come
	greeted  bool
	relay    string
	framed   bool
	stderr   strings.Builder // its first bytes
	before   int             // those from before the connection
	done     bool            // connected is closed
}

// output takes output from before the connection and returns what lies behind it.
func (h *handshake) output(p []byte) (rest []byte, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.done {
		return p, nil
	}
	if !h.greeted {
		line, after, found := strings.Cut(string(p), "\n")
		h.greeting.WriteString(line)
		if h.greeting.Len() > greetingLimit {
			return nil, ErrStream
		}
		if !found {
			return nil, nil
		}
		p = p[len(p)-len(after):]
		if err := h.greet(); err != nil {
			return nil, err
		}
	}
	if len(p) > 0 { // it can only be the server's
		h.connect()
	}
	return p, nil
}

// greet takes the first line. The caller holds mu.
func (h *handshake) greet() error {
	name, mode, _ := strings.Cut(h.greeting.String(), " ")
	h.greeted, h.relay = true, name
	switch mode {
	case relay.Framed:
		h.framed = true
		h.connect()
	case relay.Raw:
		h.connect()
	case relay.Pending:
		h.look()
	default:
		return ErrStream
	}
	return nil
}

// hear takes a piece of standard error.
func (h *handshake) hear(p []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stderr.Write(p[:min(len(p), diagnosticLimit-h.stderr.Len())])
	if h.greeted {
		h.look()
	}
}

// look looks for the sign of a connection in standard error. The caller holds mu.
func (h *handshake) look() {
	if relay.Connected(h.stderr.String()) {
		h.connect()
	}
}

func (h *handshake) connect() {
	if !h.done {
		h.done, h.before = true, h.stderr.Len()
		close(h.connected)
	}
}

// said returns what there is on standard error, of the connection if that has come to be: before, other addresses of a
// name may have been tried.
func (h *handshake) said() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.stderr.String()
	if after := strings.TrimSpace(all[h.before:]); after != "" {
		return after
	}
	return all
}
