package cwsandboxtest_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func Example() {
	srv, err := cwsandboxtest.Start(context.Background(), cwsandboxtest.InMemory())
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()

	// The service is busy for a moment; the client tries again.
	srv.Inject(cwsandboxtest.Rule{
		Method: "CreateSandbox",
		Times:  2,
		Action: cwsandboxtest.Fail(codes.Unavailable, "busy", cwsandboxtest.RetryAfter(time.Millisecond)),
	})
	ctx := context.Background()
	sb, err := srv.Client().Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()
	out, err := sb.Output(ctx, "echo", "hello")
	fmt.Printf("%s%v, %d attempts\n", out, err, srv.Received("CreateSandbox"))
	// Output:
	// hello
	// <nil>, 3 attempts
}

func TestClient(t *testing.T) {
	for _, name := range []string{"network", "memory"} {
		t.Run(name, func(t *testing.T) {
			use := func(t *testing.T, opts ...cwsandboxtest.Option) {
				srv := cwsandboxtest.NewServer(t, opts...)
				sb, err := srv.Client().Run(t.Context())
				require.NoError(t, err)
				out, err := sb.Output(t.Context(), "echo", "hello")
				require.NoError(t, err)
				assert.Equal(t, "hello\n", string(out))
				assert.Equal(t, []string{sb.ID()}, srv.Active())
				calls := srv.CallsFor(sb.ID())
				require.NotEmpty(t, calls)
				assert.Equal(t, "CreateSandbox", calls[0].Method)
				_, err = sb.Stop().Wait()
				require.NoError(t, err)
			}
			if name == "memory" {
				synctest.Test(t, func(t *testing.T) { use(t, cwsandboxtest.InMemory()) })
				return
			}
			use(t)
		})
	}
}

func TestClientTakesOptions(t *testing.T) {
	tb := &fakeTB{TB: t}
	srv := cwsandboxtest.NewServer(tb)
	_, err := srv.Client(cwsandbox.WithAPIKey("another")).Run(t.Context())
	require.ErrorIs(t, err, cwsandbox.ErrUnauthenticated)
	assert.PanicsWithValue(t, errFatal, func() { srv.Client(cwsandbox.WithBaseURL("nonsense")) })
	assert.Len(t, tb.end(), 1)

	srv, err = cwsandboxtest.Start(t.Context(), cwsandboxtest.InMemory())
	require.NoError(t, err)
	defer srv.Close()
	assert.Panics(t, func() { srv.Client(cwsandbox.WithBaseURL("nonsense")) })
}

func TestServerClosesItsClients(t *testing.T) {
	srv := cwsandboxtest.NewServer(t)
	c := srv.Client()
	require.NoError(t, srv.Close())
	_, err := c.Run(t.Context())
	assert.ErrorIs(t, err, cwsandbox.ErrClosed)
}
