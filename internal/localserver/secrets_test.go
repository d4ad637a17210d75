package localserver

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const hidden = "c0rrect-horse"

// secretsFrom maps secrets of one store: path, field and variable.
func secretsFrom(store string, rows ...[3]string) *sandboxv1.SecretStoreReference {
	ref := &sandboxv1.SecretStoreReference{StoreName: store}
	for _, r := range rows {
		ref.Secrets = append(ref.Secrets, &sandboxv1.SecretMapping{Path: r[0], Field: r[1], EnvVar: r[2]})
	}
	return ref
}

func withSecrets(refs ...*sandboxv1.SecretStoreReference) func(*spec) {
	return mainContainer(func(c *ctnr) { c.SecretStores = refs })
}

var noSecretStoreFor = refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_SECRET_STORE_NOT_PROVISIONED"}

func TestSecrets(t *testing.T) {
	vault := []Secret{
		{Store: "team", Name: "token", Value: hidden + "-token"},
		{Store: "team", Name: "db", Field: "password", Value: hidden + "-field"},
		{Store: "team", Name: "json", Value: `{"key":"` + hidden + `-json","n":1}`},
		{Store: "team", Name: "registry", Field: "username", Value: "robot"},
		{Store: "team", Name: "registry", Field: "password", Value: hidden},
		{Store: "team", Name: "nested", Field: "login", Value: `{"username":"robot","password":"` + hidden + `"}`},
		{Store: wandbStore, Name: "key", Value: hidden + "-wandb"},
	}
	t.Run("C-172", func(t *testing.T) {
		var logged syncBuilder
		var answers syncBuilder
		o := Options{Secrets: vault, Logger: slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		o.UnaryInterceptors = []grpc.UnaryServerInterceptor{
			func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
				resp, err := handler(ctx, req)
				if info.FullMethod != "/coreweave.sandbox.v1.SandboxService/Exec" { // which is asked to show them
					for _, m := range []any{req, resp} {
						if m, ok := m.(proto.Message); ok {
							fmt.Fprintln(&answers, protojson.Format(m))
						}
					}
				}
				fmt.Fprintln(&answers, err)
				return resp, err
			},
		}
		inWorld(t, o, func(w *world) {
			id := w.run(twoContainers("wait-for-term"), func(s *spec) {
				s.Containers[1].SecretStores = []*sandboxv1.SecretStoreReference{
					secretsFrom("team", [3]string{"token", "", "TOKEN"}, [3]string{"db", "password", "PASSWORD"}, [3]string{"json", "key", "KEY"}),
				}
				s.Containers[1].EnvironmentVariables = map[string]string{"PLAIN": "1"}
			})
			env := func(container string) string {
				resp, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"env"}, Container: container})
				require.NoError(t, err)
				return string(resp.GetStdout())
			}
			for _, line := range []string{"TOKEN=" + hidden + "-token\n", "PASSWORD=" + hidden + "-field\n", "KEY=" + hidden + "-json\n", "PLAIN=1\n"} {
				assert.Contains(t, env(""), line)
			}
			assert.NotContains(t, env("helper"), hidden)
			w.list(&sandboxv1.ListSandboxesRequest{})
			w.delete(id, 0)
			synctest.Wait()
			w.get(id)
			_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(withSecrets(secretsFrom("team", [3]string{"token", "no-field", "A"})))))
			w.requireRefused(badField("spec.containers[0].secret_stores[0].secrets[0].path"), err)
		})
		assert.Contains(t, answers.String(), "PASSWORD", "something was looked at")
		assert.NotContains(t, answers.String(), hidden)
		assert.NotContains(t, logged.String(), hidden)
	})
	create := func(w *world, changes ...func(*spec)) error {
		_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(changes...)))
		return err
	}
	t.Run("stores", func(t *testing.T) {
		inWorld(t, Options{Secrets: vault}, func(w *world) {
			err := create(w, withSecrets(secretsFrom("team", [3]string{"token", "", "A"}), secretsFrom("other", [3]string{"token", "", "B"})))
			w.requireRefused(noSecretStoreFor, err)
			assert.Equal(t, map[string]string{"store_name": "other"}, w.info(err).GetMetadata())
			_, err = w.settings().CreateSecretStore(w.ctx, &sandboxv1.CreateSecretStoreRequest{SecretStore: &sandboxv1.SecretStore{
				Name: "other", ProviderType: sandboxv1.SecretStoreProviderType_SECRET_STORE_PROVIDER_TYPE_WANDB,
			}})
			require.NoError(t, err)
			w.requireRefused(badField("spec.containers[0].secret_stores[0].secrets[0].path"), create(w, withSecrets(secretsFrom("other", [3]string{"token", "", "B"}))))
		})
	})
	t.Run("the store of W&B", func(t *testing.T) {
		inWorld(t, Options{Secrets: vault}, func(w *world) {
			key := withSecrets(secretsFrom(wandbStore, [3]string{"key", "", "WANDB_API_KEY"}))
			w.requireRefused(noSecretStoreFor, create(w, key))
			w.ctx = metadata.AppendToOutgoingContext(context.Background(), "x-wandb-api-key", "k", "x-entity-id", "e")
			require.NoError(t, create(w, key))
		})
	})
	t.Run("pull credentials", func(t *testing.T) {
		inWorld(t, Options{Secrets: vault}, func(w *world) {
			pull := func(store, path, field string) error {
				return create(w, mainContainer(func(c *ctnr) {
					c.ImagePullCredentials = &sandboxv1.ImagePullCredentials{
						Registry: "ghcr.io:443", Credentials: &sandboxv1.SecretSource{StoreName: store, Path: path, Field: field},
					}
				}))
			}
			require.NoError(t, pull("team", "registry", ""))
			require.NoError(t, pull("team", "nested", "login"))
			w.requireRefused(noSecretStoreFor, pull("other", "registry", ""))
			for _, path := range []string{"token", "none", "json", "nested"} {
				w.requireRefused(badField("spec.containers[0].image_pull_credentials.credentials.path"), pull("team", path, ""))
			}
			for _, registry := range []string{"", "GHCR.io", "https://ghcr.io", "ghcr.io/x", "ghcr.io:"} {
				err := create(w, mainContainer(func(c *ctnr) {
					c.ImagePullCredentials = &sandboxv1.ImagePullCredentials{
						Registry: registry, Credentials: &sandboxv1.SecretSource{StoreName: "team", Path: "registry"},
					}
				}))
				w.requireRefused(badField("spec.containers[0].image_pull_credentials.registry"), err)
			}
		})
	})
	t.Run("bad values", func(t *testing.T) {
		for _, s := range []Secret{{Name: "n"}, {Store: "s"}, {Store: "s", Name: "n", Value: hidden + "\x00"}} {
			_, err := New(Options{Runtime: scripted.New(), Secrets: []Secret{s}})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), hidden)
		}
	})
}

