package cwsandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/transport"
)

const (
	defaultRequestTimeout = 300 * time.Second
	defaultRetryBudget    = 30 * time.Second
)

// clientConfig is the frozen configuration of a client. Once it is resolved it holds no secret but within functions.
type clientConfig struct {
	faults faults

	// As the options give them.
	apiKey          *string // not nil: of WithAPIKey, even when blank
	wandb           *wandbConfig
	baseURL         string // once resolved: as shown
	controlPlaneURL string
	insecure        bool

	logger          *slog.Logger
	integration     string
	rootCAs         *x509.CertPool
	dialOptions     []grpc.DialOption
	requestTimeout  time.Duration
	retryBudget     time.Duration
	dataPlane       DataPlane
	directDial      func(ctx context.Context, address string) (net.Conn, error) // nil: the network
	endpointDial    func(ctx context.Context, address string) (net.Conn, error) // nil: the network
	privateRegistry bool

	// Resolved.
	base, controlPlane serverURL
	credentials        func(context.Context) (Credential, error) // of WithCredentials, or of the key
	credentialKind     string
	verifyConnection   func(tls.ConnectionState) error // nil: nobody wants to see them
	environment        environment
}

// newClientConfig resolves options and environment. It does no I/O. All faults are reported together.
func newClientConfig(getenv func(string) string, opts []ClientOption) (clientConfig, error) {
	c := clientConfig{requestTimeout: defaultRequestTimeout, retryBudget: defaultRetryBudget}
	applyAll(&c.faults, opts, func(o ClientOption) { o.applyClient(&c) })
	if c.logger == nil {
		c.logger = slog.New(slog.DiscardHandler)
	}
	c.environment = readEnvironment(getenv, &c.faults)
	if text := c.environment.oddSignals; text != "" {
		c.logger.Warn("a variable is neither 1 nor 0 and counts as 1", "variable", signalsVariable, "value", text)
	}
	c.readWandB(getenv)
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
	if raw == "" && c.wandb != nil {
		source, raw = wandbBaseURL, c.wandb.baseURL
	}
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

// resolveCredentials makes every source of credentials one function, and forgets the key itself.
func (c *clientConfig) resolveCredentials() error {
	key := c.environment.apiKey
	if c.apiKey != nil {
		key = *c.apiKey
	}
	c.apiKey, c.environment.apiKey = nil, ""
	if c.wandb != nil {
		return c.resolveWandB()
	}
	if c.credentials != nil {
		c.credentialKind = "credentials callback"
		return nil
	}
	op := call{op: "new client"}
	if key == "" {
		return op.refuse("no API key: set CWSANDBOX_API_KEY, or use WithAPIKey, WithWandB or WithCredentials", ErrUnauthenticated)
	}
	if err := checkToken(key); err != nil {
		return op.refuse("the API key "+err.Error(), ErrInvalidArgument, ErrUnauthenticated)
	}
	token := BearerToken(key)
	c.credentialKind = "API key"
	c.credentials = func(context.Context) (Credential, error) { return token, nil }
	return nil
}

// transport is the configuration of the layer below.
func (c *clientConfig) transport() transport.Config {
	return transport.Config{
		Base:           c.base.endpoint(),
		ControlPlane:   c.controlPlane.endpoint(),
		Credentials:    asking(c.credentials),
		Version:        version(),
		Integration:    c.integration,
		RootCAs:        c.rootCAs,
		VerifyConn:     c.verifyConnection,
		DialOptions:    c.dialOptions,
		DirectDial:     c.directDial,
		RequestTimeout: c.requestTimeout,
		RetryBudget:    c.retryBudget,
		Logger:         c.logger,
	}
}
