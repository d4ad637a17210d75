package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// WandB is what a caller with a Weights & Biases account, whose keys the documentation also calls Forge keys, authenticates
// with: see [WithWandB]. Blanks around the values are dropped, and a blank value is none. Keys of service accounts are
// refused by the service. Such a key reaches serverless sandboxes only, and has the built-in secret store "wandb".
//
// However it is printed, logged or encoded by itself, it shows no key.
type WandB struct {
	APIKey  string // a user's key
	Entity  string // team or user that the sandboxes belong to; optional
	Project string // optional

	// Host is where the account is, for W&B Dedicated Cloud: a name that ends in .wandb.io, without scheme or path. Requests
	// go to the same service all the same. Empty: the public cloud.
	Host string
}

// Credential returns these values, as they are, for a callback of [WithCredentials]. Values that cannot be sent, a blank
// key among them, fail the request that it is used for.
func (w WandB) Credential() Credential {
	w.trim()
	return Credential{func() (map[string]string, error) {
		var f faults
		w.check(&f)
		if err := errors.Join(checkKey(w.APIKey), f.err(call{op: "authenticate"})); err != nil {
			return nil, err
		}
		return w.headers(), nil
	}}
}

// String shows everything but the key.
func (w WandB) String() string {
	return fmt.Sprintf("WandB(key %s, entity %q, project %q, host %q)", redacted, w.Entity, w.Project, w.Host)
}

// Format writes String, whatever the verb.
func (w WandB) Format(f fmt.State, _ rune) { io.WriteString(f, w.String()) }

// LogValue returns String.
func (w WandB) LogValue() slog.Value { return slog.StringValue(w.String()) }

// MarshalText returns String, for JSON too.
func (w WandB) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

func (w *WandB) trim() {
	for _, value := range []*string{&w.APIKey, &w.Entity, &w.Project, &w.Host} {
		*value = strings.TrimSpace(*value)
	}
}

func checkKey(key string) error {
	if err := checkToken(key); err != nil {
		return fmt.Errorf("the W&B key %w", err)
	}
	return nil
}

const wandbDomain = ".wandb.io"

// check looks at all but the key.
func (w WandB) check(f *faults) {
	if !printableASCII(w.Entity) {
		f.add("wandb.entity", "must be printable ASCII, is %q", w.Entity)
	}
	if !printableASCII(w.Project) {
		f.add("wandb.project", "must be printable ASCII, is %q", w.Project)
	}
	name, hosted := strings.CutSuffix(w.Host, wandbDomain)
	if w.Host != "" && (!hosted || !hostLabels(name)) {
		f.add("wandb.host", "must be a host name that ends in %s, without scheme or path, is %q", wandbDomain, w.Host)
	}
}

// hostLabels reports whether text is one or more labels of a host name.
func hostLabels(text string) bool {
	for label := range strings.SplitSeq(text, ".") {
		foreign := strings.ContainsFunc(label, func(r rune) bool {
			return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
		})
		if foreign || label == "" || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

// headers is what goes with a request. The version of this client is with every request anyway, under another name.
func (w WandB) headers() map[string]string {
	headers := map[string]string{"x-wandb-api-key": w.APIKey, "x-wandb-sdk-version": version()}
	for name, value := range map[string]string{
		"x-entity-id": w.Entity, "x-project-name": w.Project, "x-wandb-host": w.Host,
	} {
		if value != "" {
			headers[name] = value
		}
	}
	return headers
}

// WithWandB authenticates with a Weights & Biases key instead of an API key of the service. What w leaves blank comes from
// the environment: the key from WANDB_API_KEY, else from the password of machine api.wandb.ai or wandb.ai, or of w.Host
// before these, in the file that NETRC names, else in the .netrc of the home directory; the others from WANDB_ENTITY and
// WANDB_PROJECT. That file is read once, by [NewClient]. No key anywhere is [ErrUnauthenticated].
//
// The address of the service then comes from WANDB_SANDBOX_BASE_URL before CWSANDBOX_BASE_URL; [WithBaseURL] wins over
// both. CWSANDBOX_API_KEY is not looked at. Together with [WithAPIKey] or [WithCredentials] it is [ErrInvalidArgument]; for
// keys that change there is [WandB.Credential].
func WithWandB(w WandB) ClientOption {
	w.trim()
	return clientOption(func(c *clientConfig) { c.wandb = &wandbConfig{WandB: w} })
}

// wandbConfig is what a client was asked to use.
type wandbConfig struct {
	WandB
	baseURL string
	netrc   error // why there is no key in that file
}

const wandbBaseURL = "WANDB_SANDBOX_BASE_URL"

// readWandB adds what the environment says, if a W&B key was asked for.
func (c *clientConfig) readWandB(getenv func(string) string) {
	w := c.wandb
	if w == nil {
		return
	}
	get := func(name string) string { return strings.TrimSpace(getenv(name)) }
	for name, value := range map[string]*string{
		"WANDB_API_KEY": &w.APIKey, "WANDB_ENTITY": &w.Entity, "WANDB_PROJECT": &w.Project,
	} {
		if *value == "" {
			*value = get(name)
		}
	}
	w.baseURL = get(wandbBaseURL)
	if w.APIKey == "" {
		w.APIKey, w.netrc = netrcPassword(netrcFiles(getenv), w.Host, "api.wandb.ai", "wandb.ai")
	}
	w.check(&c.faults)
	if c.apiKey != nil || c.credentials != nil {
		c.faults.add("wandb", "cannot be combined with WithAPIKey or WithCredentials")
	}
}

// resolveWandB makes the key one function, and forgets the key itself.
func (c *clientConfig) resolveWandB() error {
	w := c.wandb
	c.wandb = nil
	op := call{op: "new client"}
	if w.APIKey == "" {
		text, causes := "no W&B key: set WANDB_API_KEY, log in with wandb, or fill in WandB.APIKey", []error{ErrUnauthenticated}
		if w.netrc != nil {
			text, causes = text+": "+w.netrc.Error(), append(causes, w.netrc)
		}
		return op.refuse(text, causes...)
	}
	if err := checkKey(w.APIKey); err != nil {
		return op.refuse(err.Error(), ErrInvalidArgument, ErrUnauthenticated)
	}
	credential := w.Credential()
	c.credentialKind = "W&B key"
	c.credentials = func(context.Context) (Credential, error) { return credential, nil }
	return nil
}