func TestObjectStorageAccess(t *testing.T) {
	storage := func(change func(*sandboxv1.ObjectStorageAccess)) func(*spec) {
		return func(s *spec) {
			s.ObjectStorageAccess = &sandboxv1.ObjectStorageAccess{
				Buckets: []string{"a"}, Permission: sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ,
			}
			change(s.ObjectStorageAccess)
		}
	}
	allow := func(w *world, enabled bool) {
		_, err := w.settings().UpdateObjectStorageWifConfig(w.ctx, &sandboxv1.UpdateObjectStorageWifConfigRequest{
			ObjectStorageWifConfig: &sandboxv1.ObjectStorageWifConfig{
				WifConfigId: "wif", Enabled: enabled, AllowedBuckets: []string{"a", "b"},
				MaxPermission: sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ,
			},
		})
		require.NoError(w, err)
	}
	const at = "spec.object_storage_access."
	for _, env := range []map[string]string{nil, {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": hidden}} {
		inWorld(t, Options{ObjectStorageEnv: env}, func(w *world) {
			refusal := func(change func(*sandboxv1.ObjectStorageAccess)) error {
				_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(storage(change))))
				return err
			}
			nothing := func(*sandboxv1.ObjectStorageAccess) {}
			notAllowed := refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_INVALID_REQUEST"}
			w.requireRefused(notAllowed, refusal(nothing))
			allow(w, false)
			w.requireRefused(notAllowed, refusal(nothing))
			allow(w, true)
			w.requireRefused(badField(at+"buckets[1]"), refusal(func(o *sandboxv1.ObjectStorageAccess) { o.Buckets = []string{"b", "c"} }))
			w.requireRefused(badField(at+"permission"), refusal(func(o *sandboxv1.ObjectStorageAccess) {
				o.Permission = sandboxv1.ObjectStoragePermission_OBJECT_STORAGE_PERMISSION_READ_WRITE
			}))
			id := w.run(twoContainers("wait-for-term"), storage(nothing))
			for _, container := range []string{"", "helper"} {
				resp, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"env"}, Container: container})
				require.NoError(t, err)
				assert.Equal(t, env != nil, strings.Contains(string(resp.GetStdout()), "AWS_SECRET_ACCESS_KEY="+hidden), container)
			}
			assert.NotContains(t, protojson.Format(w.get(id)), hidden)
			assert.NotContains(t, w.environment(w.run()), hidden, "only where it was asked for")
		})
	}
	_, err := New(Options{Runtime: scripted.New(), ObjectStorageEnv: map[string]string{"A": hidden + "\x00"}})
	require.Error(t, err)
	assert.NotContains(t, err.Error(), hidden)
}

func TestClasses(t *testing.T) {
	inWorld(t, Options{RuntimeClasses: []string{"kata"}, InstanceTypes: []string{"big"}}, func(w *world) {
		id := w.run(func(s *spec) { s.RuntimeClass, s.InstanceType = "kata", "big" })
		assert.Equal(t, "kata", w.get(id).GetStatus().GetEffectiveRuntimeClass())
		assert.Equal(t, "big", w.get(id).GetSpec().GetInstanceType())
		assert.Equal(t, "<node-default>", w.get(w.run()).GetStatus().GetEffectiveRuntimeClass())
		_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(func(s *spec) { s.RuntimeClass, s.InstanceType = "<node-default>", "small" })))
		w.requireRefused(badField("spec.runtime_class", "spec.instance_type"), err)
	})
}

// environment is that of a new process in a sandbox.
func (w *world) environment(id string) string {
	w.Helper()
	stdout, _, _ := w.exec(id, "env")
	return stdout
}

// syncBuilder takes text from several goroutines.
type syncBuilder struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *syncBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuilder) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
