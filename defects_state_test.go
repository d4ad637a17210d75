package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestDefectsOfWhatIsSeen(t *testing.T) {
	for name, look := range map[string]func(t *testing.T, c *Client) *Sandbox{
		"a refresh": func(t *testing.T, c *Client) *Sandbox {
			sb := creating(t, c)
			_, err := sb.Refresh(t.Context())
			require.NoError(t, err)
			return sb
		},
		"a list": func(t *testing.T, c *Client) *Sandbox {
			all, err := Collect(c.List(t.Context(), WithTerminated()))
			require.NoError(t, err)
			require.Len(t, all, 1)
			return all[0]
		},
		"an attach": func(t *testing.T, c *Client) *Sandbox {
			sb, err := c.Attach(t.Context(), "sb-1")
			require.NoError(t, err)
			return sb
		},
	} {
		for _, state := range []sandboxv1.State{completed, failed} {
			bubble(t, fmt.Sprintf("defect 22: the exit code is lost when %s sees that it %v", name, State(state)),
				func(t *testing.T, f *fake, c *Client) {
					f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) { return ended(id, state, 3), nil }
					f.lists(ended("sb-1", state, 3))
					sb := look(t, c)
					info, err := sb.WaitDone(t.Context())
					require.NoError(t, err)
					require.NotNil(t, info.ExitCode)
					assert.Equal(t, 3, *info.ExitCode)
				})
		}
	}
	bubble(t, "defect 23: the exit code is read from a field that no message has", func(t *testing.T, f *fake, c *Client) {
		code := int32(0) // as the service sends it: present, and zero
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			status := &sandboxv1.SandboxStatus{State: completed, ExitCode: &code}
			return &sandboxv1.Sandbox{SandboxId: id, Status: status}, nil
		}
		info, err := creating(t, c).WaitDone(t.Context())
		require.NoError(t, err)
		require.NotNil(t, info.ExitCode)
		assert.Zero(t, *info.ExitCode)
		assert.Equal(t, 1, f.count("GetSandbox"))
	})
	bubble(t, "defect 24: one good answer does not make up for a failure", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, n int, id string) (*sandboxv1.Sandbox, error) {
			switch {
			case n%10 == 0:
				return nil, failure(codes.Unavailable, "")
			case n < 65:
				return record(id, creatingV), nil
			}
			return record(id, runningV), nil
		}
		sb, start := creating(t, c), time.Now()
		require.NoError(t, sb.WaitRunning(t.Context()))
		assert.Greater(t, time.Since(start), time.Minute, "from the first failure to the last it was longer than the budget")
		for _, call := range f.of("GetSandbox")[11:19] {
			assert.InDelta(t, 15, call.deadline.Seconds(), 0.01)
		}
	})
	bubble(t, "defect 25: an unspecified state counts as the end", func(t *testing.T, f *fake, c *Client) {
		f.states(unspecified, unspecified, runningV, unspecified, completed)
		sb := creating(t, c)
		require.NoError(t, sb.WaitRunning(t.Context()))
		assert.Equal(t, StateRunning, sb.Info().State)
		info, err := sb.WaitDone(t.Context())
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, info.State)
	})
	bubble(t, "defect 26: a state that is not known yet is an error", func(t *testing.T, f *fake, c *Client) {
		f.states(42, runningV, 42, creatingV)
		f.lists(record("sb-2", 42))
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		assert.Equal(t, State(42), sb.Info().State)
		require.NoError(t, sb.WaitRunning(t.Context()))
		for range 2 {
			info, err := sb.Refresh(t.Context())
			require.NoError(t, err)
			assert.Equal(t, StateRunning, info.State, "nor does it go back")
		}
		all, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		assert.Equal(t, State(42), all[0].Info().State)
	})
	bubble(t, "defect 27: waits return while the sandbox terminates", func(t *testing.T, f *fake, c *Client) {
		f.states(terminating, terminating, terminating, completed)
		sb := creating(t, c)
		require.NoError(t, sb.WaitRunning(t.Context()), "it has run to its end")
		assert.Equal(t, StateCompleted, sb.Info().State)
	})
	bubble(t, "defect 28: of two times one has a zone", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			sb := ended(id, completed, 0)
			sb.Status.StartTime = timestamppb.Now()
			return sb, nil
		}
		info, err := creating(t, c).WaitDone(t.Context())
		require.NoError(t, err)
		for _, at := range []time.Time{info.CreateTime, info.StartTime, info.EndTime, info.SeenTime} {
			assert.False(t, at.IsZero())
			assert.Equal(t, time.UTC, at.Location())
		}
	})
	t.Run("defect 29: it warns of sandboxes that were only looked at", func(t *testing.T) { // collected in real time
		f, c := fakeClient(t)
		f.lists(record("sb-2", runningV))
		func() {
			_, err := c.Attach(t.Context(), "sb-1")
			require.NoError(t, err)
			_, err = Collect(c.List(t.Context()))
			require.NoError(t, err)
		}()
		collect(t)
		assert.Empty(t, f.logged())
		creating(t, c)
		f.warning(t) // of one that was made
	})
	bubble(t, "defect 38: what was found says neither its age nor whose it is", func(t *testing.T, f *fake, c *Client) {
		created := time.Now().Add(-3 * time.Hour).UTC()
		found := marked("sb-2", somebody)
		found.Spec.Tags, found.Status.CreateTime = []string{"job"}, timestamppb.New(created)
		found.Spec.Annotations["team"] = "blue"
		f.lists(found)
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return found, nil }
		listed, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		attached, err := c.Attach(t.Context(), "sb-2")
		require.NoError(t, err)
		for _, sb := range append(listed, attached) {
			info := sb.Info()
			assert.Equal(t, []string{"job"}, info.Tags)
			assert.Equal(t, map[string]string{"team": "blue"}, info.Annotations)
			assert.Equal(t, created, info.CreateTime)
			assert.Equal(t, somebody.PID, info.Owner.PID)
		}
	})
}

