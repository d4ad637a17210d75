package cwsandboxtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// echoed runs a command and returns the way that it took.
func echoed(t *testing.T, c *cwsandbox.Client) cwsandbox.DataPlane {
	t.Helper()
	sb, err := c.Run(t.Context())
	require.NoError(t, err)
	defer func() {
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
	}()
	res, err := sb.Exec(t.Context(), []string{"echo", "hello"})
	require.NoError(t, err)
	assert.Equal(t, "hello\n", string(res.Stdout))
	return res.Via
}

func TestDirectConnections(t *testing.T) {
	t.Run("in memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			srv := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.DirectConnections())
			assert.Equal(t, cwsandbox.DataPlaneDirect, echoed(t, srv.Client()))
			assert.Empty(t, srv.Calls("StreamExec")[0].Metadata.Get("authorization"))

			srv.Inject(cwsandboxtest.Rule{Method: "StreamExec", Action: cwsandboxtest.Fail(codes.DataLoss, "lost")})
			sb, err := srv.Client().Run(t.Context())
			require.NoError(t, err)
			_, err = sb.Exec(t.Context(), []string{"true"})
			assert.ErrorContains(t, err, "lost", "rules are about the calls of either way")
			_, err = sb.Stop().Wait()
			require.NoError(t, err)
		})
	})
	t.Run("on the network", func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t, cwsandboxtest.DirectConnections())
		assert.Equal(t, cwsandbox.DataPlaneDirect, echoed(t, srv.Client(cwsandbox.WithDataPlane(cwsandbox.DataPlaneDirect))))

		// A client that nobody has told the way, with dial options that it does not need.
		c, err := cwsandbox.NewClient(cwsandbox.WithBaseURL(srv.URL()), cwsandbox.WithAPIKey(srv.APIKey()),
			cwsandbox.WithDialOptions(grpc.WithUserAgent("mine")), cwsandbox.WithDataPlane(cwsandbox.DataPlaneDirect))
		require.NoError(t, err)
		defer c.Close()
		assert.Equal(t, cwsandbox.DataPlaneDirect, echoed(t, c))
	})
	t.Run("not without being asked", func(t *testing.T) {
		srv := cwsandboxtest.NewServer(t)
		assert.Equal(t, cwsandbox.DataPlaneGateway, echoed(t, srv.Client()))
		assert.Zero(t, srv.Received("ConnectSandbox"))
	})
}
