package cwsandbox

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lifetimeOf is what a create of a client with this environment sends.
func lifetimeOf(t *testing.T, env variables, opts ...Option) int32 {
	t.Helper()
	client, err := withKey(env)
	require.NoError(t, err)
	create, err := newCreateConfig("create", client.environment, nil, opts)
	require.NoError(t, err)
	return create.spec().GetMaxLifetimeSeconds()
}

func TestEnvironment(t *testing.T) {
	const lifetime = "CWSANDBOX_MAX_LIFETIME"

	t.Run("K-021", func(t *testing.T) {
		for _, text := range []string{"90m", "5400", " 1h30m\n"} {
			assert.Equal(t, int32(5400), lifetimeOf(t, variables{lifetime: text}), text)
		}
		assert.Equal(t, int32(60), lifetimeOf(t, variables{lifetime: "90m"}, WithMaxLifetime(time.Minute)), "an option wins")
	})
	t.Run("K-022", func(t *testing.T) {
		assert.Zero(t, lifetimeOf(t, variables{lifetime: "0"}))
		assert.Equal(t, int32(3600), lifetimeOf(t, variables{lifetime: " "}), "blank is unset")
	})
	t.Run("K-023", func(t *testing.T) {
		for _, text := range []string{"-1", "soon", "-5m", "99999999999", "1000000h", "1.5"} {
			_, err := withKey(variables{lifetime: text})
			require.ErrorIs(t, err, ErrInvalidArgument, text)
			assert.ErrorContains(t, err, lifetime)
			assert.ErrorContains(t, err, text)
			assert.ErrorContains(t, err, "90m")
		}
	})
	t.Run("K-024", func(t *testing.T) { // that the hook obeys is L-136
		const signals = "CWSANDBOX_DISABLE_SIGNAL_HANDLING"
		for text, off := range map[string]bool{"1": true, "true": true, "TRUE": true, "t": true, "0": false, "false": false, "": false} {
			var f faults
			assert.Equal(t, off, readEnvironment(variables{signals: text}.get, &f).ignoreSignals, text)
			assert.Empty(t, f.list, text)
		}
		var logged strings.Builder
		client, err := withKey(variables{signals: "perhaps"}, WithLogger(slog.New(slog.NewTextHandler(&logged, nil))))
		require.NoError(t, err)
		assert.True(t, client.environment.ignoreSignals)
		assert.Contains(t, logged.String(), signals)
		assert.Contains(t, logged.String(), "perhaps")
	})
	t.Run("K-025", func(t *testing.T) {
		env := variables{"CWSANDBOX_API_KEY": "old", "CWSANDBOX_BASE_URL": "https://old", lifetime: "1m"}
		client, err := newClientConfig(env.get, nil)
		require.NoError(t, err)
		env["CWSANDBOX_API_KEY"], env["CWSANDBOX_BASE_URL"], env[lifetime] = "new", "https://new", "2m"
		metadata, err := client.transport().Credentials(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "Bearer old", metadata["authorization"])
		assert.Equal(t, "old:443", client.transport().Base.Target)
		assert.Equal(t, time.Minute, *client.environment.maxLifetime)
	})
}
