package cwsandbox

import (
	"fmt"
	"regexp"
	"slices"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const maxSecrets = 50

// Secret puts a value out of a secret store into an environment variable of a container. The value goes from the store to
// the sandbox and never passes through this program.
type Secret struct {
	Store string // its name; "wandb" is there for whoever uses a W&B key
	Name  string // of the secret in the store
	Field string // of a secret that has several; empty: the secret is the value
	Env   string // the variable; empty: Name
}

// PullCredentials name the secret with which an image is pulled from a registry: one with the fields username and
// password. The zero value is none.
type PullCredentials struct {
	Registry string // host, or host:port, in lower case
	Store    string
	Name     string
	Field    string
}

func (s Secret) env() string {
	if s.Env == "" {
		return s.Name
	}
	return s.Env
}

// address is where the value is, without where it goes.
func (s Secret) address() string {
	address := s.Store + "/" + s.Name
	if s.Field != "" {
		address += "#" + s.Field
	}
	return address
}

// String shows where the value comes from and where it goes.
func (s Secret) String() string { return s.address() + " as " + s.env() }

func (s Secret) check(f *faults, field string) {
	checkWord(f, field+".store_name", s.Store)
	checkWord(f, field+".path", s.Name)
	if s.Field != "" {
		checkWord(f, field+".field", s.Field)
	}
	if s.env() != "" {
		checkEnvName(f, field+".env_var", s.env())
	}
}

// secretField is the service's name for a secret that comes after others of a container, whose stores come in the order of
// their first use.
func secretField(container string, before []Secret, s Secret) string {
	var stores []string
	for _, other := range append(slices.Clone(before), s) {
		if !slices.Contains(stores, other.Store) {
			stores = append(stores, other.Store)
		}
	}
	same := 0
	for _, other := range before {
		if other.Store == s.Store {
			same++
		}
	}
	return fmt.Sprintf("%s.secret_stores[%d].secrets[%d]", container, slices.Index(stores, s.Store), same)
}

// withoutRepeats drops secrets that say the same as one before.
func withoutRepeats(secrets []Secret) []Secret {
	var kept []Secret
	for _, s := range secrets {
		s.Env = s.env()
		if !slices.Contains(kept, s) {
			kept = append(kept, s)
		}
	}
	return kept
}

// checkSecrets is the rule for the variables of a container, and for how many secrets a sandbox may have with those that
// other containers have already.
func checkSecrets(f *faults, field string, c Container, count int) {
	taken := make(map[string]Secret)
	for i, s := range c.Secrets {
		at := secretField(field, c.Secrets[:i], s) + ".env_var"
		if first, twice := taken[s.env()]; twice {
			f.add(at, "%s must not be both %s and %s", s.env(), first.address(), s.address())
		}
		taken[s.env()] = s
		if _, plain := c.Env[s.env()]; plain {
			f.add(at, "%s is a plain environment variable too", s.env())
		}
	}
	if count+len(c.Secrets) > maxSecrets {
		f.add(field+".secret_stores", "must be at most %d secrets in all, are %d", maxSecrets, count+len(c.Secrets))
	}
}

// secretStores groups secrets by their stores, in the order of their first use.
func secretStores(secrets []Secret) []*sandboxv1.SecretStoreReference {
	var stores []*sandboxv1.SecretStoreReference
	for _, s := range secrets {
		i := slices.IndexFunc(stores, func(ref *sandboxv1.SecretStoreReference) bool { return ref.GetStoreName() == s.Store })
		if i < 0 {
			i = len(stores)
			stores = append(stores, &sandboxv1.SecretStoreReference{StoreName: s.Store})
		}
		stores[i].Secrets = append(stores[i].Secrets, &sandboxv1.SecretMapping{Path: s.Name, Field: s.Field, EnvVar: s.env()})
	}
	return stores
}

func secretsOf(stores []*sandboxv1.SecretStoreReference) []Secret {
	var secrets []Secret
	for _, ref := range stores {
		for _, m := range ref.GetSecrets() {
			secrets = append(secrets, Secret{Store: ref.GetStoreName(), Name: m.GetPath(), Field: m.GetField(), Env: m.GetEnvVar()})
		}
	}
	return secrets
}

var registryPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)

func (p PullCredentials) check(f *faults, field string) {
	if p == (PullCredentials{}) {
		return
	}
	if !registryPattern.MatchString(p.Registry) {
		f.add(field+".registry", "must be a host, or host:port, in lower case, is %q", p.Registry)
	}
	checkWord(f, field+".credentials.store_name", p.Store)
	checkWord(f, field+".credentials.path", p.Name)
	if p.Field != "" {
		checkWord(f, field+".credentials.field", p.Field)
	}
}

// message is nil for none.
func (p PullCredentials) message() *sandboxv1.ImagePullCredentials {
	if p == (PullCredentials{}) {
		return nil
	}
	return &sandboxv1.ImagePullCredentials{
		Registry:    p.Registry,
		Credentials: &sandboxv1.SecretSource{StoreName: p.Store, Path: p.Name, Field: p.Field},
	}
}

func pullCredentialsOf(m *sandboxv1.ImagePullCredentials) PullCredentials {
	source := m.GetCredentials()
	return PullCredentials{
		Registry: m.GetRegistry(), Store: source.GetStoreName(), Name: source.GetPath(), Field: source.GetField(),
	}
}
