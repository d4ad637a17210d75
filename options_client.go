package cwsandbox

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

const (
	defaultRequestTimeout = 300 * time.Second
	defaultRetryBudget    = 30 * time.Second
)

// ClientOption is an option of [NewClient].
type ClientOption interface{ applyClient(*clientConfig) }

type clientOption func(*clientConfig)

func (o clientOption) applyClient(c *clientConfig) { o(c) }

// clientConfig is the frozen configuration of a client.
type clientConfig struct {
	faults faults

	apiKey          string
	credentials     func(context.Context) (Credential, error) // wins over apiKey
	baseURL         string                                    // as given; once resolved, as shown
	controlPlaneURL string
	insecure        bool

	logger         *slog.Logger
	integration    string
	rootCAs        *x509.CertPool
	dialOptions    []grpc.DialOption
	requestTimeout time.Duration
	retryBudget    time.Duration

	environment        environment
	base, controlPlane serverURL
	credentialKind     string
	privateRegistry    bool
}

// WithAPIKey authenticates with an API key instead of that of CWSANDBOX_API_KEY. Blanks around it are dropped.
func WithAPIKey(key string) ClientOption {
	return clientOption(func(c *clientConfig) {
		if strings.TrimSpace(key) == "" {
			c.faults.add("API key", "must not be blank")
		}
		c.apiKey = key
	})
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
		if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' }) {
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
// the client sets, but for credentials and the choice between TLS and plaintext.
func WithDialOptions(opts ...grpc.DialOption) ClientOption {
	opts = slices.Clone(opts)
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

// newClientConfig resolves options and environment. It does no I/O.
func newClientConfig(getenv func(string) string, opts []ClientOption) (clientConfig, error) {
	c := clientConfig{
		logger:         slog.New(slog.DiscardHandler),
		requestTimeout: defaultRequestTimeout,
		retryBudget:    defaultRetryBudget,
	}
	for _, o := range opts {
		if o != nil {
			o.applyClient(&c)
		}
	}
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.environment = readEnvironment(getenv, &c.faults)
	c.resolveURLs()
	if err := c.faults.err(call{op: "new client"}); err != nil {
		return clientConfig{}, err
	}
	if err := c.resolveCredentials(); err != nil {
		return clientConfig{}, err
	}
	return c, nil
}

// resolveURLs decides where the services are. A client that is pointed elsewhere never sends its key to the vendor.
func (c *clientConfig) resolveURLs() {
	source, raw := "WithBaseURL", c.baseURL
	if raw == "" {
		source, raw = "CWSANDBOX_BASE_URL", c.environment.baseURL
	}
	if raw == "" {
		raw = defaultBaseURL
	}
	c.base = c.resolveURL(source, raw)
	c.baseURL = c.base.String()
	switch {
	case c.controlPlaneURL != "":
		c.controlPlane = c.resolveURL("WithControlPlaneURL", c.controlPlaneURL)
	case c.baseURL == defaultBaseURL:
		c.controlPlane = c.resolveURL("", defaultControlPlaneURL)
	default:
		c.controlPlane = c.base
	}
}

func (c *clientConfig) resolveURL(source, raw string) serverURL {
	u, err := parseServerURL(raw)
	switch {
	case err != nil:
		c.faults.add(source, "%v", err)
	case u.plaintext && !u.loopback() && !c.insecure:
		c.faults.add(source, "http to %s would send the credential in the clear: use https, or WithInsecureTransport", u.host)
	}
	return u
}

// resolveCredentials makes every source of credentials one function.
func (c *clientConfig) resolveCredentials() error {
	if c.credentials != nil {
		c.credentialKind = "credentials callback"
		return nil
	}
	key := strings.TrimSpace(c.apiKey)
	if key == "" {
		key = c.environment.apiKey
	}
	op := call{op: "new client"}
	switch {
	case key == "":
		return op.refuse("no API key: set CWSANDBOX_API_KEY, or use WithAPIKey or WithCredentials", ErrUnauthenticated)
	case strings.ContainsFunc(key, unicode.IsControl):
		return op.refuse("the API key contains a control character", ErrInvalidArgument, ErrUnauthenticated)
	}
	token := BearerToken(key)
	c.credentialKind = "API key"
	c.credentials = func(context.Context) (Credential, error) { return token, nil }
	return nil
}

// transport is the configuration of the layer below.
func (c *clientConfig) transport() transport.Config {
	ask := c.credentials
	return transport.Config{
		Base:         c.base.endpoint(),
		ControlPlane: c.controlPlane.endpoint(),
		Credentials: func(ctx context.Context) (map[string]string, error) {
			credential, err := ask(ctx)
			if err == nil && !credential.valid() {
				err = fmt.Errorf("the credential is empty or contains a control character")
			}
			return credential.metadata, err
		},
		Version:        version(),
		Integration:    c.integration,
		RootCAs:        c.rootCAs,
		DialOptions:    c.dialOptions,
		RequestTimeout: c.requestTimeout,
		RetryBudget:    c.retryBudget,
		Logger:         c.logger,
	}
}