func TestDefectsOfWaiting(t *testing.T) {
	inBubble(t, "defect 32: of several failures one is kept, and what is done counts as pending", func(t *testing.T) {
		one, two := errors.New("one"), errors.New("two")
		a, b, d := after(3*time.Second, 1, one), after(time.Second, 2, nil), after(2*time.Second, 3, two)
		done, pending, err := WaitAny(t.Context(), 2, a, b, d)
		require.NoError(t, err)
		assert.Equal(t, []*Future[int]{b, d}, done, "in the order in which they finished")
		assert.Equal(t, []*Future[int]{a}, pending)
		values, err := WaitAll(t.Context(), a, b, d)
		require.ErrorIs(t, err, one)
		require.ErrorIs(t, err, two)
		assert.Equal(t, []int{0, 2, 0}, values)
	})
}

// TestDefectsThatWereFixed are those that the others had once.
func TestDefectsThatWereFixed(t *testing.T) {
	bubble(t, "defect 34: terminating is no state", func(t *testing.T, f *fake, c *Client) {
		f.states(terminating)
		sb := creating(t, c)
		info, err := sb.Refresh(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "terminating", info.State.String())
		assert.False(t, info.State.Terminal())
		_, err = sb.Exec(t.Context(), []string{"true"})
		require.ErrorIs(t, err, ErrNotRunning)
	})
	bubble(t, "defect 34: a sandbox that is not found after its stop is said to have ended well", func(t *testing.T, f *fake, c *Client) {
		f.drains(0, nil)
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return nil, errNoSandbox }
		result, err := running(t, f, c).Stop().Wait()
		require.NoError(t, err)
		assert.False(t, result.Info.State.Terminal())
		assert.Nil(t, result.Info.ExitCode)
	})
	bubble(t, "defect 34: a stop with snapshots joins one without", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		plain := sb.Stop().Start()
		synctest.Wait()
		_, err := sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotConflict)
		_, err = plain.Wait()
		require.NoError(t, err)
	})
	bubble(t, "defect 34: a delete has less time than the archive and the grace take", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		_, err := sb.Stop(WithStopSnapshot(), WithGrace(30*time.Second)).Wait()
		require.NoError(t, err)
		assert.Greater(t, f.of("DeleteSandbox")[0].deadline, 630*time.Second)
	})
	bubble(t, "defect 34: a list ends after its first page", func(t *testing.T, f *fake, c *Client) {
		f.pages(3)
		all, err := Collect(c.List(t.Context()))
		require.NoError(t, err)
		assert.Len(t, all, 3)
	})
}
