package cwsandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const secret = "Sesame"

// authorization is the header that a client sends.
func authorization(t *testing.T, env variables, opts ...ClientOption) string {
	t.Helper()
	c, err := newClientConfig(env.get, opts)
	require.NoError(t, err)
	headers, err := c.transport().Credentials(t.Context())
	require.NoError(t, err)
	require.Len(t, headers, 1)
	return headers["authorization"]
}

func TestAPIKey(t *testing.T) {
	key := variables{"CWSANDBOX_API_KEY": " k\n"}

	t.Run("K-026", func(t *testing.T) {
		for name, opts := range map[string][]ClientOption{"none": nil, "blank": {WithAPIKey(" ")}} {
			_, err := newClientConfig(variables{}.get, opts)
			require.ErrorIs(t, err, ErrUnauthenticated, name)
			assert.NotErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "CWSANDBOX_API_KEY")
			assert.ErrorContains(t, err, "WithAPIKey")
		}
	})
	t.Run("K-027", func(t *testing.T) {
		assert.Equal(t, "Bearer k", authorization(t, key))
		_, err := newClientConfig(variables{"CWSANDBOX_API_KEY": "  "}.get, nil)
		assert.ErrorIs(t, err, ErrUnauthenticated)
	})
	t.Run("K-028", func(t *testing.T) {
		for _, bad := range []string{secret + "\x00b", secret + "\nb", secret + "é"} {
			for name, err := range map[string]error{
				"option":      second(newClientConfig(variables{}.get, []ClientOption{WithAPIKey(bad)})),
				"environment": second(newClientConfig(variables{"CWSANDBOX_API_KEY": bad}.get, nil)),
			} {
				require.ErrorIs(t, err, ErrUnauthenticated, name)
				assert.ErrorIs(t, err, ErrInvalidArgument)
				assert.NotContains(t, err.Error(), secret)
			}
		}
	})
	t.Run("K-029", func(t *testing.T) {
		assert.Equal(t, "Bearer option", authorization(t, key, WithAPIKey(" option ")))
		assert.Equal(t, "Bearer later", authorization(t, key, WithAPIKey("option"), WithAPIKey("later")))
	})
	t.Run("a blank option is no key, whatever the environment has", func(t *testing.T) {
		_, err := newClientConfig(key.get, []ClientOption{WithAPIKey("")})
		assert.ErrorIs(t, err, ErrUnauthenticated)
	})
}

func second[T any](_ T, err error) error { return err }

func TestCredentials(t *testing.T) {
	bubbleWith := func(t *testing.T, name string, ask func(context.Context) (Credential, error), test func(*testing.T, *fake, *Client)) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, c := fakeClient(t, WithCredentials(ask))
				test(t, f, c)
			})
		})
	}

	asked := 0
	bubbleWith(t, "K-030", func(context.Context) (Credential, error) {
		asked++
		return BearerToken(fmt.Sprintf("token-%d", asked)), nil
	}, func(t *testing.T, f *fake, c *Client) {
		var sent []string
		f.get = func(ctx context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			headers, _ := metadata.FromIncomingContext(ctx)
			sent = append(sent, headers.Get("authorization")...)
			return record(id, sandboxv1.State_STATE_RUNNING), nil
		}
		for range 2 {
			_, err := c.Attach(t.Context(), "sb-1")
			require.NoError(t, err)
		}
		assert.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, sent)
	})

	lost := errors.New("the vault is sealed")
	bubbleWith(t, "K-031", func(context.Context) (Credential, error) { return Credential{}, lost },
		func(t *testing.T, f *fake, c *Client) {
			_, err := c.Attach(t.Context(), "sb-1")
			require.ErrorIs(t, err, ErrUnauthenticated)
			assert.ErrorIs(t, err, lost)
			assert.ErrorContains(t, err, "attach sb-1: ")
			assert.ErrorContains(t, err, "the vault is sealed")
			assert.Zero(t, f.count("GetSandbox"))
		})

	for name, bad := range map[string]Credential{
		"zero credential":  {},
		"blank token":      BearerToken(" "),
		"unsendable token": BearerToken(secret + "\r\nx: y"),
	} {
		bubbleWith(t, name, func(context.Context) (Credential, error) { return bad, nil }, func(t *testing.T, f *fake, c *Client) {
			_, err := c.Attach(t.Context(), "sb-1")
			require.ErrorIs(t, err, ErrUnauthenticated)
			assert.NotContains(t, err.Error(), secret)
			assert.Zero(t, f.count("GetSandbox"))
		})
	}

	t.Run("nil", func(t *testing.T) {
		_, err := withKey(nil, WithCredentials(nil))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "credentials")
	})
	t.Run("win over any key", func(t *testing.T) {
		ask := func(context.Context) (Credential, error) { return BearerToken("asked"), nil }
		assert.Equal(t, "Bearer asked", authorization(t, variables{"CWSANDBOX_API_KEY": "env"}, WithCredentials(ask), WithAPIKey("key")))
	})
}

// prints is everything that an unwary program may do with a value.
func prints(t *testing.T, v any) string {
	t.Helper()
	var b bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewTextHandler(&b, nil)).Info("text", "v", v)
	slog.New(slog.NewJSONHandler(&b, nil)).Info("json", "v", v)
	if encoded, err := json.Marshal(v); err == nil {
		b.Write(encoded)
	}
	return b.String()
}

func TestNothingPrintsSecrets(t *testing.T) {
	hidden := func(t *testing.T, shown string) {
		t.Helper()
		assert.NotContains(t, shown, secret)
		assert.NotContains(t, shown, fmt.Sprintf("%x", secret))
	}

	t.Run("K-032", func(t *testing.T) {
		client, err := NewClient(WithAPIKey(secret), WithBaseURL("http://127.0.0.1:1"))
		require.NoError(t, err)
		defer client.Close()
		hidden(t, fmt.Sprintf("%+v %#v", client, client))
		shown := prints(t, client)
		hidden(t, shown)
		assert.Contains(t, shown, "http://127.0.0.1:1")
		assert.Contains(t, shown, "API key")
	})
	t.Run("configuration", func(t *testing.T) {
		config, err := newClientConfig(variables{"CWSANDBOX_API_KEY": secret}.get, []ClientOption{WithAPIKey(secret)})
		require.NoError(t, err)
		hidden(t, prints(t, config))
		hidden(t, prints(t, &config))
	})
	t.Run("credential", func(t *testing.T) {
		credential := BearerToken(secret)
		shown := prints(t, credential)
		hidden(t, shown)
		assert.Contains(t, shown, `"REDACTED"`)
		assert.Equal(t, "REDACTED", credential.String())
		hidden(t, prints(t, &credential))
		hidden(t, prints(t, struct{ inner Credential }{credential}))
		hidden(t, prints(t, map[string][]Credential{"k": {credential}}))
	})
	t.Run("options", func(t *testing.T) {
		hidden(t, prints(t, WithAPIKey(secret)))
		hidden(t, prints(t, WithEnv("NAME", secret)))
		hidden(t, prints(t, WithFile("/f", []byte(secret))))
		hidden(t, prints(t, Defaults(WithEnv("NAME", secret), WithFile("/f", []byte(secret)))))
	})
}
