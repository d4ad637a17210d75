package cwsandbox

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// lists makes List answer one page.
func (f *fake) lists(sandboxes ...*sandboxv1.Sandbox) {
	f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
		return &sandboxv1.ListSandboxesResponse{Sandboxes: sandboxes}, nil
	}
}

// oneDead makes c see a host on which every process but that with the pid 1 has ended.
func oneDead(c *Client) {
	c.host = &host{
		self:  func() Owner { return somebody.but(func(o *Owner) { o.Session, o.PID = "self", 1 }) },
		ended: func(pid int, _ uint64) bool { return pid != 1 },
	}
}

func idsOf(sandboxes []*Sandbox) []string {
	var ids []string
	for _, sb := range sandboxes {
		ids = append(ids, sb.ID())
	}
	return ids
}

func TestOrphans(t *testing.T) {
	alive := somebody.but(func(o *Owner) { o.PID = 1 })
	elsewhere := somebody.but(func(o *Owner) { o.PIDNamespace = "pid:[9] time:[2]" })
	bubble(t, "only those whose owner is dead", func(t *testing.T, f *fake, c *Client) {
		oneDead(c)
		damaged := marked("sb-damaged", somebody)
		damaged.Spec.Annotations[ownerKey] = "?"
		bare := record("sb-bare", runningV)
		bare.Spec = nil
		ancient := marked("sb-ancient", alive)
		ancient.Status.CreateTime = timestamppb.New(time.Now().AddDate(-1, 0, 0))
		f.lists(marked("sb-dead", somebody), marked("sb-alive", alive), marked("sb-elsewhere", elsewhere), damaged,
			record("sb-unmarked", runningV), bare, ancient)
		found, err := Collect(c.Orphans(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, []string{"sb-dead"}, idsOf(found))
		assert.Equal(t, somebody, found[0].Info().Owner)
		assert.True(t, proto.Equal(&sandboxv1.ListSandboxesRequest{}, f.of("ListSandboxes")[0].request))
		assert.Zero(t, c.registry.count(nil))
		assert.Len(t, f.calls, 1, "nothing but the list was sent")
	})
	bubble(t, "filters", func(t *testing.T, f *fake, c *Client) {
		oneDead(c)
		old := marked("sb-old", somebody)
		old.Status.CreateTime = timestamppb.New(time.Now().Add(-2 * time.Hour))
		other := marked("sb-other", somebody.but(func(o *Owner) { o.Session = "other" }))
		f.lists(marked("sb-young", somebody), old, other)
		ids := func(opts ...ListOption) []string {
			found, err := Collect(c.Orphans(t.Context(), opts...))
			require.NoError(t, err)
			return idsOf(found)
		}
		assert.Equal(t, []string{"sb-old"}, ids(WithOlderThan(time.Hour)))
		assert.Equal(t, []string{"sb-other"}, ids(WithOwner(Owner{Session: "other"})))
		assert.Equal(t, []string{"sb-young", "sb-old"}, ids(WithOwner(somebody), WithTags("a")))
		assert.Equal(t, []string{"a"}, f.of("ListSandboxes")[2].request.(*sandboxv1.ListSandboxesRequest).GetTags())
	})
	bubble(t, "not what a session of this client owns", func(t *testing.T, f *fake, c *Client) {
		oneDead(c)
		f.lists(marked("sb-1", somebody), marked("sb-2", somebody))
		s, err := c.NewSession()
		require.NoError(t, err)
		found, err := Collect(c.Orphans(t.Context()))
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.NoError(t, s.Adopt(found[0]))
		found, err = Collect(c.Orphans(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, []string{"sb-2"}, idsOf(found))
	})
	bubble(t, "those that have ended are none", func(t *testing.T, f *fake, c *Client) {
		for _, o := range []ListOption{WithTerminated(), WithState(StateFailed)} {
			found, err := Collect(c.Orphans(t.Context(), o))
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.EqualError(t, err, "cwsandbox: orphans: state: must not ask for sandboxes that have ended")
			assert.Empty(t, found)
		}
		assert.Empty(t, f.calls)
	})
	bubble(t, "the error comes last", func(t *testing.T, f *fake, c *Client) {
		oneDead(c)
		f.list = func(_ context.Context, n int, _ *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			if n > 1 {
				return nil, failure(codes.PermissionDenied, "")
			}
			return &sandboxv1.ListSandboxesResponse{
				Sandboxes: []*sandboxv1.Sandbox{marked("sb-1", somebody)}, NextPageToken: "more",
			}, nil
		}
		found, err := Collect(c.Orphans(t.Context()))
		require.ErrorContains(t, err, "cwsandbox: orphans: ")
		assert.Equal(t, []string{"sb-1"}, idsOf(found))
		for range c.Orphans(t.Context()) {
			break
		}
		assert.Equal(t, 3, f.count("ListSandboxes"), "leaving the loop ends the walk")
	})
}

func TestListByOwner(t *testing.T) {
	bubble(t, "every field", func(t *testing.T, f *fake, c *Client) {
		f.lists(marked("sb-1", somebody), record("sb-unmarked", runningV))
		matches := func(o Owner) bool {
			found, err := Collect(c.List(t.Context(), WithOwner(o)))
			require.NoError(t, err)
			return slices.Equal(idsOf(found), []string{"sb-1"})
		}
		paris := somebody.Started.In(time.FixedZone("", 3600))
		for _, o := range []Owner{
			somebody, {Host: somebody.Host}, {Boot: somebody.Boot}, {PIDNamespace: somebody.PIDNamespace}, {Session: somebody.Session},
			{SDK: somebody.SDK}, {PID: somebody.PID}, {Started: paris},
		} {
			assert.True(t, matches(o), o)
		}
		for _, o := range []Owner{
			{Host: "x"}, {Boot: "x"}, {PIDNamespace: "x"}, {Session: "x"}, {SDK: "x"}, {PID: 1}, {Started: paris.Add(1)},
			somebody.but(func(o *Owner) { o.PID = 1 }),
		} {
			assert.False(t, matches(o), o)
		}
	})
	bubble(t, "an owner without a field", func(t *testing.T, f *fake, c *Client) {
		_, err := Collect(c.List(t.Context(), WithOwner(Owner{})))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.EqualError(t, err, "cwsandbox: list: owner: must have at least one field")
		assert.Empty(t, f.calls)
	})
}
