package cwsandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestServicesOfCreate(t *testing.T) {
	https := Service{Port: 80, Visibility: VisibilityPublic, Endpoint: HTTPSEndpoint(EndpointAuthOpen)}
	with := func(change func(*Service)) Service {
		s := https
		change(&s)
		return s
	}
	for _, row := range []struct {
		name  string
		svcs  []Service
		wants []string // none: accepted
	}{
		{"K-080 port 0", []Service{{}}, []string{"spec.services[0].port: must be between 1 and 65535, is 0"}},
		{"K-080 port 65536", []Service{{Port: 65536}}, []string{"spec.services[0].port: must be between 1 and 65535, is 65536"}},
		{"K-080 bounds", []Service{{Port: 1}, {Port: 65535}}, nil},
		{"K-081 repeated port", []Service{{Port: 80}, {Port: 80, Name: "b"}}, []string{"spec.services[1].port: must not repeat 80"}},
		{"K-081 repeated name", []Service{{Port: 80, Name: "a"}, {Port: 81, Name: "a"}}, []string{`spec.services[1].name: must not repeat "a"`}},
		{"K-081 without names", []Service{{Port: 80}, {Port: 81}}, nil},
		{"K-082 private", []Service{with(func(s *Service) { s.Visibility = VisibilityPrivate })}, []string{"spec.services[0].visibility: must be public"}},
		{"K-082 no visibility", []Service{with(func(s *Service) { s.Visibility = 0 })}, []string{"spec.services[0].visibility: must be public"}},
		{"K-082 udp", []Service{with(func(s *Service) { s.Protocol = ProtocolUDP })}, []string{"spec.services[0].protocol: must be tcp for an endpoint, is udp"}},
		{"K-082 tcp", []Service{with(func(s *Service) { s.Protocol = ProtocolTCP })}, nil},
		{"blank name", []Service{{Port: 80, Name: " "}}, []string{"spec.services[0].name: must not be blank"}},
		{"NUL in a name", []Service{{Port: 80, Name: "a\x00"}}, []string{"spec.services[0].name: must not contain NUL"}},
		{"unknown protocol", []Service{{Port: 80, Protocol: 9}}, []string{"spec.services[0].protocol: must be tcp, udp or sctp, is Protocol(9)"}},
		{"unknown visibility", []Service{{Port: 80, Visibility: 9}}, []string{"spec.services[0].visibility: must be public, private or custom, is Visibility(9)"}},
		{"unknown kind", []Service{with(func(s *Service) { s.Endpoint.Kind = 9 })}, []string{"spec.services[0].endpoint.kind: must be https or tls passthrough, is EndpointKind(9)"}},
		{"no kind", []Service{with(func(s *Service) { s.Endpoint.Kind = 0 })}, []string{"spec.services[0].endpoint.kind"}},
		{"no auth", []Service{with(func(s *Service) { s.Endpoint.Auth = 0 })}, []string{"spec.services[0].endpoint.auth: must be open or share token"}},
		{"unknown auth", []Service{with(func(s *Service) { s.Endpoint.Auth = 9 })}, []string{"spec.services[0].endpoint.auth"}},
		{"14 s", []Service{with(func(s *Service) { s.Endpoint.RequestTimeout = 14 * time.Second })}, []string{"spec.services[0].endpoint.request_timeout_seconds: must be zero or between 15s and 15m0s, is 14s"}},
		{"901 s", []Service{with(func(s *Service) { s.Endpoint.RequestTimeout = 901 * time.Second })}, []string{"spec.services[0].endpoint.request_timeout_seconds"}},
		{"negative", []Service{with(func(s *Service) { s.Endpoint.RequestTimeout = -1 })}, []string{"spec.services[0].endpoint.request_timeout_seconds"}},
		{"passthrough", []Service{with(func(s *Service) { s.Endpoint = TLSPassthroughEndpoint() })}, nil},
		{
			"passthrough with everything", []Service{with(func(s *Service) {
				s.Endpoint = Endpoint{EndpointTLSPassthrough, EndpointAuthOpen, time.Minute}
			})},
			[]string{"spec.services[0].endpoint.auth: must not be set", "spec.services[0].endpoint.request_timeout_seconds: must not be set"},
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			err := createError(WithServices(row.svcs...))
			if len(row.wants) == 0 {
				assert.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.Len(t, err.(*Error).Violations, len(row.wants))
			for _, want := range row.wants {
				assert.ErrorContains(t, err, want)
			}
		})
	}
	bubble(t, "nothing invalid is sent", func(t *testing.T, f *fake, c *Client) {
		_, err := c.Create(t.Context(), WithServices(Service{}))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.Zero(t, f.count("CreateSandbox"))
	})
	t.Run("K-060", func(t *testing.T) {
		bundle := Defaults(WithServices(https))
		spec, _ := sent(t, []Option{bundle}, nil)
		assert.Len(t, spec.GetServices(), 1)
		spec, _ = sent(t, []Option{bundle}, []Option{WithServices()})
		assert.Empty(t, spec.GetServices())
	})
	t.Run("on the wire", func(t *testing.T) {
		svcs := []Service{
			{Port: 443, Name: "web", Protocol: ProtocolTCP, Visibility: VisibilityPublic, Endpoint: Endpoint{EndpointHTTPS, EndpointAuthShareToken, 15*time.Second + 1}},
			{Port: 8443, Visibility: VisibilityPublic, Endpoint: TLSPassthroughEndpoint()},
			{Port: 53, Name: "dns", Protocol: ProtocolUDP, Visibility: VisibilityCustom},
		}
		option := WithServices(svcs...)
		svcs[0].Port = 1 // K-065: the caller's own
		spec, _ := sent(t, nil, []Option{option})
		want := &sandboxv1.SandboxSpec{Services: []*sandboxv1.Service{
			{Port: 443, Name: "web", Protocol: 1, Visibility: 1, Endpoint: &sandboxv1.EndpointSpec{Kind: 1, Auth: 2, RequestTimeoutSeconds: 16}},
			{Port: 8443, Visibility: 1, Endpoint: &sandboxv1.EndpointSpec{Kind: 2}},
			{Port: 53, Name: "dns", Protocol: 2, Visibility: 3},
		}}
		assert.True(t, proto.Equal(want, &sandboxv1.SandboxSpec{Services: spec.GetServices()}), "%v", spec.GetServices())
	})
	bubble(t, "share tokens that no runner offers", func(t *testing.T, f *fake, c *Client) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.FailedPrecondition, "CWSANDBOX_HTTPS_SHARE_TOKEN_NOT_SUPPORTED")
		}
		_, err := c.Create(t.Context(), WithServices(with(func(s *Service) { s.Endpoint.Auth = EndpointAuthShareToken })))
		assert.ErrorIs(t, err, ErrNotImplemented)
	})
}

