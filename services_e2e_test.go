package cwsandbox_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// webSite serves HTTP on port 8080 of its sandbox, from the time on that it takes to start.
func webSite(startup time.Duration, handler http.HandlerFunc) cwsandboxtest.Command {
	return cwsandboxtest.Command{Run: func(ctx context.Context, p *cwsandboxtest.Proc) int {
		select {
		case <-time.After(startup):
		case <-ctx.Done():
			return 1
		}
		l, err := p.Listen(8080)
		if err != nil {
			fmt.Fprintln(p.Stderr, err)
			return 1
		}
		_ = http.Serve(l, handler) // ends with the process
		return 0
	}}
}

func greet(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "hello from %s", r.URL.Path)
}

func ExampleSandbox_HTTPClient() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithCommand("web-server"), cwsandbox.WithServices(cwsandbox.Service{
		Port:       8080,
		Name:       "web",
		Visibility: cwsandbox.VisibilityPublic,
		Endpoint:   cwsandbox.HTTPSEndpoint(cwsandbox.EndpointAuthShareToken),
	}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	web, err := sb.WaitEndpoint(ctx, "web")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := sb.HTTPClient(ctx, "web") // shows the share token
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Get(web.URL + "/greeting")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.Status, string(body), web.Endpoint.RequestTimeout)
	// Output: 200 OK hello from /greeting 15s
}

// inMemory runs a test in a bubble with a server in memory.
func inMemory(t *testing.T, name string, startup time.Duration, test func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.WithCommand("web-server", webSite(startup, greet)))
			test(t, server, server.Client())
		})
	})
}

func https8080(auth cwsandbox.EndpointAuth) cwsandbox.Service {
	return cwsandbox.Service{Port: 8080, Name: "web", Visibility: cwsandbox.VisibilityPublic, Endpoint: cwsandbox.HTTPSEndpoint(auth)}
}

// stopped stops a sandbox at the end of a test.
func stopped(t *testing.T, sb *cwsandbox.Sandbox, err error) *cwsandbox.Sandbox {
	t.Helper()
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := sb.Stop(cwsandbox.WithGrace(0)).Wait()
		assert.NoError(t, err)
	})
	return sb
}

