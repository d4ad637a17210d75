package cwsandbox_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func TestPurgeByTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	run := func(tags ...string) *cwsandbox.Sandbox {
		sb, err := client.Run(t.Context(), cwsandbox.WithTags(tags...))
		require.NoError(t, err)
		return sb
	}
	match, stuck, other := run("a", "b"), run("a", "b", "stuck"), run("a")
	release := server.FailPurge("stuck", true)
	selected := cwsandbox.WithTags("a", "b")

	n, err := client.PurgeCount(t.Context(), selected)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Len(t, server.Active(), 3)

	result, err := client.Purge(t.Context(), selected)
	require.ErrorContains(t, err, stuck.ID())
	assert.Equal(t, cwsandbox.PurgeResult{Count: 1, Failed: []string{stuck.ID()}, Retryable: []string{stuck.ID()}}, result)
	info, err := match.WaitDone(t.Context())
	require.NoError(t, err)
	assert.True(t, info.State.Terminal(), "the handle learns of it when it asks")
	_, err = match.Stop().Wait()
	require.NoError(t, err)

	release()
	n, err = client.PurgeCount(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	result, err = client.PurgeAll(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, result.Count)
	for _, sb := range []*cwsandbox.Sandbox{stuck, other} {
		_, err := sb.WaitDone(t.Context())
		require.NoError(t, err)
	}
}
