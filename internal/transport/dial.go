package transport

import (
	"context"
	"crypto/tls"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// maxMessage is the largest message either way; the service's own limit is the same.
const maxMessage = 100 << 20

const (
	// Servers built on grpc-go end connections that are pinged more often than every five minutes, and a little
	// jitter at exactly five is enough for that.
	keepaliveTime    = 5*time.Minute + 30*time.Second
	keepaliveTimeout = 20 * time.Second
)

// reconnect paces attempts to connect. Calls are retried for seconds; grpc-go's own pauses grow to two minutes.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 3 * time.Second},
	MinConnectTimeout: 20 * time.Second,
}

// dialer returns the function that makes one more connection to an endpoint. It does no I/O.
func (c Config) dialer(e Endpoint) func() (*grpc.ClientConn, error) {
	opts := c.dialOptions(e)
	return func() (*grpc.ClientConn, error) { return grpc.NewClient("dns:///"+e.Target, opts...) }
}

func (c Config) dialOptions(e Endpoint) []grpc.DialOption {
	security := credentials.NewTLS(&tls.Config{RootCAs: c.RootCAs, VerifyConnection: c.VerifyConn, MinVersion: tls.VersionTLS12})
	if e.Plaintext {
		security = insecure.NewCredentials()
	}
	opts := []grpc.DialOption{
		grpc.WithUserAgent("cwsandbox-go/" + c.version()),
		grpc.WithDisableServiceConfig(), // a DNS record must not add retries
		grpc.WithDisableRetry(),
		grpc.WithConnectParams(reconnect),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(maxMessage), grpc.MaxCallRecvMsgSize(maxMessage)),
	}
	opts = append(opts, c.DialOptions...)
	return append(opts, grpc.WithTransportCredentials(security), grpc.WithChainUnaryInterceptor(refuseOversize))
}

func (c Config) version() string {
	if c.Version == "" {
		return "unknown"
	}
	return c.Version
}

// refuseOversize fails a call whose request is over the limit before anything is sent. grpc-go looks only after it has
// opened the stream. As the innermost interceptor it sees the limit that is in force.
func refuseOversize(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	limit := maxMessage
	for _, opt := range opts {
		if o, ok := opt.(grpc.MaxSendMsgSizeCallOption); ok {
			limit = o.MaxSendMsgSize
		}
	}
	if m, ok := req.(proto.Message); ok && proto.Size(m) > limit {
		return status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", proto.Size(m), limit)
	}
	return invoke(ctx, method, req, reply, cc, opts...)
}
