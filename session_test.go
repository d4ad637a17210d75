package cwsandbox

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestSession(t *testing.T) {
	bubble(t, "lays its defaults under every create", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 0, WithTags("job"), WithImage("alpine"))
		_, err := s.Run(t.Context(), WithTags("mine"))
		require.NoError(t, err)
		spec := f.of("CreateSandbox")[0].request.(*sandboxv1.CreateSandboxRequest).GetSandbox().GetSpec()
		assert.Equal(t, []string{"job", "mine"}, spec.GetTags())
		assert.Equal(t, "alpine", spec.GetContainers()[0].GetImage())
		assert.Equal(t, 1, s.Len())
	})
	bubble(t, "refuses bad defaults", func(t *testing.T, _ *fake, c *Client) {
		_, err := c.NewSession(WithImage(""))
		require.ErrorIs(t, err, ErrInvalidArgument)
	})
	bubble(t, "of a closed client", func(t *testing.T, _ *fake, c *Client) {
		require.NoError(t, c.Close())
		_, err := c.NewSession()
		require.ErrorIs(t, err, ErrClosed)
	})
	bubble(t, "L-126", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, all := session(t, c, 5)
		assert.Equal(t, 5, s.Len())

		fl.set(fl.ended, true, "sb-1")
		_, err := all[0].WaitDone(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 4, s.Len(), "seen terminal")

		fl.set(fl.gone, true, "sb-2")
		_, err = all[1].Refresh(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		assert.Equal(t, 3, s.Len(), "gone")

		_, err = all[2].Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 2, s.Len(), "stopped")

		require.NoError(t, all[3].Detach(t.Context()))
		assert.Equal(t, 1, s.Len(), "detached")
		assert.Equal(t, 1, c.registry.count(c))

		fl.set(fl.ended, true, "sb-5")
		_, err = Collect(c.List(t.Context()))
		require.NoError(t, err)
		_, err = c.Attach(t.Context(), "sb-5")
		require.NoError(t, err)
		assert.Zero(t, s.Len(), "seen terminal through another handle")
		check := f.quiet(t)
		require.NoError(t, s.Close())
		check()
	})
}

func TestSessionContext(t *testing.T) {
	bubble(t, "ends when the close begins", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = 5 * time.Second
		s, _ := session(t, c, 1)
		ctx := s.Context()
		require.NoError(t, ctx.Err())
		done := Go(func() (struct{}, error) { return struct{}{}, s.Close() })
		synctest.Wait()
		require.ErrorIs(t, ctx.Err(), context.Canceled)
		require.ErrorIs(t, context.Cause(ctx), ErrClosed)
		assert.False(t, done.finished())
		_, err := done.Wait()
		require.NoError(t, err)
	})
	bubble(t, "ends with a loss, and the session goes on", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 1)
		lost := errors.New("lost")
		s.state.lose(lost)
		require.ErrorIs(t, context.Cause(s.Context()), lost)
		_, err := s.Create(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, s.Len())
		require.NoError(t, s.Close())
		require.ErrorIs(t, context.Cause(s.Context()), lost, "the first cause stands")
		assert.Equal(t, 2, f.count("DeleteSandbox"))
	})
	t.Run("of a sandbox without a session", func(*testing.T) { (*sessionState)(nil).lose(errors.New("lost")) })
}

func TestSessionStats(t *testing.T) {
	exec := func(t *testing.T, sb *Sandbox) {
		t.Helper()
		_, err := sb.Exec(t.Context(), []string{"true"})
		require.NoError(t, err)
	}
	bubble(t, "sums its sandboxes, also those that have left", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		code := int32(0)
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error { return exitFrame(stream, code) }
		s, all := session(t, c, 3)
		exec(t, all[0])
		code = 3
		exec(t, all[1])
		require.NoError(t, all[0].Detach(t.Context()))
		_, err := all[1].Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, Stats{Commands: 2, OK: 1, NonZero: 1}, s.Stats().Stats)
		exec(t, all[0])
		assert.Equal(t, int64(2), s.Stats().Commands, "what is run after the session let go is not the session's")
		assert.Equal(t, int64(2), all[0].Stats().Commands)
		require.NoError(t, s.Close())
		assert.Equal(t, Stats{Commands: 2, OK: 1, NonZero: 1}, s.Stats().Stats)
	})
	bubble(t, "a command ends where it began", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error {
			time.Sleep(time.Second)
			return exitFrame(stream, 0)
		}
		a, all := session(t, c, 1)
		b, _ := session(t, c, 0)
		p, err := all[0].StartProcess(t.Context(), []string{"true"})
		require.NoError(t, err)
		require.NoError(t, b.Adopt(all[0]))
		assert.Equal(t, Stats{Commands: 1}, a.Stats().Stats)
		_, err = p.Wait()
		require.NoError(t, err)
		assert.Equal(t, Stats{Commands: 1, OK: 1}, a.Stats().Stats)
		assert.Zero(t, b.Stats().Stats)
	})
}
