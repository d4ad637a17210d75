package cwsandbox

import (
	"crypto/x509"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
)

func TestClientConfig(t *testing.T) {
	t.Run("defaults", func(t *testing.T) {
		c, err := withKey(nil, nil)
		require.NoError(t, err)
		below := c.transport()
		assert.Equal(t, 300*time.Second, below.RequestTimeout)
		assert.Equal(t, 30*time.Second, below.RetryBudget)
		assert.Empty(t, below.Integration)
		assert.NotEmpty(t, below.Version)
		assert.Nil(t, below.RootCAs)
		require.NotNil(t, below.Logger)
		assert.False(t, below.Logger.Enabled(t.Context(), slog.LevelError), "silent")
	})
	t.Run("options", func(t *testing.T) {
		roots, logger := x509.NewCertPool(), slog.Default()
		one, two := grpc.WithUserAgent("one"), grpc.WithUserAgent("two")
		c, err := withKey(nil,
			WithRequestTimeout(time.Second), WithRetryBudget(0), WithIntegration("tool"), WithRootCAs(roots), WithLogger(logger),
			WithDialOptions(one, nil), WithDialOptions(two))
		require.NoError(t, err)
		below := c.transport()
		assert.Equal(t, time.Second, below.RequestTimeout)
		assert.Zero(t, below.RetryBudget)
		assert.Equal(t, "tool", below.Integration)
		assert.Same(t, roots, below.RootCAs)
		assert.Same(t, logger, below.Logger)
		assert.Len(t, below.DialOptions, 2)
	})
	t.Run("no logger is a silent one", func(t *testing.T) {
		c, err := withKey(nil, WithLogger(slog.Default()), WithLogger(nil))
		require.NoError(t, err)
		assert.False(t, c.logger.Enabled(t.Context(), slog.LevelError))
	})
	t.Run("faults are told together", func(t *testing.T) {
		_, err := withKey(variables{"CWSANDBOX_MAX_LIFETIME": "soon"}, WithBaseURL("ftp://h"), WithRequestTimeout(0))
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Len(t, e.Violations, 3)
		assert.Equal(t, "new client", e.Op)
		assert.Equal(t, "request timeout", e.Violations[0].Field)
		assert.Equal(t, "CWSANDBOX_MAX_LIFETIME", e.Violations[1].Field)
		assert.Equal(t, "WithBaseURL", e.Violations[2].Field)
	})
	t.Run("the kind of credential can be shown", func(t *testing.T) {
		c, err := withKey(nil)
		require.NoError(t, err)
		assert.Equal(t, "API key", c.credentialKind)
	})
}
