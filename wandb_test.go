package cwsandbox

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// noKey takes back the API key that fakeClient gives.
var noKey = clientOption(func(c *clientConfig) { c.apiKey = nil })

func wandbHeaders(t *testing.T, env variables, opts ...ClientOption) map[string]string {
	t.Helper()
	c, err := newClientConfig(env.get, opts)
	require.NoError(t, err)
	assert.Equal(t, "W&B key", c.credentialKind)
	headers, err := c.transport().Credentials(t.Context())
	require.NoError(t, err)
	return headers
}

func TestWandBHeaders(t *testing.T) {
	t.Run("all that was given", func(t *testing.T) {
		given := WandB{APIKey: " k\n", Entity: " team", Project: "p ", Host: "acme.wandb.io"}
		assert.Equal(t, map[string]string{
			"x-wandb-api-key": "k", "x-entity-id": "team", "x-project-name": "p", "x-wandb-host": "acme.wandb.io",
			"x-wandb-sdk-version": version(),
		}, wandbHeaders(t, nil, WithWandB(given)))
	})
	t.Run("blank values are not sent", func(t *testing.T) {
		assert.Equal(t, map[string]string{"x-wandb-api-key": "k", "x-wandb-sdk-version": version()},
			wandbHeaders(t, variables{"WANDB_ENTITY": " "}, WithWandB(WandB{APIKey: "k", Project: " ", Host: " "})))
	})
	t.Run("the environment fills what is blank", func(t *testing.T) {
		env := variables{"WANDB_API_KEY": " env\n", "WANDB_ENTITY": "e", "WANDB_PROJECT": "p", "CWSANDBOX_API_KEY": "never"}
		assert.Equal(t, map[string]string{
			"x-wandb-api-key": "env", "x-entity-id": "mine", "x-project-name": "p", "x-wandb-sdk-version": version(),
		}, wandbHeaders(t, env, WithWandB(WandB{APIKey: " ", Entity: "mine"})))
	})
	t.Run("the environment alone asks for nothing", func(t *testing.T) {
		assert.Equal(t, "Bearer k", authorization(t, variables{"WANDB_API_KEY": "w", "CWSANDBOX_API_KEY": "k"}))
	})
	t.Run("the later option wins whole", func(t *testing.T) {
		headers := wandbHeaders(t, nil, WithWandB(WandB{APIKey: "a", Entity: "e"}), WithWandB(WandB{APIKey: "b"}))
		assert.Equal(t, "b", headers["x-wandb-api-key"])
		assert.NotContains(t, headers, "x-entity-id")
	})
}

