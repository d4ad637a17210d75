package cwsandbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestAdopt(t *testing.T) {
	bubble(t, "L-129", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, all := session(t, c, 1)
		require.ErrorIs(t, s.Adopt(nil), ErrInvalidArgument)
		require.NoError(t, s.Adopt(all[0]))
		assert.Equal(t, 1, s.Len())

		other := creating(t, c)
		require.NoError(t, s.Adopt(other))
		require.NoError(t, s.Adopt(other))
		assert.Equal(t, 2, s.Len())

		ended, gone := creating(t, c), creating(t, c)
		fl.set(fl.ended, true, "sb-3")
		fl.set(fl.gone, true, "sb-4")
		for _, sb := range []*Sandbox{ended, gone} {
			sb.Refresh(t.Context())
			require.NoError(t, s.Adopt(sb))
		}
		assert.Equal(t, 2, s.Len())
		assert.Equal(t, 2, c.registry.count(c))
	})
	bubble(t, "L-130", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		creating(t, c)
		one, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		two, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		s, _ := session(t, c, 0)
		require.NoError(t, s.Adopt(one))
		require.NoError(t, s.Adopt(two))
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		require.NoError(t, s.Close())
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "L-131", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		a, all := session(t, c, 1)
		b, _ := session(t, c, 0)
		require.NoError(t, b.Adopt(all[0]))
		assert.Zero(t, a.Len())
		assert.Equal(t, 1, b.Len())
		require.NoError(t, a.Close())
		assert.Zero(t, f.count("DeleteSandbox"))
		require.NoError(t, b.Close())
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "a handle of another client", func(t *testing.T, f *fake, c *Client) {
		_, other := fakeClient(t)
		s, _ := session(t, c, 0)
		require.ErrorIs(t, s.Adopt(creating(t, other)), ErrInvalidArgument)
		assert.Zero(t, s.Len())
	})
	bubble(t, "makes a sandbox of others ours to clean up", func(t *testing.T, f *fake, c *Client) {
		f.fleet().made = 2
		s, _ := session(t, c, 0)
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		require.NoError(t, s.Adopt(sb))
		require.NoError(t, cleanup(c, time.Second))
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "not what a cleanup that is running would miss", func(t *testing.T, f *fake, c *Client) {
		f.fleet().slow = time.Second
		s, all := session(t, c, 1)
		other, _ := session(t, c, 0)
		sb, err := c.Attach(t.Context(), "sb-9")
		require.NoError(t, err)
		running := Go(func() (struct{}, error) { return struct{}{}, cleanup(c, time.Minute) })
		synctest.Wait()
		require.ErrorIs(t, s.Adopt(sb), ErrClosed)
		require.NoError(t, other.Adopt(all[0]), "this one is tracked already")
		_, err = running.Wait()
		require.NoError(t, err)
		require.NoError(t, s.Adopt(sb))
		assert.Equal(t, 1, s.Len())
	})
	bubble(t, "not what a closed client could not stop", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		a, all := session(t, c, 1)
		b, _ := session(t, c, 0)
		sb, err := c.Attach(t.Context(), "sb-9")
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.ErrorIs(t, b.Adopt(sb), ErrClosed)
		assert.Zero(t, b.Len())
		require.NoError(t, b.Adopt(all[0]), "for what is tracked the connection stays")
		assert.Zero(t, a.Len())
		require.NoError(t, b.Close())
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
}

func TestSessionAttach(t *testing.T) {
	bubble(t, "adopts", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 0)
		_, err := s.Attach(t.Context(), "sb-7", WithGrace(3*time.Second))
		require.NoError(t, err)
		assert.Equal(t, 1, s.Len())
		require.NoError(t, s.Close())
		assert.Equal(t, "sb-7", f.lastDelete(t).GetSandboxId())
		assert.EqualValues(t, 3, f.lastDelete(t).GetGracePeriodSeconds())
	})
	bubble(t, "not one that has ended", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.set(fl.ended, true, "sb-7")
		s, _ := session(t, c, 0)
		sb, err := s.Attach(t.Context(), "sb-7")
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, sb.Info().State)
		assert.Zero(t, s.Len())
	})
	bubble(t, "not into a session that closed meanwhile", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			time.Sleep(time.Second)
			return fl.get(id)
		}
		s, _ := session(t, c, 0)
		attach := Go(func() (*Sandbox, error) { return s.Attach(t.Context(), "sb-7") })
		synctest.Wait()
		require.NoError(t, s.Close())
		sb, err := attach.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Nil(t, sb)
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "a missing one is an error", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.set(fl.gone, true, "sb-7")
		s, _ := session(t, c, 0)
		_, err := s.Attach(t.Context(), "sb-7")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

