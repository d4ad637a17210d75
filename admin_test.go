package cwsandbox

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// answers makes the administrative services answer always the same.
func (f *fake) answers(m proto.Message) {
	f.admin = func(context.Context, int, string, proto.Message) (proto.Message, error) { return m, nil }
}

// fails makes the first n calls of every administrative method fail, and the others be answered by m.
func (f *fake) fails(n int, err error, m proto.Message) {
	f.admin = func(_ context.Context, call int, _ string, _ proto.Message) (proto.Message, error) {
		if call <= n {
			return nil, err
		}
		return m, nil
	}
}

// sent returns the one request of a method.
func (f *fake) sent(t *testing.T, method string) proto.Message {
	t.Helper()
	calls := f.of(method)
	require.Len(t, calls, 1)
	return calls[0].request
}

// requireSent compares the one request of a method with what is wanted, but for its request id, which must be there if
// there is such a field.
func (f *fake) requireSent(t *testing.T, method string, want proto.Message) {
	t.Helper()
	got := f.sent(t, method)
	m := got.ProtoReflect()
	if id := m.Descriptor().Fields().ByName("request_id"); id != nil {
		require.Len(t, m.Get(id).String(), 36)
		m.Clear(id)
	}
	require.True(t, proto.Equal(want, got), "%v", got)
}

// requireViolations checks that a call was refused here, for these fields.
func requireViolations(t *testing.T, err error, fields ...string) {
	t.Helper()
	require.ErrorIs(t, err, ErrInvalidArgument)
	var e *Error
	require.ErrorAs(t, err, &e)
	var got []string
	for _, v := range e.Violations {
		got = append(got, v.Field)
	}
	require.Equal(t, fields, got, "%v", err)
}

// TestAdminCreatesAreFrozen: a create of which no answer came is repeated as it was.
func TestAdminCreatesAreFrozen(t *testing.T) {
	for method, create := range map[string]func(*Client) error{
		"CreateVolume": func(c *Client) error {
			_, err := c.CreateVolume(context.Background(), RegisteredVolumeSpec{Claim: VolumeClaim{RunnerID: "r", Namespace: "ns", Name: "n"}})
			return err
		},
		"CreateSecretStore": func(c *Client) error {
			_, err := c.CreateSecretStore(context.Background(), SecretStore{Name: "store", Provider: SecretStoreWandB})
			return err
		},
	} {
		bubble(t, method, func(t *testing.T, f *fake, c *Client) {
			answer := map[string]proto.Message{"CreateVolume": &sandboxv1.Volume{}, "CreateSecretStore": &sandboxv1.SecretStore{}}
			f.fails(1, failure(codes.Unavailable, ""), answer[method])
			require.NoError(t, create(c))
			calls := f.of(method)
			require.Len(t, calls, 2)
			assert.True(t, proto.Equal(calls[0].request, calls[1].request))
			assert.NotEmpty(t, calls[0].request.ProtoReflect().Get(calls[0].request.ProtoReflect().Descriptor().Fields().ByName("request_id")).String())
		})
	}
}