func TestWandBNetrc(t *testing.T) {
	netrc := func(t *testing.T, text string) variables {
		home := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(home, ".netrc"), []byte(text), 0o600))
		return variables{"HOME": home, "USERPROFILE": home}
	}
	key := func(t *testing.T, env variables, w WandB) string {
		t.Helper()
		return wandbHeaders(t, env, WithWandB(w))["x-wandb-api-key"]
	}

	const both = "machine wandb.ai login user password old\nmachine api.wandb.ai\n\tlogin user\n\tpassword new # mine\n"
	t.Run("api.wandb.ai before wandb.ai", func(t *testing.T) {
		assert.Equal(t, "new", key(t, netrc(t, both), WandB{}))
		assert.Equal(t, "old", key(t, netrc(t, "machine wandb.ai password old"), WandB{}))
	})
	t.Run("the host of a dedicated cloud before both", func(t *testing.T) {
		env := netrc(t, both+"machine acme.wandb.io password own")
		assert.Equal(t, "own", key(t, env, WandB{Host: "acme.wandb.io"}))
		assert.Equal(t, "new", key(t, env, WandB{Host: "other.wandb.io"}))
	})
	t.Run("option, then environment, then file", func(t *testing.T) {
		env := netrc(t, both)
		env["WANDB_API_KEY"] = "env"
		assert.Equal(t, "env", key(t, env, WandB{}))
		assert.Equal(t, "option", key(t, env, WandB{APIKey: "option"}))
	})
	t.Run("NETRC names another file", func(t *testing.T) {
		env := netrc(t, both)
		other := filepath.Join(t.TempDir(), "other")
		require.NoError(t, os.WriteFile(other, []byte("machine wandb.ai password named"), 0o600))
		env["NETRC"] = other
		assert.Equal(t, "named", key(t, env, WandB{}))
	})
	for name, text := range map[string]string{
		"comment":         "# machine wandb.ai password no\n",
		"other machine":   "machine example.com password no\n",
		"default":         "machine example.com login a default password no\n",
		"macro":           "macdef init\nmachine wandb.ai password no\n\nmachine example.com password no\n",
		"login like that": "machine example.com login machine account wandb.ai password no\n",
		"blank":           "",
	} {
		t.Run("none: "+name, func(t *testing.T) {
			_, err := newClientConfig(netrc(t, text).get, []ClientOption{WithWandB(WandB{})})
			require.ErrorIs(t, err, ErrUnauthenticated)
			assert.NotErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "WANDB_API_KEY")
		})
	}
	t.Run("after a macro", func(t *testing.T) {
		assert.Equal(t, "k", key(t, netrc(t, "macdef init\ncd /\n\nmachine wandb.ai password k"), WandB{}))
	})
	t.Run("a file that cannot be read is told", func(t *testing.T) {
		_, err := newClientConfig(variables{"NETRC": t.TempDir()}.get, []ClientOption{WithWandB(WandB{})})
		require.ErrorIs(t, err, ErrUnauthenticated)
		var path *os.PathError
		assert.ErrorAs(t, err, &path)
	})
}

func TestWandBRefused(t *testing.T) {
	t.Run("conflicts", func(t *testing.T) {
		w := WithWandB(WandB{APIKey: "k"})
		ask := WithCredentials(func(context.Context) (Credential, error) { return BearerToken("t"), nil })
		for name, opts := range map[string][]ClientOption{
			"key": {w, WithAPIKey("k")}, "blank key": {WithAPIKey(""), w}, "callback": {ask, w},
		} {
			_, err := newClientConfig(variables{}.get, opts)
			require.ErrorIs(t, err, ErrInvalidArgument, name)
			assert.ErrorContains(t, err, "WithAPIKey", name)
		}
	})
	t.Run("a key that cannot be sent", func(t *testing.T) {
		for name, err := range map[string]error{
			"option":      second(newClientConfig(variables{}.get, []ClientOption{WithWandB(WandB{APIKey: secret + "\x00"})})),
			"environment": second(newClientConfig(variables{"WANDB_API_KEY": secret + "é"}.get, []ClientOption{WithWandB(WandB{})})),
		} {
			require.ErrorIs(t, err, ErrUnauthenticated, name)
			assert.ErrorIs(t, err, ErrInvalidArgument)
			assert.NotContains(t, err.Error(), secret)
		}
	})
	t.Run("values", func(t *testing.T) {
		_, err := newClientConfig(variables{"WANDB_ENTITY": "é"}.get,
			[]ClientOption{WithWandB(WandB{APIKey: "k", Project: "a\nb", Host: "https://acme.wandb.io"})})
		var e *Error
		require.ErrorAs(t, err, &e)
		require.Len(t, e.Violations, 3)
		for i, field := range []string{"wandb.entity", "wandb.project", "wandb.host"} {
			assert.Equal(t, field, e.Violations[i].Field)
		}
	})
	for _, host := range []string{"acme.example.com", ".wandb.io", "wandb.io", "acme.wandb.io/path", "acme.wandb.io:443", "a..b.wandb.io", "-a.wandb.io"} {
		t.Run("host "+host, func(t *testing.T) {
			_, err := newClientConfig(variables{}.get, []ClientOption{WithWandB(WandB{APIKey: "k", Host: host})})
			assert.ErrorIs(t, err, ErrInvalidArgument)
		})
	}
	t.Run("plaintext to another machine", func(t *testing.T) {
		opts := []ClientOption{WithWandB(WandB{APIKey: "k"}), WithBaseURL("http://sandboxes.example.com")}
		_, err := newClientConfig(variables{}.get, opts)
		require.ErrorIs(t, err, ErrInvalidArgument)
		_, err = newClientConfig(variables{"WANDB_SANDBOX_BASE_URL": "http://sandboxes.example.com"}.get, opts[:1])
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "WANDB_SANDBOX_BASE_URL")
		_, err = newClientConfig(variables{}.get, append(opts, WithInsecureTransport()))
		assert.NoError(t, err)
	})
}

