package cwsandbox

import (
	"context"
	"crypto/x509"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// ClientOption is an option of [NewClient].
type ClientOption interface{ applyClient(*clientConfig) }

type clientOption func(*clientConfig)

func (o clientOption) applyClient(c *clientConfig) { o(c) }

// WithAPIKey authenticates with an API key instead of that of CWSANDBOX_API_KEY. Blanks around it are dropped; a blank key
// is no key, whatever the environment has.
func WithAPIKey(key string) ClientOption {
	key = strings.TrimSpace(key)
	return clientOption(func(c *clientConfig) { c.apiKey = &key })
}

// WithCredentials authenticates with what fn returns. It is asked for every attempt of every request, so that a token may
// change, with the request's context; its error fails the request with [ErrUnauthenticated]. It wins over any API key.
func WithCredentials(fn func(ctx context.Context) (Credential, error)) ClientOption {
	return clientOption(func(c *clientConfig) {
		if fn == nil {
			c.faults.add("credentials", "must not be nil")
		}
		c.credentials = fn
	})
}

// WithBaseURL says where the service is: https://host, or http://host on this machine, with an optional port and nothing
// else. It wins over CWSANDBOX_BASE_URL.
func WithBaseURL(url string) ClientOption {
	return clientOption(func(c *clientConfig) { c.baseURL = strings.TrimSpace(url) })
}

// WithControlPlaneURL says where templates are served, in the form of [WithBaseURL]. By default that is the service's own
// control plane beside the default base URL, and the base URL otherwise.
func WithControlPlaneURL(url string) ClientOption {
	return clientOption(func(c *clientConfig) { c.controlPlaneURL = strings.TrimSpace(url) })
}

// WithInsecureTransport allows plain http to hosts other than this machine. The credential then travels in the clear.
func WithInsecureTransport() ClientOption {
	return clientOption(func(c *clientConfig) { c.insecure = true })
}

// WithLogger sends what the client has to report to l. By default it is silent. Nothing secret is logged.
func WithLogger(l *slog.Logger) ClientOption {
	return clientOption(func(c *clientConfig) { c.logger = l })
}

// WithIntegration names the library or tool that is built on this package; the service sees it with every request.
func WithIntegration(name string) ClientOption {
	return clientOption(func(c *clientConfig) {
		if !printableASCII(name) {
			c.faults.add("integration", "must be printable ASCII, is %q", name)
		}
		c.integration = name
	})
}

// WithRootCAs replaces the system's trust roots.
func WithRootCAs(p *x509.CertPool) ClientOption {
	return clientOption(func(c *clientConfig) { c.rootCAs = p })
}

// WithDialOptions adds gRPC dial options, such as interceptors and stats handlers. They come last and may override what
// the client sets, but for credentials and the choice between TLS and plaintext. Direct connections to sandboxes do not
// have them, because they might add a token; so [DataPlaneAuto] makes none for a client with dial options.
func WithDialOptions(opts ...grpc.DialOption) ClientOption {
	opts = slices.DeleteFunc(slices.Clone(opts), func(o grpc.DialOption) bool { return o == nil })
	return clientOption(func(c *clientConfig) { c.dialOptions = append(c.dialOptions, opts...) })
}

// WithRetryBudget sets how long a failing request is repeated, counted from its first failure: 30 s by default. Zero
// turns repetitions off, save those that undo a create whose outcome is unknown.
func WithRetryBudget(d time.Duration) ClientOption {
	return clientOption(func(c *clientConfig) {
		if d < 0 {
			c.faults.add("retry budget", "must not be negative, is %v", d)
		}
		c.retryBudget = d
	})
}
