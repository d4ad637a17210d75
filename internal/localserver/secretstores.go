package localserver

import (
	"context"
	"regexp"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var storeNamePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{2,62}$`)

// secretStoreFields are what callers set, beside the name, which never changes.
var secretStoreFields = []string{"provider_type", "wandb"}

// secretStore finds a secret store of an organization that was set up through the API, or returns nil. The message must
// not be changed. The store's mutex must not be held.
func (s *Server) secretStore(organization, name string) *sandboxv1.SecretStore {
	s.store.Lock()
	defer s.store.Unlock()
	if e := s.secretStoreEntry(organization, name); e != nil {
		return e.now
	}
	return nil
}

// secretStoreEntry is secretStore with the store's mutex held.
func (s *Server) secretStoreEntry(organization, name string) *entry[*sandboxv1.SecretStore] {
	return s.secretStores.find(organization, func(st *sandboxv1.SecretStore) bool { return st.GetName() == name })
}

// CreateSecretStore sets up a secret store. What is in it is none of the API's business.
func (s *settingsService) CreateSecretStore(ctx context.Context, req *sandboxv1.CreateSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	if req.GetSecretStore() == nil {
		return nil, bad("secret_store", "must be set")
	}
	who, name := callerOf(ctx), req.GetSecretStore().GetName()
	made, err := newCreation(who, "CreateSecretStore", req.GetRequestId(), req)
	if err != nil {
		return nil, err
	}
	st, err := masked(&sandboxv1.SecretStore{Name: name}, req.GetSecretStore(), nil, secretStoreFields...)
	if err == nil {
		err = checkSecretStore(st)
	}
	if err != nil {
		return nil, err
	}
	s.store.Lock()
	defer s.store.Unlock()
	if first, ok, err := s.secretStores.repeated(made); ok || err != nil {
		return first, err
	}
	if s.secretStoreEntry(who.organization, name) != nil {
		return nil, status.Errorf(codes.AlreadyExists, "there is a secret store %q", name)
	}
	st.CreateTime = timestamppb.New(s.now())
	st.UpdateTime = st.CreateTime
	s.secretStores.add(who.organization, made, st, st)
	return st, nil
}

func checkSecretStore(st *sandboxv1.SecretStore) error {
	var c checker
	c.require(storeNamePattern.MatchString(st.GetName()), "name",
		"must be 3 to 63 lower-case letters, digits and dashes, the first one a letter")
	c.require(st.GetProviderType() == sandboxv1.SecretStoreProviderType_SECRET_STORE_PROVIDER_TYPE_WANDB, "provider_type",
		"must be SECRET_STORE_PROVIDER_TYPE_WANDB")
	return c.err()
}

// noSecretStore is bare: the service is known to have no reason for it.
func noSecretStore(name string) error {
	return status.Error(codes.NotFound, cut("secret store "+name+" was not found"))
}

// GetSecretStore returns one secret store.
func (s *settingsService) GetSecretStore(ctx context.Context, req *sandboxv1.GetSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	if req.GetName() == "" {
		return nil, bad("name", "must not be empty")
	}
	st := s.secretStore(callerOf(ctx).organization, req.GetName())
	if st == nil {
		return nil, noSecretStore(req.GetName())
	}
	return st, nil
}

// ListSecretStores returns a page of the organization's secret stores, newest first.
func (s *settingsService) ListSecretStores(ctx context.Context, req *sandboxv1.ListSecretStoresRequest) (*sandboxv1.ListSecretStoresResponse, error) {
	s.store.Lock()
	defer s.store.Unlock()
	page, next, err := s.secretStores.page(s.tokens, callerOf(ctx), req, func(*sandboxv1.SecretStore) bool { return true })
	if err != nil {
		return nil, err
	}
	return &sandboxv1.ListSecretStoresResponse{SecretStores: page, NextPageToken: next}, nil
}

// UpdateSecretStore changes the store that the body names. Its kind stays.
func (s *settingsService) UpdateSecretStore(ctx context.Context, req *sandboxv1.UpdateSecretStoreRequest) (*sandboxv1.SecretStore, error) {
	name := req.GetSecretStore().GetName()
	switch {
	case req.GetSecretStore() == nil:
		return nil, bad("secret_store", "must be set")
	case name == "":
		return nil, bad("name", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	e := s.secretStoreEntry(callerOf(ctx).organization, name)
	if e == nil {
		return nil, noSecretStore(name)
	}
	st, err := masked(e.now, req.GetSecretStore(), req.GetUpdateMask(), secretStoreFields...)
	if err == nil {
		err = checkSecretStore(st)
	}
	if err != nil {
		return nil, err
	}
	st.UpdateTime = timestamppb.New(s.now())
	e.now = st
	return st, nil
}

// DeleteSecretStore removes a secret store. Sandboxes keep what they got from it.
func (s *settingsService) DeleteSecretStore(ctx context.Context, req *sandboxv1.DeleteSecretStoreRequest) (*emptypb.Empty, error) {
	if req.GetName() == "" {
		return nil, bad("name", "must not be empty")
	}
	s.store.Lock()
	defer s.store.Unlock()
	switch e := s.secretStoreEntry(callerOf(ctx).organization, req.GetName()); {
	case e != nil:
		s.secretStores.remove(e)
	case !req.GetAllowMissing():
		return nil, noSecretStore(req.GetName())
	}
	return &emptypb.Empty{}, nil
}
