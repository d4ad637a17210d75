package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestProgramClosesNetworks(t *testing.T) {
	c := start(t, t.TempDir(), "-network", "private", "-serverless=false")
	api := c.api(t)
	create := func(mode sandboxv1.SandboxMode, n *sandboxv1.NetworkOptions) (*sandboxv1.Sandbox, error) {
		container := &sandboxv1.Container{Name: "main", Image: "any", Command: "sleep", Args: []string{"1000"}}
		return api.CreateSandbox(api.ctx, &sandboxv1.CreateSandboxRequest{Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{
			Containers: []*sandboxv1.Container{container}, Mode: mode, Network: n,
		}}})
	}
	_, err := create(sandboxv1.SandboxMode_SANDBOX_MODE_UNSPECIFIED, nil)
	assert.Equal(t, codes.FailedPrecondition, status.Code(err), "%v", err)
	sb, err := create(sandboxv1.SandboxMode_SANDBOX_MODE_CKS, nil)
	require.NoError(t, err)
	assert.Empty(t, sb.GetStatus().GetEffectiveEgress())
	assert.Equal(t, sandboxv1.DNSEgressMode_DNS_EGRESS_MODE_DENY, sb.GetStatus().GetEffectiveDnsEgress())

	c.signal(t, syscall.SIGTERM) // it removes what an ordinary user cannot
	require.NoError(t, c.wait(t))

	rules := &sandboxv1.NetworkOptions{Egress: []*sandboxv1.EgressRule{{
		Destination: &sandboxv1.EgressRule_HttpsHostname{HttpsHostname: "example.org"},
	}}}
	c = start(t, t.TempDir(), "-unenforced-egress")
	api = c.api(t)
	sb, err = create(sandboxv1.SandboxMode_SANDBOX_MODE_UNSPECIFIED, rules)
	require.NoError(t, err)
	assert.Equal(t, "example.org", sb.GetStatus().GetEffectiveEgress()[0].GetHttpsHostname())
	c.signal(t, syscall.SIGTERM)
	require.NoError(t, c.wait(t))
}
