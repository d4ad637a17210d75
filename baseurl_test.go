package cwsandbox

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// variables is an environment.
type variables map[string]string

func (v variables) get(name string) string { return v[name] }

// withKey resolves a configuration whose key does not matter.
func withKey(env variables, opts ...ClientOption) (clientConfig, error) {
	return newClientConfig(env.get, append([]ClientOption{WithAPIKey("k")}, opts...))
}

func TestBaseURL(t *testing.T) {
	accepted := func(name, raw, target string, plaintext bool, opts ...ClientOption) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			c, err := withKey(nil, append(opts, WithBaseURL(raw))...)
			require.NoError(t, err, raw)
			assert.Equal(t, target, c.transport().Base.Target, raw)
			assert.Equal(t, plaintext, c.transport().Base.Plaintext, raw)
		})
	}
	refused := func(name, raw string, texts ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			_, err := withKey(nil, WithBaseURL(raw))
			require.ErrorIs(t, err, ErrInvalidArgument, raw)
			for _, text := range append(texts, "new client", "WithBaseURL") {
				assert.ErrorContains(t, err, text)
			}
			assert.NotContains(t, err.Error(), "secret")
		})
	}

	t.Run("K-001", func(t *testing.T) {
		c, err := withKey(nil)
		require.NoError(t, err)
		assert.Equal(t, "https://api.cwsandbox.com", c.baseURL)
		assert.Equal(t, "api.cwsandbox.com:443", c.transport().Base.Target)
		assert.False(t, c.transport().Base.Plaintext)
	})
	t.Run("K-002", func(t *testing.T) {
		for given, target := range map[string]string{
			" https://h.example/ ": "h.example:443",
			"  ":                   "api.cwsandbox.com:443",
		} {
			c, err := withKey(variables{"CWSANDBOX_BASE_URL": given})
			require.NoError(t, err)
			assert.Equal(t, target, c.transport().Base.Target)
		}
	})
	t.Run("K-003", func(t *testing.T) {
		env := variables{"CWSANDBOX_BASE_URL": "https://b"}
		for option, target := range map[string]string{"https://a": "a:443", "  ": "b:443"} {
			c, err := withKey(env, WithBaseURL(option))
			require.NoError(t, err)
			assert.Equal(t, target, c.transport().Base.Target)
		}
	})
	accepted("K-004", "https://h.example:8443", "h.example:8443", false)
	accepted("K-004", "https://[::1]:8443", "[::1]:8443", false)
	accepted("K-005", "https://h.example///", "h.example:443", false)
	accepted("K-006", "HTTPS://H.example", "h.example:443", false)
	accepted("K-007", "http://localhost", "localhost:80", true)
	accepted("K-008", "http://127.0.0.1:7643", "127.0.0.1:7643", true)
	accepted("K-008", "http://[::1]:7643", "[::1]:7643", true)
	accepted("K-008", "http://x.localhost:1", "x.localhost:1", true)
	accepted("K-008", "http://127.8.9.1", "127.8.9.1:80", true)
	refused("K-009", "http://h.example", "WithInsecureTransport")
	refused("K-009", "http://localhost.example", "WithInsecureTransport")
	refused("K-009", "http://128.0.0.1", "WithInsecureTransport")
	accepted("K-010", "http://h.example", "h.example:80", true, WithInsecureTransport())
	refused("K-011", "https://h/api", "/api")
	refused("K-012", "ftp://h", "https", "http", "ftp")
	refused("K-012", "h:443", "http://", "https://h:443")
	refused("K-012", "h.example", "http://", "https://")
	refused("K-012", "h:secret", "https://")
	refused("K-013", "https://h?x=secret", "query")
	refused("K-013", "https://h#secret", "fragment")
	refused("K-013", "https://h/?", "query")
	refused("K-014", "https://u:secret@h", "password")
	refused("K-014", "u:secret@h", "password")
	refused("K-014", "u:secret@h://x", "password")
	refused("K-014", "https://u:pa/secret@h", "password")
	refused("K-015", "https://", "host")
	refused("K-015", "https://:443", "host")
	refused("K-015", "https:///", "host")
	refused("K-015", "https://a b", "host")
	refused("K-015", "https://::1", "host")
	refused("K-015", "https://[::1", "host")
	refused("K-015", "https://h%41", "host")
	refused("K-016", "https://h:0", "port")
	refused("K-016", "https://h:70000", "port")
	refused("K-016", "https://h:x", "port")
	refused("K-016", "https://h:", "port")
	refused("K-016", "https://h:-1", "port")

	t.Run("the environment's is named in the error", func(t *testing.T) {
		_, err := withKey(variables{"CWSANDBOX_BASE_URL": "ftp://h"})
		assert.ErrorContains(t, err, "CWSANDBOX_BASE_URL")
	})
}

func TestControlPlane(t *testing.T) {
	for _, row := range []struct {
		name, want string
		opts       []ClientOption
	}{
		{"K-018", "api.coreweave.com:443", nil},
		{"K-018", "api.coreweave.com:443", []ClientOption{WithBaseURL("https://API.cwsandbox.com:443/")}},
		{"K-019", "127.0.0.1:1", []ClientOption{WithBaseURL("http://127.0.0.1:1")}},
		{"K-020", "c:443", []ClientOption{WithControlPlaneURL("https://c")}},
		{"K-020", "c:443", []ClientOption{WithBaseURL("https://b"), WithControlPlaneURL("https://c")}},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, err := withKey(nil, row.opts...)
			require.NoError(t, err)
			assert.Equal(t, row.want, c.transport().ControlPlane.Target)
		})
	}
	t.Run("has the rules of the base URL", func(t *testing.T) {
		_, err := withKey(nil, WithControlPlaneURL("http://c"))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "WithControlPlaneURL")
	})
}

func TestServerURLPrintsShort(t *testing.T) {
	for raw, want := range map[string]string{
		"HTTPS://H:443/":     "https://h",
		"http://h:80":        "http://h",
		"http://h:443":       "http://h:443",
		"https://[::1]:8443": "https://[::1]:8443",
		"https://[::1]":      "https://[::1]",
	} {
		u, err := parseServerURL(raw)
		require.NoError(t, err)
		assert.Equal(t, want, u.String())
	}
}

func FuzzBaseURL(f *testing.F) {
	for _, raw := range []string{
		"https://h", "http://[::1]:8443//", "https://u:Sesame@h", "h:443", "Sesame@", "https://h/?k=Sesame", "https://a%zz:1",
		"HTTP://\x00", "https://[fe80::1%25eth0]:1", "://", "https://h:+80",
	} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := parseServerURL(raw)
		if err != nil {
			require.NotContains(t, err.Error(), "\n")
			user, _, found := strings.Cut(raw, "@")
			require.False(t, found && len(user) > 20 && strings.Contains(err.Error(), user), "the error shows the user")
			return
		}
		again, err := parseServerURL(u.String())
		require.NoError(t, err, "%q became %q", raw, u)
		require.Equal(t, u, again)
		require.NotEmpty(t, u.host)
	})
}
