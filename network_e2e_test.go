package cwsandbox_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

func ExampleWithNetwork() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithNetwork(cwsandbox.Network{DenyEgress: new(true)}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	info := sb.Info() // what applies, which may differ from what was asked for
	fmt.Println("may reach:", info.Egress)
	fmt.Println("name resolution:", info.DNSEgress)
	// Output:
	// may reach: []
	// name resolution: deny
}

func ExampleNetwork() {
	ctx := context.Background()
	network := cwsandbox.Network{
		Egress: []cwsandbox.EgressRule{
			{Host: "pypi.org"},
			{Host: "*.pythonhosted.org"},
			{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}, Ports: []cwsandbox.PortRange{{Port: 5432}, {Port: 8000, End: 8100}}},
		},
	}
	for _, rule := range network.Egress {
		fmt.Println(rule)
	}
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithNetwork(network))
	switch {
	case errors.Is(err, cwsandbox.ErrPlacement):
		fmt.Println("no runner here can enforce that") // the local server, for one
		return
	case err != nil:
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()
	// Output:
	// pypi.org
	// *.pythonhosted.org
	// 10.0.0.0/8 except 10.1.0.0/16 on TCP 5432 and TCP 8000-8100
	// no runner here can enforce that
}

func TestNetworkByTheServer(t *testing.T) {
	server := cwsandboxtest.NewServer(t)
	client := server.Client()
	egress := []cwsandbox.EgressRule{
		{Host: "pypi.org"},
		{Host: "*.pypi.org", Ports: []cwsandbox.PortRange{{Port: 443, Protocol: cwsandbox.ProtocolTCP}}},
		{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}, Ports: []cwsandbox.PortRange{{Port: 1, End: 9, Protocol: cwsandbox.ProtocolUDP}}},
		{Tenant: cwsandbox.TenantSameUser}, {Tenant: cwsandbox.TenantSandboxNetwork},
		{PodLabels: map[string]string{"app": "db"}, NamespaceLabels: map[string]string{"team": "a"}},
	}
	for _, rule := range egress {
		_, err := client.Run(t.Context(), cwsandbox.WithNetwork(cwsandbox.Network{Egress: []cwsandbox.EgressRule{rule}}))
		require.ErrorIs(t, err, cwsandbox.ErrPlacement, rule)
		var e *cwsandbox.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "egress", e.Metadata["constraint"])
	}

	lenient := cwsandboxtest.NewServer(t, cwsandboxtest.UnenforcedEgress()).Client()
	ingress := []cwsandbox.IngressRule{
		{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"}}, {Tenant: cwsandbox.TenantSameOrg, Ports: []cwsandbox.PortRange{{Port: 80}}}, {Any: true},
	}
	everything := []cwsandbox.EgressRule{{Any: true}}
	for name, tt := range map[string]struct {
		network cwsandbox.Network
		egress  []cwsandbox.EgressRule
		ingress []cwsandbox.IngressRule
		dns     cwsandbox.DNSEgress
	}{
		"nothing":            {cwsandbox.Network{}, everything, nil, cwsandbox.DNSEgressAllow},
		"false":              {cwsandbox.Network{DenyEgress: new(false), DenyIngress: new(false)}, everything, nil, cwsandbox.DNSEgressAllow},
		"everything":         {cwsandbox.Network{Egress: everything, DNS: cwsandbox.DNSEgressAllow}, everything, nil, cwsandbox.DNSEgressAllow},
		"denied":             {cwsandbox.Network{DenyEgress: new(true), DNS: cwsandbox.DNSEgressDeny}, nil, nil, cwsandbox.DNSEgressDeny},
		"rules":              {cwsandbox.Network{Egress: egress, Ingress: ingress}, egress, ingress, cwsandbox.DNSEgressAllow},
		"denied from inside": {cwsandbox.Network{Ingress: ingress, DenyIngress: new(true)}, everything, nil, cwsandbox.DNSEgressAllow},
	} {
		t.Run(name, func(t *testing.T) {
			sb, err := lenient.Run(t.Context(), cwsandbox.WithNetwork(tt.network))
			require.NoError(t, err)
			defer sb.Stop().Wait()
			info := sb.Info()
			assert.Equal(t, tt.egress, info.Egress)
			assert.Equal(t, tt.ingress, info.Ingress)
			assert.Equal(t, tt.dns, info.DNSEgress)
		})
	}
}
