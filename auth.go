package cwsandbox

import (
	"log/slog"
	"strings"
	"unicode"
)

// Credential is what a request is authenticated with. However it is printed, logged or encoded, it shows its kind and
// nothing secret.
type Credential struct {
	kind     string
	metadata map[string]string
}

// BearerToken is the credential of an API key or another token that the service takes as such. Blanks around it are
// dropped; an empty token, or one with control characters inside, fails the request that it is used for.
func BearerToken(token string) Credential {
	return Credential{kind: "bearer token", metadata: map[string]string{"authorization": "Bearer " + strings.TrimSpace(token)}}
}

// valid reports whether the credential can be sent.
func (c Credential) valid() bool {
	for _, value := range c.metadata {
		if strings.TrimSpace(strings.TrimPrefix(value, "Bearer ")) == "" || strings.ContainsFunc(value, unicode.IsControl) {
			return false
		}
	}
	return len(c.metadata) > 0
}

// String shows the kind of credential.
func (c Credential) String() string { return "cwsandbox.Credential(" + c.kind + " REDACTED)" }

// GoString is String.
func (c Credential) GoString() string { return c.String() }

// LogValue is String.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalText is String.
func (c Credential) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
