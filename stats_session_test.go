package cwsandbox

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestStatsOfSessions(t *testing.T) {
	bubble(t, "sandboxes, startups and commands of each", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			time.Sleep(time.Duration(n) * time.Second) // 1, 2 and 3 seconds to start
			return record(fmt.Sprintf("sb-%d", n), runningV), nil
		}
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error { return exitFrame(stream, 0) }
		s, err := c.NewSession()
		require.NoError(t, err)
		assert.Zero(t, s.Stats())
		var all []*Sandbox
		for range 3 {
			sb, err := s.Run(t.Context())
			require.NoError(t, err)
			all = append(all, sb)
		}
		for i, n := range []int{5, 1, 3} {
			for range n {
				_, err := all[i].Exec(t.Context(), []string{"true"})
				require.NoError(t, err)
			}
		}
		want := SessionStats{
			Stats: Stats{Commands: 9, OK: 9}, Created: 3, Owned: 3,
			Started: 3, StartupTotal: 6 * time.Second, StartupMin: time.Second, StartupMax: 3 * time.Second,
			CommandsMin: 1, CommandsMax: 5,
		}
		assert.Equal(t, want, s.Stats())
		assert.Equal(t, 2*time.Second, s.Stats().StartupAverage())
		assert.InDelta(t, 3, s.Stats().CommandsPerSandbox(), 0)
		require.NoError(t, s.Close())
		assert.Equal(t, want, s.Stats(), "they outlive the sandboxes")
	})
	bubble(t, "adopted ones are owned, not created", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession()
		require.NoError(t, err)
		sb := running(t, f, c)
		for range 2 {
			require.NoError(t, s.Adopt(sb))
		}
		assert.Equal(t, SessionStats{Owned: 1}, s.Stats())
		require.NoError(t, s.Close())
	})
	bubble(t, "a start counts when it is seen", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession()
		require.NoError(t, err)
		begun := time.Now()
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			if time.Since(begun) < 10*time.Second {
				return record(id, sandboxv1.State_STATE_CREATING), nil
			}
			return record(id, runningV), nil
		}
		sb, err := s.Create(t.Context())
		require.NoError(t, err)
		assert.Equal(t, SessionStats{Created: 1, Owned: 1}, s.Stats())
		require.NoError(t, sb.WaitRunning(t.Context()))
		_, err = sb.Refresh(t.Context())
		require.NoError(t, err)
		stats := s.Stats()
		assert.EqualValues(t, 1, stats.Started)
		assert.GreaterOrEqual(t, stats.StartupMin, 10*time.Second)
		assert.Less(t, stats.StartupMax, 15*time.Second)
		require.NoError(t, s.Close())
	})
	bubble(t, "while others count", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error { return exitFrame(stream, 0) }
		s, all := session(t, c, 4)
		var work sync.WaitGroup
		for _, sb := range all {
			work.Go(func() {
				for range 5 {
					_, err := sb.Exec(t.Context(), []string{"true"})
					assert.NoError(t, err)
					stats := s.Stats()
					assert.LessOrEqual(t, stats.OK, stats.Commands)
				}
			})
		}
		work.Wait()
		require.NoError(t, s.Close())
		assert.EqualValues(t, 20, s.Stats().OK)
		assert.EqualValues(t, 5, s.Stats().CommandsMin)
	})
}

func TestRates(t *testing.T) {
	assert.Zero(t, Stats{}.CompletedRate())
	assert.Zero(t, Stats{}.FailedRate())
	stats := Stats{Commands: 8, OK: 3, NonZero: 1, Failed: 2}
	assert.InDelta(t, 0.5, stats.CompletedRate(), 0)
	assert.InDelta(t, 0.25, stats.FailedRate(), 0)
	assert.Zero(t, SessionStats{}.StartupAverage())
	assert.Zero(t, SessionStats{}.CommandsPerSandbox())
}
