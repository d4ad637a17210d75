package transport

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	good := Config{Base: Endpoint{Target: target}, Credentials: bearer("k"), RequestTimeout: time.Second}
	for name, change := range map[string]func(*Config){
		"target":          func(c *Config) { c.Base.Target = "" },
		"credentials":     func(c *Config) { c.Credentials = nil },
		"request timeout": func(c *Config) { c.RequestTimeout = 0 },
		"dial options":    func(c *Config) { c.DialOptions = []grpc.DialOption{grpc.WithDefaultServiceConfig("not json")} },
	} {
		t.Run(name, func(t *testing.T) {
			c := good
			change(&c)
			tr, err := New(c)
			assert.Error(t, err)
			assert.Nil(t, tr)
		})
	}
}

func TestDialOptionsCannotRemoveTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, empty)
		tr := s.transport(t, func(c *Config) {
			c.Base.Plaintext = false
			c.DialOptions = append(c.DialOptions, grpc.WithTransportCredentials(insecure.NewCredentials()))
		})
		assert.Equal(t, codes.Unavailable, status.Code(list(t.Context(), tr, NoRetry())))
		assert.Empty(t, s.seen())
	})
}

func TestControlPlane(t *testing.T) {
	templates := func(ctx context.Context, tr *Transport) error {
		_, err := sandboxv1.NewSandboxTemplateServiceClient(tr).ListSandboxTemplates(ctx, &sandboxv1.ListSandboxTemplatesRequest{})
		return err
	}
	t.Run("an endpoint of its own", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var dialed []string
			s := serve(t, empty)
			tr := s.transport(t, func(c *Config) {
				c.ControlPlane = Endpoint{Target: "127.0.0.2:2", Plaintext: true}
				c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(recordDials(s, &dialed))}
			})
			require.NoError(t, templates(t.Context(), tr))
			require.NoError(t, list(t.Context(), tr))
			require.NoError(t, templates(t.Context(), tr))
			assert.Equal(t, []string{"127.0.0.2:2", target}, dialed)
		})
	})
	t.Run("K-019", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var dialed []string
			s := serve(t, empty)
			tr := s.transport(t, func(c *Config) {
				c.DialOptions = []grpc.DialOption{grpc.WithContextDialer(recordDials(s, &dialed))}
			})
			require.NoError(t, templates(t.Context(), tr))
			require.NoError(t, list(t.Context(), tr))
			assert.Equal(t, []string{target}, dialed, "one connection for both")
		})
	})
}

// callsInFlight starts one call of each kind, which the server never answers, and returns their errors.
func callsInFlight(t *testing.T, tr *Transport) (lifecycle, data, stream <-chan error) {
	started := func(call func() error) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- call() }()
		return ended
	}
	lifecycle = started(func() error { return list(t.Context(), tr) })
	data = started(func() error {
		_, err := sandboxv1.NewSandboxServiceClient(tr).ReadFile(t.Context(), &sandboxv1.ReadFileRequest{})
		return err
	})
	stream = started(func() error {
		s, err := sandboxv1.NewSandboxServiceClient(tr).StreamLogs(t.Context(), &sandboxv1.StreamLogsRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		return err
	})
	synctest.Wait()
	return lifecycle, data, stream
}

func assertClosed(t *testing.T, err error, sent bool) {
	t.Helper()
	assert.ErrorIs(t, err, rpcerr.ErrClosed)
	assert.NotErrorIs(t, err, context.Canceled)
	assert.Equal(t, codes.Canceled, status.Code(err))
	assert.Equal(t, sent, asError(t, err).Sent)
}

func TestClose(t *testing.T) {
	t.Run("K-154", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			tr := s.transport(t, nil)
			require.NoError(t, tr.Close())
			assertClosed(t, list(t.Context(), tr), false)
			assertClosed(t, list(t.Context(), tr, AfterDrain()), false)
			_, err := sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
			assertClosed(t, err, false)
			assert.Empty(t, s.seen())
			assert.NoError(t, tr.Close(), "closing again does nothing")
		})
	})
	t.Run("calls in flight", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, hang).transport(t, nil)
			lifecycle, data, stream := callsInFlight(t, tr)
			require.NoError(t, tr.Close())
			for _, ended := range []<-chan error{lifecycle, data, stream} {
				assertClosed(t, <-ended, true)
			}
		})
	})
	t.Run("waiting for the next attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, fail(failure(codes.Unavailable, retryAfter(8*time.Second)))).transport(t, nil)
			time.AfterFunc(time.Second, func() { tr.Close() })
			start := time.Now()
			e := asError(t, list(t.Context(), tr))
			assertClosed(t, e, true)
			assert.Equal(t, codes.Unavailable, status.Code(e.Last))
			assert.Equal(t, time.Second, time.Since(start))
		})
	})
	t.Run("with extra connections and a sweep due", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			tr := serve(t, hang).transport(t, nil)
			openStreams(t, tr, 100)()
			require.NoError(t, tr.Close())
		})
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, hang)
		tr := s.transport(t, func(c *Config) { c.ControlPlane = Endpoint{Target: "127.0.0.2:2", Plaintext: true} })
		lifecycle, data, stream := callsInFlight(t, tr)
		tr.Drain()
		assertClosed(t, <-data, true)
		assertClosed(t, <-stream, true)
		select {
		case err := <-lifecycle:
			t.Errorf("a lifecycle call in flight ended: %v", err)
		default:
		}

		_, err := sandboxv1.NewSandboxServiceClient(tr).ReadFile(t.Context(), &sandboxv1.ReadFileRequest{}, AfterDrain())
		assertClosed(t, err, false)
		assertClosed(t, list(t.Context(), tr), false)

		before := len(s.seen())
		require.Error(t, deleting(&sandboxv1.DeleteSandboxRequest{}, AfterDrain(), NoRetry())(t.Context(), tr), "the server hangs")
		assert.Len(t, s.seen(), before+1)

		require.NoError(t, tr.Close())
		assertClosed(t, <-lifecycle, true)
	})
}

// brokenStream fails where grpc-go's own streams do not.
type brokenStream struct{ grpc.ClientStream }

func (brokenStream) Header() (metadata.MD, error) { return nil, errRefused }
func (brokenStream) CloseSend() error             { return errRefused }

func TestErrorsOfForeignStreamsAreTranslated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := serve(t, empty).transport(t, func(c *Config) {
			c.DialOptions = append(c.DialOptions, grpc.WithStreamInterceptor(
				func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
					s, err := open(ctx, desc, cc, method, opts...)
					return brokenStream{s}, err
				}))
		})
		stream, err := sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
		require.NoError(t, err)
		_, err = stream.Header()
		assert.ErrorIs(t, asError(t, err), errRefused)
		assert.ErrorIs(t, asError(t, stream.CloseSend()), errRefused)
	})
}

func TestForeignInterceptorsSeeMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, empty)
		var requests []proto.Message
		tr := s.transport(t, func(c *Config) {
			c.DialOptions = append(c.DialOptions, grpc.WithUnaryInterceptor(
				func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
					requests = append(requests, req.(proto.Message))
					return invoke(ctx, method, req, reply, cc, opts...)
				}))
		})
		require.NoError(t, createOnce(t.Context(), tr))
		require.Len(t, requests, 1)
		assert.Equal(t, "r", requests[0].(*sandboxv1.CreateSandboxRequest).GetRequestId())
	})
}
