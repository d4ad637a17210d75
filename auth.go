package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Credential is what a request is authenticated with: see [BearerToken] and [WandB.Credential]. However it is printed,
// logged or encoded, it shows nothing secret. The zero value fails the request that it is used for.
type Credential struct {
	// headers is a function so that not even a reflecting printer finds the secret, wherever the credential is nested. Its
	// error does not show it either.
	headers func() (map[string]string, error)
}

// BearerToken is the credential of an API key or another token that the service takes as such. Blanks around it are
// dropped; an empty token, or one of other than printable ASCII characters, fails the request that it is used for.
func BearerToken(token string) Credential {
	token = strings.TrimSpace(token)
	return Credential{func() (map[string]string, error) {
		if err := checkToken(token); err != nil {
			return nil, fmt.Errorf("the token %w", err)
		}
		return map[string]string{"authorization": "Bearer " + token}, nil
	}}
}

const redacted = "REDACTED"

// String returns REDACTED.
func (c Credential) String() string { return redacted }

// Format writes REDACTED, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { io.WriteString(f, redacted) }

// LogValue returns REDACTED.
func (c Credential) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, for JSON too.
func (c Credential) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// metadata is what goes with a request.
func (c Credential) metadata() (map[string]string, error) {
	if c.headers == nil {
		return nil, errors.New("the credential is empty")
	}
	return c.headers()
}

// checkToken says what keeps a token from being sent, without showing it.
func checkToken(token string) error {
	switch {
	case token == "":
		return errors.New("is blank")
	case !printableASCII(token):
		return errors.New("contains a character that is not printable ASCII")
	}
	return nil
}

func printableASCII(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

// asking makes the caller's function the one that the transport asks before each attempt.
func asking(fn func(context.Context) (Credential, error)) func(context.Context) (map[string]string, error) {
	return func(ctx context.Context) (map[string]string, error) {
		credential, err := fn(ctx)
		if err != nil {
			return nil, err
		}
		return credential.metadata()
	}
}
