package cwsandbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func ExampleWithPlacement() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithPlacement(cwsandbox.PlacementCKS), cwsandbox.WithRunners("local-runner"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	info := sb.Info()
	fmt.Printf("%v: runner %s of group %s\n", info.Placement, info.RunnerID, info.RunnerGroupID)
	// Output: cks: runner local-runner of group local
}

func ExampleWithSpillover() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithSpillover(cwsandbox.SpilloverToServerless))
	if errors.Is(err, cwsandbox.ErrPlacement) {
		fmt.Println("no room in either place:", err)
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	fmt.Println("placement:", sb.Info().Placement)
	// Output: placement: cks
}

func TestPlacementByTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.NoServerless())
	client := server.Client()
	for _, opt := range []cwsandbox.Option{nil, cwsandbox.WithPlacement(cwsandbox.PlacementServerless), cwsandbox.WithSpillover(cwsandbox.SpilloverToCKS)} {
		_, err := client.Run(t.Context(), opt)
		require.ErrorIs(t, err, cwsandbox.ErrPrecondition)
		assert.NotErrorIs(t, err, cwsandbox.ErrPlacement)
		assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonServerlessNotAllowed))
	}
	assert.Equal(t, 3, server.Received("CreateSandbox"), "the gate of an organization does not spill")
	sb, err := client.Run(t.Context(), cwsandbox.WithPlacement(cwsandbox.PlacementCKS))
	require.NoError(t, err)
	assert.Equal(t, cwsandbox.PlacementCKS, sb.Info().Placement)
	assert.Equal(t, "local-runner", sb.Info().RunnerID)
	_, err = sb.Stop().Wait()
	require.NoError(t, err)
}

func TestSpilloverByTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	began := server.Received("CreateSandbox")
	sb, err := client.Run(t.Context(), cwsandbox.WithRunners("not-there"), cwsandbox.WithSpillover(cwsandbox.SpilloverToServerless))
	require.NoError(t, err, "RUNNER_UNAVAILABLE comes with a wish to be asked again, and spills all the same")
	assert.Equal(t, cwsandbox.PlacementServerless, sb.Info().Placement)
	assert.Equal(t, "local-runner", sb.Info().RunnerID)
	assert.Equal(t, 2, server.Received("CreateSandbox")-began)
	_, err = sb.Stop().Wait()
	require.NoError(t, err)

	t.Run("neither", func(t *testing.T) {
		full := server.Inject(cwsandboxtest.Rule{
			Method: "CreateSandbox", Times: 1,
			Action: cwsandboxtest.Fail(codes.ResourceExhausted, "no room", cwsandboxtest.Reason("CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED")),
		})
		overloaded := server.Inject(cwsandboxtest.Rule{
			Method: "CreateSandbox",
			Action: cwsandboxtest.Fail(codes.ResourceExhausted, "too busy", cwsandboxtest.Reason("CWSANDBOX_RUNNER_OVERLOADED")),
		})
		defer overloaded.Release()
		_, err := client.Run(t.Context(), cwsandbox.WithSpillover(cwsandbox.SpilloverToCKS))
		require.ErrorIs(t, err, cwsandbox.ErrPlacement)
		assert.EqualError(t, err, "cwsandbox: run: on serverless: no room (CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED); "+
			"then on cks: too busy (CWSANDBOX_RUNNER_OVERLOADED)")
		assert.Equal(t, []int{1, 1}, []int{full.Hits(), overloaded.Hits()})
	})
	t.Run("a second try whose answer is lost leaves nothing", func(t *testing.T) {
		server.Inject(cwsandboxtest.Rule{
			Method: "CreateSandbox", Times: 1,
			Action: cwsandboxtest.Fail(codes.ResourceExhausted, "no room", cwsandboxtest.Reason("CWSANDBOX_RUNNER_CAPACITY_EXHAUSTED")),
		})
		lost := server.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.DropResponse()})
		session, err := client.NewSession(cwsandbox.WithSpillover(cwsandbox.SpilloverToServerless))
		require.NoError(t, err)
		sb, err := session.Run(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 1, lost.Hits())
		assert.Equal(t, cwsandbox.PlacementServerless, sb.Info().Placement)
		require.NoError(t, session.Close())
		server.AssertNoneLeft(t)
	})
}
