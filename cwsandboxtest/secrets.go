package cwsandboxtest

import (
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
)

// Secret is a value in a secret store of a server, or one field of a secret that has several. It prints without the value.
type Secret struct {
	Store string
	Name  string
	Field string // empty: the secret is the value; if that is a JSON object, its members are fields
	Value string
}

// String is the address of the secret.
func (s Secret) String() string {
	if s.Field == "" {
		return s.Store + "/" + s.Name
	}
	return s.Store + "/" + s.Name + "#" + s.Field
}

// Format is String for every verb.
func (s Secret) Format(f fmt.State, _ rune) { io.WriteString(f, s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// WithSecrets puts values into secret stores, see [cwsandbox.WithSecrets]. The stores are there for every caller without
// being set up, but for the one called wandb, which only callers with a W&B key have.
func WithSecrets(secrets ...Secret) Option {
	secrets = slices.Clone(secrets)
	return func(c *config) {
		for _, s := range secrets {
			c.secrets = append(c.secrets, localserver.Secret(s))
		}
	}
}

// WithObjectStorageEnv sets the environment variables that sandboxes with access to object storage get, such as the
// credentials of a storage for tests: see [cwsandbox.WithObjectStorage]. Without it they get none.
func WithObjectStorageEnv(env map[string]string) Option {
	env = maps.Clone(env)
	return func(c *config) { c.objectStorageEnv = env }
}

// WithRuntimeClasses lets sandboxes name these runtime classes, which has no effect but that they are told so. Without it
// there are none.
func WithRuntimeClasses(names ...string) Option {
	names = slices.Clone(names)
	return func(c *config) { c.runtimeClasses = names }
}

// WithInstanceTypes lets sandboxes name these types of nodes, which has no effect. Without it there are none.
func WithInstanceTypes(names ...string) Option {
	names = slices.Clone(names)
	return func(c *config) { c.instanceTypes = names }
}
