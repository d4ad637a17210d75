package transport

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func get(ctx context.Context, tr *Transport) error {
	_, err := sandboxv1.NewSandboxServiceClient(tr).GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: "sb-1"})
	return err
}

func TestCredentials(t *testing.T) {
	// rotating hands out another key each time.
	rotating := func(c *Config) {
		keys := []string{"one", "two", "three"}
		c.Credentials = func(ctx context.Context) (map[string]string, error) {
			defer func() { keys = keys[1:] }()
			return bearer(keys[0])(ctx)
		}
	}
	keysSeen := func(s *server) (keys []string) {
		for _, call := range s.seen() {
			keys = append(keys, call.header["authorization"]...)
		}
		return keys
	}
	t.Run("K-030", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			tr := s.transport(t, rotating)
			require.NoError(t, get(t.Context(), tr))
			require.NoError(t, get(t.Context(), tr))
			assert.Equal(t, []string{"Bearer one", "Bearer two"}, keysSeen(s))
		})
	})
	t.Run("K-031", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			cause := errors.New("vault sealed")
			tr := s.transport(t, func(c *Config) {
				c.Credentials = func(context.Context) (map[string]string, error) { return nil, cause }
			})
			err := get(t.Context(), tr)
			assert.ErrorIs(t, err, rpcerr.ErrCredentials)
			assert.ErrorIs(t, err, cause)
			assert.Equal(t, codes.Unauthenticated, status.Code(err))
			assert.False(t, asError(t, err).Sent)

			_, err = sandboxv1.NewSandboxServiceClient(tr).StreamExec(t.Context())
			assert.ErrorIs(t, err, cause)
			assert.Empty(t, s.seen())
			assert.Zero(t, s.listener.conns.Load())
		})
	})
	t.Run("K-033", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, script(failure(codes.Unavailable), failure(codes.Unavailable)))
			require.NoError(t, get(t.Context(), s.transport(t, rotating)))
			assert.Equal(t, []string{"Bearer one", "Bearer two", "Bearer three"}, keysSeen(s))
		})
	})
	t.Run("the callback sees the deadline and does not lend its timeout to the caller", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			tr := s.transport(t, func(c *Config) {
				c.Credentials = func(ctx context.Context) (map[string]string, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}
			})
			start := time.Now()
			err := get(t.Context(), tr)
			assert.Equal(t, pollTimeout, time.Since(start))
			assert.ErrorIs(t, err, rpcerr.ErrCredentials)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)

			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			assert.ErrorIs(t, get(ctx, tr), context.DeadlineExceeded)
		})
	})
	t.Run("a value that cannot be sent is not shown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			err := get(t.Context(), s.transport(t, func(c *Config) { c.Credentials = bearer("secret\n") }))
			assert.ErrorIs(t, err, rpcerr.ErrCredentials)
			assert.NotContains(t, err.Error(), "secret")
		})
	})
	t.Run("the caller's metadata is kept but for our keys", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, empty)
			ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-1", "Authorization", "Bearer other")
			require.NoError(t, get(ctx, s.transport(t, nil)))
			header := s.seen()[0].header
			assert.Equal(t, []string{"00-1"}, header["traceparent"])
			assert.Equal(t, []string{"Bearer k"}, header["authorization"])
		})
	})
}

func TestHeaders(t *testing.T) {
	header := func(t *testing.T, change func(*Config)) metadata.MD {
		s := serve(t, empty)
		require.NoError(t, get(t.Context(), s.transport(t, change)))
		return s.seen()[0].header
	}
	t.Run("K-035", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h := header(t, nil)
			assert.Equal(t, []string{"v1.2.3"}, h["x-cwsandbox-client-version"])
			assert.True(t, strings.HasPrefix(h["user-agent"][0], "cwsandbox-go/v1.2.3 grpc-go/"), h["user-agent"])

			h = header(t, func(c *Config) { c.Version = "" })
			assert.Equal(t, []string{"unknown"}, h["x-cwsandbox-client-version"])
		})
	})
	t.Run("K-036", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			assert.NotContains(t, header(t, nil), "x-sandbox-integration")
			h := header(t, func(c *Config) { c.Integration = "runner" })
			assert.Equal(t, []string{"runner"}, h["x-sandbox-integration"])
		})
	})
}

// asError returns the one type that all errors of the transport have.
func asError(t testing.TB, err error) *rpcerr.Error {
	t.Helper()
	e, ok := err.(*rpcerr.Error)
	require.Truef(t, ok, "%T: %v", err, err)
	return e
}