func TestServiceWords(t *testing.T) {
	for want, word := range map[string]fmt.Stringer{
		"unspecified": ProtocolUnspecified, "tcp": ProtocolTCP, "udp": ProtocolUDP, "sctp": ProtocolSCTP, "Protocol(7)": Protocol(7),
		"https": EndpointHTTPS, "tls passthrough": EndpointTLSPassthrough, "EndpointKind(7)": EndpointKind(7),
		"open": EndpointAuthOpen, "share token": EndpointAuthShareToken, "EndpointAuth(7)": EndpointAuth(7),
	} {
		assert.Equal(t, want, word.String())
	}
	assert.Equal(t, "unspecified", EndpointUnspecified.String())
	assert.Equal(t, "unspecified", EndpointAuthUnspecified.String())
}

func TestShareTokenIsHidden(t *testing.T) {
	const secret = "very-secret"
	token := NewShareToken(secret)
	encoded, err := json.Marshal(map[string]any{"t": token})
	require.NoError(t, err)
	var logged strings.Builder
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "t", token)
	option := WithShareToken(token)
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q %x %d", token, token, token, token, token, token, token), token.GoString(),
		fmt.Sprintf("%+v", struct{ T ShareToken }{token}), string(encoded), logged.String(), fmt.Sprint(option),
	} {
		assert.NotContains(t, text, secret)
		assert.NotContains(t, text, fmt.Sprintf("%x", secret))
		assert.Contains(t, text, "REDACTED")
	}
	assert.Equal(t, secret, token.Reveal())
	assert.False(t, token.IsZero())
	header := http.Header{}
	token.SetHeader(header)
	assert.Equal(t, http.Header{"X-Sandbox-Share-Token": {secret}}, header)

	none := NewShareToken("")
	assert.True(t, none.IsZero())
	assert.Empty(t, none.Reveal())
	none.SetHeader(header)
	assert.Equal(t, secret, header.Get("X-Sandbox-Share-Token"))
	for _, bad := range []ShareToken{none, NewShareToken("a\nb")} {
		_, err := newAttachConfig("sb-1", []AttachOption{WithShareToken(bad)})
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.NotContains(t, err.Error(), "a\nb")
	}
}