func TestSessionList(t *testing.T) {
	request := func(f *fake) *sandboxv1.ListSandboxesRequest {
		calls := f.of("ListSandboxes")
		return calls[len(calls)-1].request.(*sandboxv1.ListSandboxesRequest)
	}
	bubble(t, "L-132", func(t *testing.T, f *fake, c *Client) {
		f.fleet().made = 3
		s, _ := session(t, c, 0, WithTags("job"), WithRunners("r1"))
		all, err := Collect(s.List(t.Context(), WithTags("mine")))
		require.NoError(t, err)
		assert.Len(t, all, 3)
		assert.Equal(t, []string{"job", "mine"}, request(f).GetTags())
		assert.Equal(t, []string{"r1"}, request(f).GetRunnerIds())
		assert.Zero(t, s.Len())
		assert.Zero(t, c.registry.count(c))

		_, err = Collect(s.List(t.Context(), WithRunners("r2")))
		require.NoError(t, err)
		assert.Equal(t, []string{"r2"}, request(f).GetRunnerIds())
		_, err = Collect(s.List(t.Context(), WithRunners()))
		require.NoError(t, err)
		assert.Empty(t, request(f).GetRunnerIds())

		plain, _ := session(t, c, 0)
		check := f.quiet(t)
		for _, opts := range [][]ListOption{nil, {WithPageSize(5)}, {WithTerminated()}, {WithState(StateRunning)}, {WithRunners()}} {
			adopted, err := plain.AdoptAll(t.Context(), opts...)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.Empty(t, adopted)
		}
		check()
	})
	bubble(t, "adopting all", func(t *testing.T, f *fake, c *Client) {
		f.fleet().made = 3
		s, _ := session(t, c, 0, WithTags("job"))
		adopted, err := s.AdoptAll(t.Context())
		require.NoError(t, err)
		assert.Len(t, adopted, 3)
		assert.Equal(t, 3, s.Len())
		assert.Equal(t, 3, c.registry.count(c))
		require.NoError(t, s.Close())
		assert.Equal(t, 3, f.count("DeleteSandbox"))
	})
	for name, filter := range map[string]ListOption{
		"adopting by tag":    WithTags("job"),
		"adopting by runner": WithRunners("r1"),
		"adopting by volume": WithVolumeIDs("v1"),
		"adopting by age":    WithOlderThan(time.Minute),
		"adopting by owner":  WithOwner(somebody),
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
				sb := marked("sb-1", somebody)
				sb.Status.CreateTime = timestamppb.New(time.Now().Add(-time.Hour))
				return &sandboxv1.ListSandboxesResponse{Sandboxes: []*sandboxv1.Sandbox{sb}}, nil
			}
			s, _ := session(t, c, 0)
			adopted, err := s.AdoptAll(t.Context(), filter)
			require.NoError(t, err)
			assert.Len(t, adopted, 1)
		})
	}
	bubble(t, "adopting keeps what came before an error", func(t *testing.T, f *fake, c *Client) {
		f.list = func(_ context.Context, n int, _ *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			if n > 1 {
				return nil, failure(codes.PermissionDenied, "")
			}
			return &sandboxv1.ListSandboxesResponse{Sandboxes: []*sandboxv1.Sandbox{record("sb-1", runningV)}, NextPageToken: "more"}, nil
		}
		s, _ := session(t, c, 0, WithTags("job"))
		adopted, err := s.AdoptAll(t.Context())
		require.ErrorIs(t, err, ErrPermissionDenied)
		require.Len(t, adopted, 1)
		assert.Equal(t, 1, s.Len())
		require.NoError(t, s.Close())
	})
	bubble(t, "adopting stops with the session", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.made = 2
		s, _ := session(t, c, 0, WithTags("job"))
		f.list = func(context.Context, int, *sandboxv1.ListSandboxesRequest) (*sandboxv1.ListSandboxesResponse, error) {
			time.Sleep(time.Second)
			return fl.list(), nil
		}
		adopt := Go(func() ([]*Sandbox, error) { return s.AdoptAll(t.Context()) })
		synctest.Wait()
		require.NoError(t, s.Close())
		adopted, err := adopt.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Empty(t, adopted)
		assert.Zero(t, c.registry.count(c))
	})
}
