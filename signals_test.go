package cwsandbox

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// While a signal is being handled, main must not learn from the end of its sandbox that it is over: the program would end
// before the other sandboxes are stopped.
func TestCallsDuringASignal(t *testing.T) {
	for name, call := range map[string]func(context.Context, *Session, *Sandbox) error{
		"close":    func(_ context.Context, s *Session, _ *Sandbox) error { return s.Close() },
		"shutdown": func(ctx context.Context, s *Session, _ *Sandbox) error { return s.Shutdown(ctx) },
		"stop": func(_ context.Context, _ *Session, sb *Sandbox) error {
			_, err := sb.Stop().Wait()
			return err
		},
		"refresh": func(ctx context.Context, _ *Session, sb *Sandbox) error {
			_, err := sb.Refresh(ctx)
			return err
		},
		"read": func(ctx context.Context, _ *Session, sb *Sandbox) error {
			_, err := sb.ReadFile(ctx, "/f")
			return err
		},
		"write": func(ctx context.Context, _ *Session, sb *Sandbox) error { return sb.WriteFile(ctx, "/f", nil) },
	} {
		bubble(t, name, func(t *testing.T, f *fake, c *Client) {
			s, err := c.NewSession()
			require.NoError(t, err)
			f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return record("sb-1", runningV), nil
			}
			f.write = func(context.Context, int, *sandboxv1.WriteFileRequest) error { return nil }
			sb, err := s.Create(t.Context())
			require.NoError(t, err)
			handled := make(chan struct{})
			c.registry.signals = &signalHook{disabled: true, handling: handled}
			work := Go(func() (struct{}, error) { return struct{}{}, call(t.Context(), s, sb) })
			synctest.Wait()
			assert.False(t, work.finished())
			close(handled)
			work.Wait()
		})
	}
	bubble(t, "a shutdown waits no longer than it may", func(t *testing.T, f *fake, c *Client) {
		s, err := c.NewSession()
		require.NoError(t, err)
		handled := make(chan struct{})
		c.registry.signals = &signalHook{disabled: true, handling: handled}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
		close(handled)
	})
}
