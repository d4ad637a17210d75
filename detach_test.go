package cwsandbox

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDetach(t *testing.T) {
	bubble(t, "L-097", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, all := session(t, c, 1)
		alone := creating(t, c)
		for _, sb := range []*Sandbox{all[0], alone} {
			require.NoError(t, sb.Detach(t.Context()))
			require.NoError(t, sb.Detach(t.Context()), "again")
		}
		require.NoError(t, s.Close())
		require.NoError(t, cleanup(c, time.Second))
		assert.Zero(t, f.count("DeleteSandbox"))
		_, err := all[0].Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
	bubble(t, "L-098", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = 5 * time.Second
		sb := creating(t, c)
		stop := sb.Stop().Start()
		synctest.Wait()
		require.NoError(t, sb.Detach(t.Context()))
		result, err := stop.Wait()
		require.NoError(t, err)
		assert.Equal(t, StateCompleted, result.Info.State)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
	bubble(t, "an ended context changes nothing", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, all := session(t, c, 1)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, all[0].Detach(ctx), context.Canceled)
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
	})
	bubble(t, "a closed client keeps no connection for it", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		sb := creating(t, c)
		require.NoError(t, c.Close())
		require.NoError(t, sb.Detach(t.Context()))
		_, err := sb.Stop().Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Zero(t, f.count("DeleteSandbox"))
	})
	bubble(t, "adopting it again", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, all := session(t, c, 1)
		require.NoError(t, all[0].Detach(t.Context()))
		require.NoError(t, s.Adopt(all[0]))
		require.NoError(t, s.Close())
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
}
