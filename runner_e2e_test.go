package cwsandbox_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func ExampleClient_Runners() {
	ctx := context.Background()
	client, err := cwsandbox.DefaultClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	for runner, err := range client.Runners(ctx, cwsandbox.WithHealthyOnly(), cwsandbox.WithServiceVisibility(cwsandbox.VisibilityPublic)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(runner.ID, runner.GroupID, runner.Capabilities.Visibilities)
	}
	// Output: local-runner local [public private custom]
}

func TestRunnersByTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()

	all, err := cwsandbox.Collect(client.Runners(t.Context(), cwsandbox.WithArchitecture(runtime.GOARCH), cwsandbox.WithRunnerGroup("local")))
	require.NoError(t, err)
	require.Len(t, all, 1)
	listed := all[0]
	assert.Nil(t, listed.Free)
	require.NotNil(t, listed.Capabilities)
	assert.EqualValues(t, 1000*runtime.NumCPU(), listed.Capabilities.CPUMillicores)
	assert.False(t, listed.ConnectTime.IsZero())

	before, err := client.Runner(t.Context(), listed.ID, listed.OrganizationID)
	require.NoError(t, err)
	require.NotNil(t, before.Free)
	sb, err := client.Run(t.Context(), cwsandbox.WithRunners(listed.ID),
		cwsandbox.WithResources(cwsandbox.Resources{Requests: cwsandbox.ResourceList{CPU: "250m", Memory: "32Mi"}}))
	require.NoError(t, err)
	assert.Equal(t, listed.ID, sb.Info().RunnerID)
	assert.Equal(t, listed.GroupID, sb.Info().RunnerGroupID)
	during, err := cwsandbox.Collect(client.Runners(t.Context(), cwsandbox.WithFreeResources()))
	require.NoError(t, err)
	require.Len(t, during, 1)
	assert.EqualValues(t, 250, before.Free.CPUMillicores-during[0].Free.CPUMillicores)
	assert.EqualValues(t, 32<<20, before.Free.MemoryBytes-during[0].Free.MemoryBytes)
	assert.Equal(t, 1, during[0].Free.RunningSandboxes)

	for _, filter := range []cwsandbox.RunnerListOption{
		cwsandbox.WithFreeCPU(fmt.Sprint(runtime.NumCPU())), cwsandbox.WithFreeMemory("1Ei"), cwsandbox.WithFreeGPUs(1),
		cwsandbox.WithGPUType("H100"), cwsandbox.WithArchitecture("vax"), cwsandbox.WithRunnerGroup("other"), cwsandbox.WithServiceVisibility(9),
	} {
		none, err := cwsandbox.Collect(client.Runners(t.Context(), filter))
		require.NoError(t, err)
		assert.Empty(t, none)
	}
	_, err = sb.Stop().Wait()
	require.NoError(t, err)

	_, err = client.Runner(t.Context(), "other", listed.OrganizationID)
	require.ErrorIs(t, err, cwsandbox.ErrNotFound)
	assert.True(t, cwsandbox.HasReason(err, cwsandbox.ReasonRunnerNotFound))
}

func TestRunnersInTrouble(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	server.Inject(cwsandboxtest.Rule{
		Method: "ListAvailableRunners", Times: 1,
		Action: cwsandboxtest.Fail(codes.Unavailable, "try again", cwsandboxtest.RetryAfter(time.Millisecond)),
	})
	all, err := cwsandbox.Collect(client.Runners(t.Context()))
	require.NoError(t, err)
	assert.Len(t, all, 1)
	assert.Equal(t, 2, server.Received("ListAvailableRunners"))

	server.Inject(cwsandboxtest.Rule{Method: "GetAvailableRunner", Action: cwsandboxtest.Fail(codes.Unauthenticated, "who are you?")})
	_, err = client.Runner(t.Context(), "local-runner", "local-org")
	require.ErrorIs(t, err, cwsandbox.ErrUnauthenticated)
	assert.Equal(t, 1, server.Received("GetAvailableRunner"))
}
