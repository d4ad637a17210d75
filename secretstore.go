package cwsandbox

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// SecretStore is a place that secrets of sandboxes are read from. The secrets themselves are not part of it: they are put
// into the store by its own means.
type SecretStore struct {
	// Name is what a [Secret] calls the store: 3 to 63 lower-case letters, digits and dashes, beginning with a letter. It
	// is unique in the organization and does not change.
	Name     string
	Provider SecretStoreProvider // required; does not change
	WandB    *WandBStore         // for SecretStoreWandB; nil: nothing is said

	CreateTime time.Time // UTC; both times are set by the service
	UpdateTime time.Time
}

// WandBStore is where the secrets of a store at Weights & Biases are.
type WandBStore struct {
	APIURL string
	Team   string // that owns them
}

// SecretStoreProvider is a kind of secret store. The numbers are the service's own; one that this version does not know
// keeps its number.
type SecretStoreProvider int32

// The kinds of secret stores.
const (
	SecretStoreUnspecified SecretStoreProvider = SecretStoreProvider(sandboxv1.SecretStoreProviderType_SECRET_STORE_PROVIDER_TYPE_UNSPECIFIED) // not known
	SecretStoreWandB       SecretStoreProvider = SecretStoreProvider(sandboxv1.SecretStoreProviderType_SECRET_STORE_PROVIDER_TYPE_WANDB)       // Weights & Biases
)

// String returns the kind's name in lower case, or SecretStoreProvider(42) for a number that this version does not know.
func (p SecretStoreProvider) String() string {
	switch p {
	case SecretStoreUnspecified:
		return "unspecified"
	case SecretStoreWandB:
		return "wandb"
	}
	return fmt.Sprintf("SecretStoreProvider(%d)", int32(p))
}

var (
	secretStorePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{2,62}$`)
	secretStoreFields  = []string{"provider_type", "wandb"}
)

func checkSecretStoreName(f *faults, name string) {
	if !secretStorePattern.MatchString(name) {
		f.add("name", "must be 3 to 63 lower-case letters, digits and dashes, beginning with a letter, is %q", name)
	}
}

// check looks at a store, of which an update may only say a part.
func (s SecretStore) check(f *faults, whole bool) {
	checkSecretStoreName(f, s.Name)
	if s.Provider < 0 || whole && s.Provider == SecretStoreUnspecified {
		f.add("provider_type", "must be a kind of store, is %v", s.Provider)
	}
	if s.WandB != nil {
		checkText(f, "wandb.api_url", s.WandB.APIURL)
		checkText(f, "wandb.team", s.WandB.Team)
	}
}

func (s SecretStore) message() *sandboxv1.SecretStore {
	m := &sandboxv1.SecretStore{Name: s.Name, ProviderType: sandboxv1.SecretStoreProviderType(s.Provider)}
	if s.WandB != nil {
		m.ProviderConfig = &sandboxv1.SecretStore_Wandb{Wandb: &sandboxv1.WandBStoreConfig{ApiUrl: s.WandB.APIURL, Team: s.WandB.Team}}
	}
	return m
}

// CreateSecretStore sets up a secret store, for administrators of the organization. A name that is taken is [ErrConflict].
// An answer that was lost is asked for again with the same request id.
func (c *Client) CreateSecretStore(ctx context.Context, s SecretStore) (SecretStore, error) {
	op := call{op: "create secret store", resource: "secret store"}
	var f faults
	s.check(&f, true)
	if err := f.err(op); err != nil {
		return SecretStore{}, err
	}
	m, err := c.settings.CreateSecretStore(ctx, &sandboxv1.CreateSecretStoreRequest{SecretStore: s.message(), RequestId: newRequestID()})
	return secretStoreOf(m), op.wrapAbout(s.Name, err)
}

// SecretStore returns one secret store.
func (c *Client) SecretStore(ctx context.Context, name string) (SecretStore, error) {
	op := call{op: "get secret store", resource: "secret store"}
	var f faults
	checkSecretStoreName(&f, name)
	if err := f.err(op); err != nil {
		return SecretStore{}, err
	}
	m, err := c.settings.GetSecretStore(ctx, &sandboxv1.GetSecretStoreRequest{Name: name})
	return secretStoreOf(m), op.wrapAbout(name, err)
}

// SecretStores yields the secret stores of the organization, page by page, in the service's order. An error comes once,
// last, beside a zero value; each page is asked for again by the rules for reads before that. Each page is bounded by the
// request timeout, the whole walk by ctx.
func (c *Client) SecretStores(ctx context.Context) iter.Seq2[SecretStore, error] {
	return paged(call{op: "secret stores"}, func(token string) ([]SecretStore, string, error) {
		page, err := c.settings.ListSecretStores(ctx, &sandboxv1.ListSecretStoresRequest{PageToken: token})
		return readAll(page.GetSecretStores(), secretStoreOf), page.GetNextPageToken(), err
	})
}

// UpdateSecretStore changes the secret store of that name, for administrators of the organization. Without fields it is a
// full replacement, which has to repeat the kind of the store. With fields, which are "wandb", "wandb.api_url",
// "wandb.team" and "provider_type", only those change; the kind cannot become another. What the service sets is not sent.
func (c *Client) UpdateSecretStore(ctx context.Context, s SecretStore, fields ...string) (SecretStore, error) {
	op := call{op: "update secret store", resource: "secret store"}
	var f faults
	mask := checkedMask(&f, new(sandboxv1.SecretStore), secretStoreFields, fields)
	s.check(&f, mask == nil)
	if err := f.err(op); err != nil {
		return SecretStore{}, err
	}
	m, err := c.settings.UpdateSecretStore(ctx, &sandboxv1.UpdateSecretStoreRequest{SecretStore: s.message(), UpdateMask: mask})
	return secretStoreOf(m), op.wrapAbout(s.Name, err)
}

// DeleteSecretStore removes a secret store, for administrators of the organization; what is in it stays, and so does what
// sandboxes have got from it. One that the service does not know is [ErrNotFound], or nil with [MissingOK].
func (c *Client) DeleteSecretStore(ctx context.Context, name string, opts ...SettingDeleteOption) error {
	const op = "delete secret store"
	config, err := newSettingDeleteConfig(op, opts, func(f *faults) { checkSecretStoreName(f, name) })
	if err != nil {
		return err
	}
	_, err = c.settings.DeleteSecretStore(ctx, &sandboxv1.DeleteSecretStoreRequest{Name: name, AllowMissing: config.missingOK})
	return forgiven(config.missingOK, call{op: op, resource: "secret store"}.wrapAbout(name, err))
}

func secretStoreOf(m *sandboxv1.SecretStore) SecretStore {
	s := SecretStore{
		Name:       m.GetName(),
		Provider:   SecretStoreProvider(m.GetProviderType()),
		CreateTime: timeOf(m.GetCreateTime()),
		UpdateTime: timeOf(m.GetUpdateTime()),
	}
	if w := m.GetWandb(); w != nil {
		s.WandB = &WandBStore{APIURL: w.GetApiUrl(), Team: w.GetTeam()}
	}
	return s
}