// serving is a record with rows of services.
func serving(state sandboxv1.State, rows ...*sandboxv1.ServiceStatus) *sandboxv1.Sandbox {
	sb := record("sb-1", state)
	sb.Status.Services = rows
	return sb
}

func TestShareTokenGoesToItsEndpointOnly(t *testing.T) {
	at, err := url.Parse("https://web.example.com/")
	require.NoError(t, err)
	for to, same := range map[string]bool{
		"https://web.example.com": true, "https://WEB.Example.com:443/x": true,
		"http://web.example.com": false, "https://web.example.com:8443": false, "https://example.com": false,
	} {
		u, err := url.Parse(to)
		require.NoError(t, err)
		assert.Equal(t, same, sameOrigin(at, u), to)
	}
}

func TestServicesOfInfo(t *testing.T) {
	const isCreating, isRunning = sandboxv1.State_STATE_CREATING, sandboxv1.State_STATE_RUNNING
	httpsRow := func(url string) *sandboxv1.ServiceStatus {
		return &sandboxv1.ServiceStatus{
			Port: 80, Name: "web", Visibility: 1,
			Endpoint: &sandboxv1.EndpointStatus{Kind: 1, Auth: 2, Url: url, RequestTimeoutSeconds: 15},
		}
	}
	passRow := func(address string) *sandboxv1.ServiceStatus {
		return &sandboxv1.ServiceStatus{Port: 443, Name: "tls", Visibility: 1, Endpoint: &sandboxv1.EndpointStatus{Kind: 2, Address: address}}
	}
	web := ServiceStatus{
		Service: Service{Port: 80, Name: "web", Visibility: VisibilityPublic, Endpoint: Endpoint{EndpointHTTPS, EndpointAuthShareToken, 15 * time.Second}},
		URL:     "https://web.example",
	}
	pass := ServiceStatus{
		Service: Service{Port: 443, Name: "tls", Visibility: VisibilityPublic, Endpoint: TLSPassthroughEndpoint()},
		Address: "tls.example:443",
	}
	for _, row := range []struct {
		name    string
		records []*sandboxv1.Sandbox
		want    []ServiceStatus
	}{
		{"as reported", []*sandboxv1.Sandbox{serving(isRunning, httpsRow(web.URL), passRow(pass.Address))}, []ServiceStatus{web, pass}},
		{"a plain port", []*sandboxv1.Sandbox{serving(isRunning, &sandboxv1.ServiceStatus{Port: 1, Protocol: 1, Visibility: 2, Url: "http://h:1"})}, []ServiceStatus{
			{Service: Service{Port: 1, Protocol: ProtocolTCP, Visibility: VisibilityPrivate}, URL: "http://h:1"},
		}},
		{"what this version does not know", []*sandboxv1.Sandbox{serving(isRunning, &sandboxv1.ServiceStatus{
			Port: 1, Protocol: 8, Visibility: 9, Endpoint: &sandboxv1.EndpointStatus{Kind: 10, Auth: 11},
		})}, []ServiceStatus{{Service: Service{Port: 1, Protocol: 8, Visibility: 9, Endpoint: Endpoint{Kind: 10, Auth: 11}}}}},
		{"a URL goes with the answer", []*sandboxv1.Sandbox{serving(isRunning, httpsRow(web.URL)), serving(isRunning, httpsRow(""))}, []ServiceStatus{
			{Service: web.Service},
		}},
		{"an address of TLS passthrough stays", []*sandboxv1.Sandbox{
			serving(isCreating, passRow(pass.Address)), serving(isRunning, passRow("")), serving(isRunning),
		}, []ServiceStatus{pass}},
		{"a new one replaces it", []*sandboxv1.Sandbox{serving(isRunning, passRow("old:1")), serving(isRunning, passRow(pass.Address))}, []ServiceStatus{pass}},
		{"it goes when the sandbox is stopped", []*sandboxv1.Sandbox{
			serving(isRunning, passRow(pass.Address)), serving(sandboxv1.State_STATE_TERMINATING, passRow("")),
		}, []ServiceStatus{{Service: pass.Service}}},
		{"nothing of an ended one is stale", []*sandboxv1.Sandbox{
			serving(isRunning, httpsRow(web.URL), passRow(pass.Address)),
			serving(sandboxv1.State_STATE_FAILED, httpsRow(web.URL), passRow(pass.Address)),
		}, []ServiceStatus{{Service: web.Service}, {Service: pass.Service}}},
	} {
		bubble(t, row.name, func(t *testing.T, f *fake, c *Client) {
			sb := creating(t, c)
			for _, r := range row.records {
				f.nowGet(func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return r, nil })
				_, err := sb.Refresh(t.Context())
				require.NoError(t, err)
			}
			got := sb.Info().Services
			assert.Equal(t, row.want, got)
			got[0].URL = "changed"
			assert.Equal(t, row.want, sb.Info().Services, "a copy")
		})
	}
	bubble(t, "asked for, and not reported yet", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, _ int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			sb := record("sb-1", isCreating)
			sb.Spec.Services = req.GetSandbox().GetSpec().GetServices()
			return sb, nil
		}
		sb, err := c.Create(t.Context(), WithServices(web.Service))
		require.NoError(t, err)
		assert.Equal(t, []ServiceStatus{{Service: web.Service}}, sb.Info().Services)
	})
	bubble(t, "an accepted stop and a lost sandbox", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return serving(isRunning, httpsRow(web.URL)), nil
		}
		sb := creating(t, c)
		_, err := sb.Refresh(t.Context())
		require.NoError(t, err)
		require.NotEmpty(t, sb.Info().Services[0].URL)
		f.nowGet(func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND")
		})
		_, err = sb.Refresh(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		assert.Empty(t, sb.Info().Services[0].URL)
	})
}