func TestWandBBaseURL(t *testing.T) {
	env := variables{"CWSANDBOX_BASE_URL": "https://plain.example.com", "WANDB_SANDBOX_BASE_URL": "https://wandb.example.com/"}
	w := WithWandB(WandB{APIKey: "k"})
	for name, test := range map[string]struct {
		env  variables
		opts []ClientOption
		want string
	}{
		"option":               {env, []ClientOption{w, WithBaseURL("https://option.example.com")}, "https://option.example.com"},
		"environment of W&B":   {env, []ClientOption{w}, "https://wandb.example.com"},
		"environment":          {variables{"CWSANDBOX_BASE_URL": "https://plain.example.com"}, []ClientOption{w}, "https://plain.example.com"},
		"built-in":             {nil, []ClientOption{w}, defaultBaseURL},
		"not for another kind": {env, []ClientOption{WithAPIKey("k")}, "https://plain.example.com"},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := newClientConfig(test.env.get, test.opts)
			require.NoError(t, err)
			assert.Equal(t, test.want, c.baseURL)
		})
	}
}

func TestWandBIsHidden(t *testing.T) {
	w := WandB{APIKey: secret, Entity: "team"}
	for name, v := range map[string]any{
		"value": w, "pointer": &w, "list": []WandB{w}, "option": WithWandB(w), "credential": w.Credential(),
	} {
		assert.NotContains(t, prints(t, v), secret, name)
	}
	assert.Equal(t, `WandB(key REDACTED, entity "team", project "", host "")`, w.String())
	c, err := newClientConfig(variables{}.get, []ClientOption{WithWandB(w)})
	require.NoError(t, err)
	assert.NotContains(t, prints(t, c), secret)
}

func TestWandBCalls(t *testing.T) {
	sent := func(t *testing.T, option ClientOption) (headers metadata.MD, err error) {
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t, noKey, option)
			f.get = func(ctx context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
				headers, _ = metadata.FromIncomingContext(ctx)
				return record(id, sandboxv1.State_STATE_RUNNING), nil
			}
			_, err = c.Attach(t.Context(), "sb-1")
		})
		return headers, err
	}
	w := WandB{APIKey: "k", Entity: "team", Project: "p", Host: "acme.wandb.io"}
	for name, option := range map[string]ClientOption{
		"option":   WithWandB(w),
		"callback": WithCredentials(func(context.Context) (Credential, error) { return w.Credential(), nil }),
	} {
		t.Run(name, func(t *testing.T) {
			headers, err := sent(t, option)
			require.NoError(t, err)
			assert.Empty(t, headers.Get("authorization"))
			for key, want := range map[string]string{
				"x-wandb-api-key": "k", "x-entity-id": "team", "x-project-name": "p", "x-wandb-host": "acme.wandb.io",
				"x-wandb-sdk-version": version(), "x-cwsandbox-client-version": version(),
			} {
				assert.Equal(t, []string{want}, headers.Get(key), key)
			}
		})
	}
	t.Run("a bad one of a callback", func(t *testing.T) {
		bad := WandB{APIKey: "k", Host: "example.com"}
		_, err := sent(t, WithCredentials(func(context.Context) (Credential, error) { return bad.Credential(), nil }))
		require.ErrorIs(t, err, ErrUnauthenticated)
		assert.ErrorContains(t, err, ".wandb.io")
		var e *Error
		require.True(t, errors.As(err, &e))
	})
}
