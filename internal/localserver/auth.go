package localserver

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	defaultUser         = "local-user"
	defaultOrganization = "local-org"
)

// An identity is who makes a call.
type identity struct {
	user, organization string
	admin              bool
	wandb              bool // with a key of W&B's
}

type identityKey struct{}

// callerOf returns the identity that the authentication put into the context.
func callerOf(ctx context.Context) identity {
	id, _ := ctx.Value(identityKey{}).(identity)
	return id
}

// adminMethods change what belongs to the whole organization.
var adminMethods = map[string]bool{
	"CreateSandboxTemplate":                true,
	"UpdateSandboxTemplate":                true,
	"DeleteSandboxTemplate":                true,
	"UpdateBuildStorageConfig":             true,
	"UpdateObjectStorageWifConfig":         true,
	"DeleteObjectStorageWifConfig":         true,
	"UpdateFileSystemSnapshotBucketConfig": true,
	"CreateSecretStore":                    true,
	"UpdateSecretStore":                    true,
	"DeleteSecretStore":                    true,
}

// open reports whether a service answers without a credential.
func open(fullMethod string) bool {
	return strings.HasPrefix(fullMethod, "/grpc.health.") || strings.HasPrefix(fullMethod, "/grpc.reflection.")
}

// authenticate finds out who is calling and whether the caller may use the method. Its errors are bare: no reasons
// are known for these two statuses.
func (s *Server) authenticate(ctx context.Context, method string) (context.Context, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	id, ok := s.identify(md)
	if !ok {
		return nil, status.Error(codes.Unauthenticated, "no valid credential")
	}
	if adminMethods[method] && !id.admin {
		return nil, status.Errorf(codes.PermissionDenied, "%s needs the admin action", method)
	}
	return context.WithValue(ctx, identityKey{}, id), nil
}

func (s *Server) identify(md metadata.MD) (identity, bool) {
	if values := md.Get("authorization"); len(values) > 0 {
		scheme, token, _ := strings.Cut(strings.TrimSpace(values[0]), " ")
		if !strings.EqualFold(scheme, "bearer") {
			return identity{}, false
		}
		return s.accept(strings.TrimSpace(token))
	}
	key := strings.TrimSpace(first(md, "x-wandb-api-key"))
	if key == "" {
		return identity{}, false
	}
	id := identity{organization: defaultOrganization}
	if s.opt.OnlyListed {
		var listed bool
		if id, listed = s.accept(key); !listed {
			return identity{}, false
		}
	}
	id.user, id.admin, id.wandb = wandbUser(first(md, "x-entity-id"), key), false, true
	return id, true
}

// accept finds out whose a token is. Without a list of keys every token that is not blank is the one administrator's.
func (s *Server) accept(token string) (id identity, ok bool) {
	if token == "" {
		return identity{}, false
	}
	if len(s.opt.Keys) == 0 {
		return identity{user: defaultUser, organization: defaultOrganization, admin: true}, true
	}
	for _, k := range s.opt.Keys {
		if subtle.ConstantTimeCompare([]byte(k.Token), []byte(token)) == 1 {
			return identity{
				user:         orDefault(k.User, defaultUser),
				organization: orDefault(k.Organization, defaultOrganization),
				admin:        k.Admin,
			}, true
		}
	}
	return identity{}, false
}

// wandbUser tells callers with such keys apart without keeping the key.
func wandbUser(entity, key string) string {
	sum := sha256.Sum256([]byte(entity + "\x00" + key))
	return "wandb-" + hex.EncodeToString(sum[:8])
}

func first(md metadata.MD, key string) string {
	if values := md.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}