// tokenless makes creates ask for a share token and answer without it, n times.
func (f *fake) tokenless(n int, token string) {
	f.create = func(_ context.Context, call int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
		sb := record("sb-1", sandboxv1.State_STATE_CREATING)
		sb.Spec.Services = req.GetSandbox().GetSpec().GetServices()
		if call > n {
			sb.EndpointShareToken = token
		}
		return sb, nil
	}
}

func shared8080() Option {
	return WithServices(Service{Port: 8080, Name: "web", Visibility: VisibilityPublic, Endpoint: HTTPSEndpoint(EndpointAuthShareToken)})
}

func TestShareTokenRecovery(t *testing.T) {
	bubble(t, "comes with the create", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(0, "tok")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		token, err := sb.ShareToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "tok", token.Reveal())
		assert.Equal(t, 1, f.count("CreateSandbox"))
		assert.NotContains(t, f.logged(), "tok\"")
	})
	bubble(t, "is asked for again by the frozen create", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(3, "tok")
		sb, err := c.Create(t.Context(), shared8080(), WithEnv("A", "1"), WithEnv("B", "2"))
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("CreateSandbox"), "nothing is asked before somebody wants it")
		results := make(chan string, 10)
		for range cap(results) {
			go func() {
				token, err := sb.ShareToken(t.Context())
				assert.NoError(t, err)
				results <- token.Reveal()
			}()
		}
		for range cap(results) {
			assert.Equal(t, "tok", <-results)
		}
		calls := f.of("CreateSandbox")
		require.Len(t, calls, 4, "all share one recovery")
		for _, call := range calls {
			assert.True(t, proto.Equal(calls[0].request, call.request))
		}
	})
	bubble(t, "ends after its budget, and can be tried again", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(1000, "tok")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		began := time.Now()
		_, err = sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, shareTokenBudget, time.Since(began))
		f.tokenless(0, "tok")
		token, err := sb.ShareToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "tok", token.Reveal())
	})
	t.Run("so does the request timeout", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t, WithRequestTimeout(3*time.Second))
			f.tokenless(1000, "tok")
			sb, err := c.Create(t.Context(), shared8080())
			require.NoError(t, err)
			began := time.Now()
			_, err = sb.ShareToken(t.Context())
			require.ErrorIs(t, err, ErrTimeout)
			assert.Equal(t, 3*time.Second, time.Since(began))
		})
	})
	bubble(t, "the context bounds the wait only", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(3, "tok")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err = sb.ShareToken(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		_, err = sb.ShareToken(ctx)
		assert.NoError(t, err, "it went on")
	})
	bubble(t, "a sandbox that has ended ends it", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(1, "")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return ended("sb-1", sandboxv1.State_STATE_COMPLETED, 0), nil
		}
		_, err = sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrNotRunning)
		assert.Equal(t, 2, f.count("CreateSandbox"))
		_, err = sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrNotRunning)
		assert.Equal(t, 2, f.count("CreateSandbox"), "nothing is sent for it any more")
		assert.Nil(t, sb.s.tokenless)
	})
	bubble(t, "what it makes by mistake is deleted", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(1, "")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return record("sb-2", sandboxv1.State_STATE_CREATING), nil
		}
		_, err = sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrNotFound)
		require.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Equal(t, "sb-2", f.of("DeleteSandbox")[0].request.(*sandboxv1.DeleteSandboxRequest).GetSandboxId())
	})
	bubble(t, "nobody asked for one", func(t *testing.T, f *fake, c *Client) {
		sb := creating(t, c)
		_, err := sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrUnauthenticated)
		assert.Equal(t, 1, f.count("CreateSandbox"))
	})
	bubble(t, "an attached sandbox has the one it is told", func(t *testing.T, f *fake, c *Client) {
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		_, err = sb.ShareToken(t.Context())
		require.ErrorIs(t, err, ErrUnauthenticated)
		sb, err = c.Attach(t.Context(), "sb-1", WithShareToken(NewShareToken("told")))
		require.NoError(t, err)
		token, err := sb.ShareToken(t.Context())
		require.NoError(t, err)
		assert.Equal(t, "told", token.Reveal())
		assert.Zero(t, f.count("CreateSandbox"))
	})
	bubble(t, "a closed client", func(t *testing.T, f *fake, c *Client) {
		f.tokenless(1, "")
		sb, err := c.Create(t.Context(), shared8080())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		_, err = sb.ShareToken(t.Context())
		assert.ErrorIs(t, err, ErrClosed)
	})
}