// TestAdminPages walks the lists of the administrative services.
func TestAdminPages(t *testing.T) {
	field := func(m proto.Message, name string) protoreflect.FieldDescriptor {
		return m.ProtoReflect().Descriptor().Fields().ByName(protoreflect.Name(name))
	}
	// pages answers so many pages of one record each.
	pages := func(f *fake, n int, page func(i int) proto.Message) {
		f.admin = func(_ context.Context, _ int, _ string, req proto.Message) (proto.Message, error) {
			i, _ := strconv.Atoi(req.ProtoReflect().Get(field(req, "page_token")).String())
			m := page(i)
			if i+1 < n {
				m.ProtoReflect().Set(field(m, "next_page_token"), protoreflect.ValueOfString(strconv.Itoa(i+1)))
			}
			return m, nil
		}
	}
	for name, list := range map[string]struct {
		method string
		page   func(i int) proto.Message
		walk   func(c *Client, most int) (names []string, err error)
	}{
		"volumes": {
			"ListVolumes",
			func(i int) proto.Message {
				return &sandboxv1.ListVolumesResponse{Volumes: []*sandboxv1.Volume{{VolumeId: "v-" + strconv.Itoa(i)}}}
			},
			func(c *Client, most int) (names []string, err error) {
				for v, err := range c.RegisteredVolumes(context.Background()) {
					if err != nil || len(names) == most {
						return names, err
					}
					names = append(names, v.ID)
				}
				return names, nil
			},
		},
		"secret stores": {
			"ListSecretStores",
			func(i int) proto.Message {
				return &sandboxv1.ListSecretStoresResponse{SecretStores: []*sandboxv1.SecretStore{{Name: "v-" + strconv.Itoa(i)}}}
			},
			func(c *Client, most int) (names []string, err error) {
				for s, err := range c.SecretStores(context.Background()) {
					if err != nil || len(names) == most {
						return names, err
					}
					names = append(names, s.Name)
				}
				return names, nil
			},
		},
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			pages(f, 3, list.page)
			names, err := list.walk(c, 10)
			require.NoError(t, err)
			assert.Equal(t, []string{"v-0", "v-1", "v-2"}, names)
			assert.Equal(t, 3, f.count(list.method))
			names, err = list.walk(c, 1)
			require.NoError(t, err)
			assert.Equal(t, []string{"v-0"}, names)
			assert.Equal(t, 5, f.count(list.method), "one page ahead of where the loop was left")
		})
		bubble(t, name+" with a repeated token", func(t *testing.T, f *fake, c *Client) {
			m := list.page(0)
			m.ProtoReflect().Set(field(m, "next_page_token"), protoreflect.ValueOfString("same"))
			f.answers(m)
			names, err := list.walk(c, 10)
			require.ErrorContains(t, err, `"same"`)
			assert.True(t, strings.HasPrefix(err.Error(), "cwsandbox: "+name+": "), err)
			assert.Len(t, names, 2)
		})
		bubble(t, name+" with an error", func(t *testing.T, f *fake, c *Client) {
			f.fails(1, failure(codes.Unavailable, ""), list.page(0))
			_, err := list.walk(c, 10)
			require.NoError(t, err, "a page is asked for again")
			f.fails(100, failure(codes.PermissionDenied, ""), nil)
			_, err = list.walk(c, 10)
			require.ErrorIs(t, err, ErrPermissionDenied)
		})
	}
}

// TestAdminDeletes: what is gone is gone.
func TestAdminDeletes(t *testing.T) {
	empty := new(sandboxv1.Volume) // its bytes are those of every empty message
	for method, remove := range map[string]func(c *Client, opts ...MissingOption) error{
		"DeleteVolume": func(c *Client, opts ...MissingOption) error {
			return c.DeleteVolume(context.Background(), "vol-1", widened[VolumeDeleteOption](opts)...)
		},
		"DeleteSecretStore": func(c *Client, opts ...MissingOption) error {
			return c.DeleteSecretStore(context.Background(), "store", widened[SettingDeleteOption](opts)...)
		},
		"DeleteObjectStorageWifConfig": func(c *Client, opts ...MissingOption) error {
			return c.DeleteIdentityFederation(context.Background(), widened[SettingDeleteOption](opts)...)
		},
	} {
		bubble(t, method, func(t *testing.T, f *fake, c *Client) {
			allowed := func(i int) bool {
				m := f.of(method)[i].request.ProtoReflect()
				return m.Get(m.Descriptor().Fields().ByName("allow_missing")).Bool()
			}
			f.answers(empty)
			require.NoError(t, remove(c))
			require.NoError(t, remove(c, MissingOK()))
			assert.False(t, allowed(0))
			assert.True(t, allowed(1))

			f.fails(100, failure(codes.NotFound, ""), nil)
			err := remove(c)
			require.ErrorIs(t, err, ErrNotFound)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.NotEqual(t, "sandbox", e.Resource)
			require.NoError(t, remove(c, MissingOK()), "whatever the service makes of the flag")
		})
		bubble(t, method+" whose answer was lost", func(t *testing.T, f *fake, c *Client) {
			f.admin = func(_ context.Context, n int, _ string, _ proto.Message) (proto.Message, error) {
				if n == 1 {
					return nil, failure(codes.Internal, "")
				}
				return nil, failure(codes.NotFound, "")
			}
			require.NoError(t, remove(c))
			assert.Equal(t, 2, f.count(method))
		})
	}
}

// widened are options of one call out of those that fit several.
func widened[O any](opts []MissingOption) (wide []O) {
	for _, o := range opts {
		wide = append(wide, o.(O))
	}
	return wide
}
