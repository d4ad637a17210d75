package localserver

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"

	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// A Secret is a value in a secret store, or one field of it.
type Secret struct {
	Store string
	Name  string // which the API calls the path
	Field string // empty: the secret is the value, which may be a JSON object whose members then are its fields
	Value string
}

// wandbStore is there for callers with a W&B key, and for nobody else.
const wandbStore = "wandb"

// maxSecrets bounds the secrets of one sandbox.
const maxSecrets = 50

// vault holds the values of the secret stores. They never leave it but for the environment of a process.
type vault struct {
	values map[Secret]string // by everything but the value
	stores map[string]bool   // that values are in
}

func newVault(secrets []Secret) (vault, error) {
	v := vault{make(map[Secret]string), make(map[string]bool)}
	for i, s := range secrets {
		if s.Store == "" || s.Name == "" {
			return v, fmt.Errorf("local server: secret %d has no store or no name", i+1)
		}
		value := s.Value
		if s.Value = ""; hasNUL(value) {
			return v, errors.New("local server: secret " + s.Store + "/" + s.Name + " contains NUL")
		}
		v.values[s], v.stores[s.Store] = value, true
	}
	return v, nil
}

// find returns the value of a secret, or of one field of it.
func (v vault) find(store, name, field string) (string, bool) {
	value, ok := v.values[Secret{Store: store, Name: name, Field: field}]
	if ok || field == "" {
		return value, ok
	}
	value, ok = member(v.values[Secret{Store: store, Name: name}], field)
	return value, ok && !hasNUL(value)
}

// hasLogin reports whether a secret has what a registry asks for.
func (v vault) hasLogin(source *sandboxv1.SecretSource) bool {
	for _, field := range []string{"username", "password"} {
		var value string
		if source.GetField() == "" {
			value, _ = v.find(source.GetStoreName(), source.GetPath(), field)
		} else {
			object, _ := v.find(source.GetStoreName(), source.GetPath(), source.GetField())
			value, _ = member(object, field)
		}
		if value == "" {
			return false
		}
	}
	return true
}

// member reads a text out of a JSON object.
func member(object, name string) (string, bool) {
	var members map[string]any
	if json.Unmarshal([]byte(object), &members) != nil {
		return "", false
	}
	value, ok := members[name].(string)
	return value, ok
}

// hasStore reports whether a caller has a secret store: the one that comes with the credential, one that the organization
// has set up, or one that whoever runs the server has put values in.
func (s *Server) hasStore(who identity, name string) bool {
	if name == wandbStore {
		return who.wandb
	}
	return s.opt.vault.stores[name] || s.secretStore(who.organization, name) != nil
}

// secrets checks the shape of references to secret stores. It returns how many secrets the container has.
func (c *checker) secrets(at string, ct *sandboxv1.Container) (count int) {
	variables := make(map[string]bool)
	for j, ref := range ct.GetSecretStores() {
		at := fmt.Sprintf("%ssecret_stores[%d].", at, j)
		c.require(ref.GetStoreName() != "", at+"store_name", "must not be empty")
		c.require(len(ref.GetSecrets()) > 0, at+"secrets", "must not be empty")
		for k, m := range ref.GetSecrets() {
			at := fmt.Sprintf("%ssecrets[%d].", at, k)
			c.require(m.GetPath() != "", at+"path", "must not be empty")
			c.require(validVariable(m.GetEnvVar()), at+"env_var", "must not be empty or contain '=' or NUL")
			c.require(!variables[m.GetEnvVar()], at+"env_var", "must not be used twice")
			variables[m.GetEnvVar()] = true
			count++
		}
	}
	return count
}

var registryPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)

func (c *checker) pullCredentials(at string, p *sandboxv1.ImagePullCredentials) {
	if p == nil {
		return
	}
	at += "image_pull_credentials."
	c.require(registryPattern.MatchString(p.GetRegistry()), at+"registry", "must be a host, or host:port, in lower case")
	c.require(p.GetCredentials().GetStoreName() != "", at+"credentials.store_name", "must not be empty")
	c.require(p.GetCredentials().GetPath() != "", at+"credentials.path", "must not be empty")
}

// resolve finds out what secrets and object storage put into the environment of each container. Nothing of it is part of
// the spec.
func (s *Server) resolve(spec *sandboxv1.SandboxSpec, who identity) ([]map[string]string, error) {
	shared, err := s.objectStorageEnv(spec.GetObjectStorageAccess(), who)
	if err != nil {
		return nil, err
	}
	var c checker
	granted := make([]map[string]string, len(spec.GetContainers()))
	for i, ct := range spec.GetContainers() {
		at := fmt.Sprintf("spec.containers[%d].", i)
		granted[i] = maps.Clone(shared)
		for j, ref := range ct.GetSecretStores() {
			if !s.hasStore(who, ref.GetStoreName()) {
				return nil, noStore(ref.GetStoreName())
			}
			for k, m := range ref.GetSecrets() {
				value, ok := s.opt.vault.find(ref.GetStoreName(), m.GetPath(), m.GetField())
				c.require(ok, fmt.Sprintf("%ssecret_stores[%d].secrets[%d].path", at, j, k), "names no secret of the store, or no field of it")
				if granted[i] == nil {
					granted[i] = make(map[string]string)
				}
				granted[i][m.GetEnvVar()] = value
			}
		}
		if source := ct.GetImagePullCredentials().GetCredentials(); source != nil {
			if !s.hasStore(who, source.GetStoreName()) {
				return nil, noStore(source.GetStoreName())
			}
			c.require(s.opt.vault.hasLogin(source), at+"image_pull_credentials.credentials.path",
				"must name a secret with a username and a password")
		}
	}
	return granted, c.err()
}

func noStore(name string) error {
	return refusal{
		code:     codes.FailedPrecondition,
		reason:   reasonSecretStore,
		text:     fmt.Sprintf("secret store %q is not set up for the caller", name),
		metadata: map[string]string{"store_name": name},
	}.err()
}