func fetched(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	resp, err := client.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	inMemory(t, "waits until it answers", 10*time.Second, func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		began := time.Now()
		sb, err := client.Create(t.Context(), cwsandbox.WithCommand("web-server"), cwsandbox.WithServices(https8080(cwsandbox.EndpointAuthShareToken)))
		sb = stopped(t, sb, err)
		assert.NotEmpty(t, sb.Info().Services[0].URL, "assigned is not answering")
		svc, err := sb.WaitEndpoint(t.Context(), "web")
		require.NoError(t, err)
		assert.InDelta(t, 10*time.Second, time.Since(began), float64(2*time.Second))
		assert.Equal(t, svc, sb.Info().Services[0])

		web, err := sb.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		code, body := fetched(t, web, svc.URL+"/x")
		assert.Equal(t, http.StatusOK, code)
		assert.Equal(t, "hello from /x", body)

		token, err := sb.ShareToken(t.Context())
		require.NoError(t, err)
		attached, err := client.Attach(t.Context(), sb.ID())
		require.NoError(t, err)
		_, err = attached.HTTPClient(t.Context(), "web")
		require.NoError(t, err, "handles of one client know what one of them does")
		other := server.Client()
		attached, err = other.Attach(t.Context(), sb.ID())
		require.NoError(t, err)
		_, err = attached.HTTPClient(t.Context(), "web")
		require.ErrorIs(t, err, cwsandbox.ErrUnauthenticated)
		_, err = attached.WaitEndpoint(t.Context(), "web")
		require.ErrorIs(t, err, cwsandbox.ErrUnauthenticated)
		attached, err = other.Attach(t.Context(), sb.ID(), cwsandbox.WithShareToken(cwsandbox.NewShareToken("wrong")))
		require.NoError(t, err)
		wrong, err := attached.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		code, _ = fetched(t, wrong, svc.URL)
		assert.Equal(t, http.StatusUnauthorized, code)
		attached, err = other.Attach(t.Context(), sb.ID(), cwsandbox.WithShareToken(token))
		require.NoError(t, err)
		right, err := attached.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		code, _ = fetched(t, right, svc.URL)
		assert.Equal(t, http.StatusOK, code)
	})
	inMemory(t, "a token that the create lacks", 0, func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		server.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 2, Action: cwsandboxtest.Mutate(func(m proto.Message) {
			m.(*sandboxv1.Sandbox).EndpointShareToken = ""
		})})
		sb, err := client.Create(t.Context(), cwsandbox.WithCommand("web-server"), cwsandbox.WithServices(https8080(cwsandbox.EndpointAuthShareToken)))
		sb = stopped(t, sb, err)
		svc, err := sb.WaitEndpoint(t.Context(), "web")
		require.NoError(t, err)
		web, err := sb.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		code, _ := fetched(t, web, svc.URL)
		assert.Equal(t, http.StatusOK, code)
		assert.Len(t, server.Calls("CreateSandbox"), 3)
		assert.Len(t, server.Active(), 1)
	})
	inMemory(t, "a token whose create was lost", 0, func(t *testing.T, server *cwsandboxtest.Server, client *cwsandbox.Client) {
		server.Inject(cwsandboxtest.Rule{Method: "CreateSandbox", Times: 1, Action: cwsandboxtest.DropResponse()})
		sb, err := client.Create(t.Context(), cwsandbox.WithServices(https8080(cwsandbox.EndpointAuthShareToken)))
		sb = stopped(t, sb, err)
		_, err = sb.ShareToken(t.Context())
		require.NoError(t, err)
		assert.Len(t, server.Calls("CreateSandbox"), 2)
	})
	inMemory(t, "a plain port", 5*time.Second, func(t *testing.T, _ *cwsandboxtest.Server, client *cwsandbox.Client) {
		sb, err := client.Create(t.Context(), cwsandbox.WithCommand("web-server"),
			cwsandbox.WithServices(cwsandbox.Service{Port: 8080, Visibility: cwsandbox.VisibilityPrivate}))
		sb = stopped(t, sb, err)
		_, err = sb.HTTPClient(t.Context(), "8080")
		require.ErrorIs(t, err, cwsandbox.ErrPrecondition, "before it runs")
		svc, err := sb.WaitEndpoint(t.Context(), "8080")
		require.NoError(t, err)
		assert.Regexp(t, `^http://127\.0\.0\.1:\d+$`, svc.URL)
		web, err := sb.HTTPClient(t.Context(), "8080")
		require.NoError(t, err)
		code, _ := fetched(t, web, svc.URL)
		assert.Equal(t, http.StatusOK, code)
	})
	inMemory(t, "nobody answers", time.Hour, func(t *testing.T, _ *cwsandboxtest.Server, client *cwsandbox.Client) {
		sb, err := client.Create(t.Context(), cwsandbox.WithCommand("web-server"), cwsandbox.WithServices(
			https8080(cwsandbox.EndpointAuthOpen),
			cwsandbox.Service{Port: 1, Name: "tls", Visibility: cwsandbox.VisibilityPublic, Endpoint: cwsandbox.TLSPassthroughEndpoint()},
			cwsandbox.Service{Port: 2, Name: "inside"},
			cwsandbox.Service{Port: 3, Name: "dns", Protocol: cwsandbox.ProtocolUDP, Visibility: cwsandbox.VisibilityPublic},
		))
		sb = stopped(t, sb, err)
		began := time.Now()
		_, err = sb.WaitEndpoint(t.Context(), "web")
		require.ErrorIs(t, err, cwsandbox.ErrTimeout)
		assert.NotErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 300*time.Second, time.Since(began))
		assert.ErrorContains(t, err, "last seen running; and the endpoint answers 502 Bad Gateway")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = sb.WaitEndpoint(ctx, "tls")
		require.ErrorIs(t, err, context.DeadlineExceeded)

		for name, want := range map[string]string{
			"other": `must be that of a service of the sandbox, is "other"`, "8080": `is "8080"`,
			"inside": "must be that of a service with a visibility", "dns": "must be that of a tcp service",
		} {
			_, err = sb.WaitEndpoint(t.Context(), name)
			require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
			assert.ErrorContains(t, err, want)
			_, err = sb.HTTPClient(t.Context(), name)
			require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
		}
		_, err = sb.HTTPClient(t.Context(), "tls")
		assert.ErrorContains(t, err, "has an address only")

		go func() {
			time.Sleep(time.Minute)
			sb.Stop().Wait()
		}()
		_, err = sb.WaitEndpoint(t.Context(), "web")
		require.ErrorIs(t, err, cwsandbox.ErrNotRunning)
		require.ErrorIs(t, err, cwsandbox.ErrTerminated)
		_, err = sb.HTTPClient(t.Context(), "web")
		require.ErrorIs(t, err, cwsandbox.ErrNotRunning)
		assert.Empty(t, sb.Info().Services[0].URL)
		assert.Empty(t, sb.Info().Services[1].Address)
	})
	t.Run("TLS passthrough", func(t *testing.T) {
		certificates := httptest.NewUnstartedServer(nil) // only for its certificate
		certificates.StartTLS()
		certificates.Close()
		own := cwsandboxtest.Command{Run: func(_ context.Context, p *cwsandboxtest.Proc) int {
			l, err := p.Listen(443)
			if err != nil {
				return 1
			}
			_ = http.Serve(tls.NewListener(l, certificates.TLS), http.HandlerFunc(greet))
			return 0
		}}
		server := cwsandboxtest.NewServer(t, cwsandboxtest.WithCommand("tls-server", own))
		sb, err := server.Client().Run(t.Context(), cwsandbox.WithCommand("tls-server"), cwsandbox.WithServices(cwsandbox.Service{
			Port: 443, Name: "tls", Visibility: cwsandbox.VisibilityPublic, Endpoint: cwsandbox.TLSPassthroughEndpoint(),
		}))
		sb = stopped(t, sb, err)
		svc, err := sb.WaitEndpoint(t.Context(), "tls")
		require.NoError(t, err)
		conn, err := tls.Dial("tcp", svc.Address, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		defer conn.Close()
		assert.Equal(t, certificates.Certificate().Raw, conn.ConnectionState().PeerCertificates[0].Raw, "the program's own certificate")
	})
	t.Run("the token goes nowhere else", func(t *testing.T) {
		elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "token %q", r.Header.Get("X-Sandbox-Share-Token"))
		}))
		defer elsewhere.Close()
		redirect := func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}
		server := cwsandboxtest.NewServer(t, cwsandboxtest.WithCommand("web-server", webSite(0, redirect)))
		sb, err := server.Client().Run(t.Context(), cwsandbox.WithCommand("web-server"), cwsandbox.WithServices(https8080(cwsandbox.EndpointAuthShareToken)))
		sb = stopped(t, sb, err)
		svc, err := sb.WaitEndpoint(t.Context(), "web")
		require.NoError(t, err)
		web, err := sb.HTTPClient(t.Context(), "web")
		require.NoError(t, err)
		for _, at := range []string{svc.URL, elsewhere.URL} { // by a redirect, and at once
			code, body := fetched(t, web, at)
			assert.Equal(t, http.StatusOK, code)
			assert.Equal(t, `token ""`, body)
		}
		plain := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: server.RootCAs()}}}
		defer plain.CloseIdleConnections()
		code, _ := fetched(t, plain, svc.URL)
		assert.Equal(t, http.StatusUnauthorized, code)
		_, err = http.Get(svc.URL)
		assert.ErrorContains(t, err, "unknown authority")
	})
}
