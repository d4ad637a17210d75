package transport

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// recordDials dials the server and notes the addresses that were asked for.
func recordDials(s *server, addrs *[]string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		*addrs = append(*addrs, addr)
		return s.dial(ctx, addr)
	}
}

func TestNothingIsDialedBeforeACall(t *testing.T) {
	t.Run("K-017", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			resolved := make(chan string, 1)
			lookup := manual.NewBuilderWithScheme("dns")
			lookup.BuildCallback = func(target resolver.Target, _ resolver.ClientConn, _ resolver.BuildOptions) {
				resolved <- target.Endpoint()
			}
			tr := open(t, Config{
				Base: Endpoint{Target: "does.not.resolve.invalid:443"}, Credentials: bearer("k"), RequestTimeout: time.Second,
				DialOptions: []grpc.DialOption{grpc.WithResolvers(lookup)},
			})
			time.Sleep(time.Minute)
			assert.Empty(t, resolved)
			require.Error(t, list(t.Context(), tr))
			assert.Equal(t, "does.not.resolve.invalid:443", <-resolved)
		})
	})
}

func TestMessageLimit(t *testing.T) {
	t.Run("K-044", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			content := make([]byte, 101<<20)
			s := serve(t, empty)
			files := sandboxv1.NewSandboxServiceClient(s.transport(t, nil))
			_, err := files.WriteFile(t.Context(), &sandboxv1.WriteFileRequest{Content: content[:64<<20]})
			require.NoError(t, err)
			require.Len(t, s.seen(), 1)
			assert.Greater(t, len(s.seen()[0].request), 64<<20)

			_, err = files.WriteFile(t.Context(), &sandboxv1.WriteFileRequest{Content: content})
			e := asError(t, err)
			assert.True(t, rpcerr.IsMessageSize(e))
			assert.False(t, e.Sent)
			synctest.Wait()
			assert.Len(t, s.seen(), 1)
		})
		synctest.Test(t, func(t *testing.T) {
			reply := &sandboxv1.ReadFileResponse{Content: make([]byte, 64<<20)}
			s := serve(t, func(s *seen) (m proto.Message, err error) { return reply, nil })
			files := sandboxv1.NewSandboxServiceClient(s.transport(t, nil))
			got, err := files.ReadFile(t.Context(), &sandboxv1.ReadFileRequest{})
			require.NoError(t, err)
			assert.Len(t, got.GetContent(), 64<<20)

			reply.Content = make([]byte, 101<<20)
			_, err = files.ReadFile(t.Context(), &sandboxv1.ReadFileRequest{})
			assert.True(t, rpcerr.IsMessageSize(asError(t, err)))
			assert.Len(t, s.seen(), 2, "not repeated")
		})
	})
	t.Run("dial options may change it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			files := sandboxv1.NewSandboxServiceClient(s.transport(t, func(c *Config) {
				c.DialOptions = append(c.DialOptions, grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(1000)))
			}))
			_, err := files.WriteFile(t.Context(), &sandboxv1.WriteFileRequest{Content: make([]byte, 900)})
			require.NoError(t, err)
			_, err = files.WriteFile(t.Context(), &sandboxv1.WriteFileRequest{Content: make([]byte, 1001)})
			assert.True(t, rpcerr.IsMessageSize(asError(t, err)))
			assert.Len(t, s.seen(), 1)
		})
	})
}

// countingConn counts the writes of the client.
type countingConn struct {
	net.Conn
	writes *atomic.Int32
}

func (c countingConn) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

func TestKeepalive(t *testing.T) {
	t.Run("K-045", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var writes atomic.Int32
			s := serve(t, func(s *seen) (proto.Message, error) {
				if s.method == sandboxv1.SandboxService_StreamLogs_FullMethodName {
					return hang(s)
				}
				return empty(s)
			})
			tr := s.transport(t, func(c *Config) {
				c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
					conn, err := s.dial(ctx, addr)
					return countingConn{conn, &writes}, err
				})}
			})
			require.NoError(t, list(t.Context(), tr))
			time.Sleep(time.Second)
			idle := writes.Load()
			time.Sleep(20 * time.Minute)
			assert.Equal(t, idle, writes.Load(), "no ping without a stream")

			end := openStreams(t, tr, 1)
			time.Sleep(time.Second)
			busy := writes.Load()
			time.Sleep(5*time.Minute + 25*time.Second)
			assert.Equal(t, busy, writes.Load(), "no ping within the time that servers mind")
			time.Sleep(10 * time.Second)
			assert.Greater(t, writes.Load(), busy, "then a ping")
			end()
		})
	})
}

func TestServiceConfigOfTheResolverIsIgnored(t *testing.T) {
	t.Run("K-046", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable)))
			lookup := manual.NewBuilderWithScheme("dns")
			lookup.BuildCallback = func(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) {
				lookup.InitialState(resolver.State{
					Addresses: []resolver.Address{{Addr: target}},
					ServiceConfig: cc.ParseServiceConfig(`{"methodConfig": [{"name": [{}], "retryPolicy": {
						"maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
						"retryableStatusCodes": ["UNAVAILABLE"]}}]}`),
				})
			}
			tr := s.transport(t, func(c *Config) { c.DialOptions = append(c.DialOptions, grpc.WithResolvers(lookup)) })
			assert.Equal(t, codes.Unavailable, status.Code(list(t.Context(), tr, NoRetry())))
			assert.Len(t, s.seen(), 1)
		})
	})
}

func TestReconnectsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, empty)
		down := time.Now().Add(20 * time.Second)
		tr := s.transport(t, func(c *Config) {
			c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
				if time.Now().Before(down) {
					return nil, errRefused
				}
				return s.dial(ctx, addr)
			})}
		})
		require.NoError(t, get(t.Context(), tr), "an outage shorter than the budget goes unnoticed")
		assert.Less(t, time.Since(down), 6*time.Second)
	})
}

func TestAnswersOfProxies(t *testing.T) {
	t.Run("K-158", func(t *testing.T) {
		for httpStatus, want := range map[int]codes.Code{
			http.StatusBadGateway: codes.Unavailable, http.StatusNotFound: codes.Unimplemented, http.StatusUnauthorized: codes.Unauthenticated,
		} {
			t.Run(fmt.Sprint(httpStatus), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					tr := serveHTTP(t, httpStatus)
					e := asError(t, list(t.Context(), tr, NoRetry()))
					assert.Equal(t, want, e.Status.Code())
					assert.True(t, e.Sent)
					assert.Equal(t, want == codes.Unavailable, rpcerr.Transient(e))
				})
			})
		}
	})
}

// serveHTTP is a client of a proxy that answers everything by one HTTP status.
func serveHTTP(t *testing.T, answer int) *Transport {
	listener := bufconn.Listen(1 << 16)
	proxy := &http.Server{
		Protocols: new(http.Protocols),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(answer)
		}),
	}
	proxy.Protocols.SetUnencryptedHTTP2(true)
	go proxy.Serve(listener)
	t.Cleanup(func() { proxy.Close() })
	return open(t, Config{
		Base: Endpoint{Target: target, Plaintext: true}, Credentials: bearer("k"), RequestTimeout: time.Minute,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
			return listener.DialContext(ctx)
		})},
	})
}
