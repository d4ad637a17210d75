package localserver

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	https       = sandboxv1.EndpointKind_ENDPOINT_KIND_HTTPS
	passthrough = sandboxv1.EndpointKind_ENDPOINT_KIND_TLS_PASSTHROUGH
	openly      = sandboxv1.EndpointAuth_ENDPOINT_AUTH_OPEN
	byToken     = sandboxv1.EndpointAuth_ENDPOINT_AUTH_SHARE_TOKEN
)

func serving(list ...*sandboxv1.Service) func(*sandboxv1.SandboxSpec) {
	return func(s *sandboxv1.SandboxSpec) { s.Services = list }
}

func httpsOn(port int32, auth sandboxv1.EndpointAuth) *sandboxv1.Service {
	return &sandboxv1.Service{
		Port: port, Name: fmt.Sprintf("web-%d", port), Visibility: public,
		Endpoint: &sandboxv1.EndpointSpec{Kind: https, Auth: auth},
	}
}

// site is a workload: it serves HTTP on every port that its arguments name, until it is stopped.
var site = scripted.Command{CatchSignals: true, Run: func(ctx context.Context, p *scripted.Proc) int {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s on %s by %s, token %q", r.Method, r.Host, r.Header.Get("X-Forwarded-Proto"), r.Header.Get(shareTokenHeader))
	})
	mux.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) {
		answer := http.NewResponseController(w)
		_ = answer.EnableFullDuplex()
		for lines := bufio.NewReader(r.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			_, _ = io.WriteString(w, line)
			_ = answer.Flush()
		}
	})
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 2 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			if i == 0 {
				<-time.After(10 * time.Second)
			}
		}
	})
	mux.HandleFunc("/upgrade", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		_ = rw.Flush()
		_, _ = io.Copy(conn, rw)
	})
	mux.HandleFunc("/uri", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	mux.HandleFunc("/flood", func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		for {
			if _, err := rw.WriteString("more\n"); err != nil {
				return
			}
		}
	})
	server := &http.Server{Handler: mux}
	defer server.Close()
	for _, arg := range p.Argv[1:] {
		var port int
		_, _ = fmt.Sscan(arg, &port)
		l, err := p.Listen(port)
		if err != nil {
			return 1
		}
		go server.Serve(l)
	}
	select {
	case <-p.Signals:
	case <-ctx.Done():
	}
	return 0
}}

// echo sends back what it gets on its port, with a greeting, until it is stopped.
var echo = scripted.Command{Run: func(ctx context.Context, p *scripted.Proc) int {
	l, err := p.Listen(7)
	if err != nil {
		return 1
	}
	for {
		conn, err := l.Accept()
		if err != nil {
			return 0
		}
		go func() {
			defer conn.Close()
			fmt.Fprintln(conn, "hello")
			_, _ = io.Copy(conn, conn)
		}()
	}
}}

// inEdgeWorld makes a test with a world whose services are published in memory, and an HTTP client for them.
func inEdgeWorld(o Options, test func(w *world, ports *MemoryPorts, client *http.Client)) func(*testing.T) {
	return func(t *testing.T) {
		ports := &MemoryPorts{}
		o.PublishOn = ports.Publish
		o.Runtime = scripted.New(append(programs, scripted.WithCommand("site", site), scripted.WithCommand("echo-port", echo))...)
		inWorld(t, o, func(w *world) {
			pool, err := w.srv.EdgePool()
			require.NoError(w, err)
			transport := &http.Transport{
				DialContext:       func(ctx context.Context, _, address string) (net.Conn, error) { return ports.Dial(ctx, address) },
				TLSClientConfig:   &tls.Config{RootCAs: pool},
				ForceAttemptHTTP2: true,
			}
			defer transport.CloseIdleConnections()
			test(w, ports, &http.Client{Transport: transport})
		})
	}
}

// slowRuntime makes places whose ports answer nobody. A place is made when ready is closed, whatever happens meanwhile.
type slowRuntime struct {
	container.Runtime
	ready chan struct{}
}

func (r slowRuntime) NewSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	<-r.ready
	place, err := r.Runtime.NewSandbox(context.WithoutCancel(ctx), spec)
	return slowPlace{place}, err
}

type slowPlace struct{ container.Sandbox }

func (slowPlace) Dial(ctx context.Context, _ int) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func endpointURL(sb *sandboxv1.Sandbox, i int) string {
	return sb.GetStatus().GetServices()[i].GetEndpoint().GetUrl()
}

// fetch returns the status and the body of an answer.
func (w *world) fetch(client *http.Client, req *http.Request) (int, string) {
	w.Helper()
	resp, err := client.Do(req)
	require.NoError(w, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	return resp.StatusCode, string(body)
}

func (w *world) getURL(client *http.Client, url string) (int, string) {
	w.Helper()
	return w.fetch(client, w.newRequest(url, ""))
}

func (w *world) newRequest(url, token string) *http.Request {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), http.MethodGet, url, nil)
	require.NoError(w, err)
	if token != "" {
		req.Header.Set(shareTokenHeader, token)
	}
	return req
}

// upgrade does what a WebSocket client does, up to the frames.
func (w *world) upgrade(ports *MemoryPorts, address string) (conn net.Conn, in *bufio.Reader) {
	w.Helper()
	u, err := url.Parse(address)
	require.NoError(w, err)
	pool, err := w.srv.EdgePool()
	require.NoError(w, err)
	raw, err := ports.Dial(w.Context(), u.Host)
	require.NoError(w, err)
	conn = tls.Client(raw, &tls.Config{RootCAs: pool, ServerName: "localhost", NextProtos: []string{"http/1.1"}})
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", u.Path)
	in = bufio.NewReader(conn)
	resp, err := http.ReadResponse(in, nil)
	require.NoError(w, err)
	require.Equal(w, http.StatusSwitchingProtocols, resp.StatusCode)
	return conn, in
}

func TestPublishedServices(t *testing.T) {
	t.Run("C-043 C-167 share token", inEdgeWorld(Options{}, func(w *world, _ *MemoryPorts, client *http.Client) {
		req := createOf(aSpec(command("site", "80", "81"), serving(httpsOn(80, byToken), httpsOn(81, openly))))
		req.RequestId = "r-1"
		made, err := w.api.CreateSandbox(w.ctx, req)
		require.NoError(w, err)
		token := made.GetEndpointShareToken()
		require.NotEmpty(w, token)
		synctest.Wait()
		again, err := w.api.CreateSandbox(w.ctx, req)
		require.NoError(w, err)
		assert.Equal(w, token, again.GetEndpointShareToken(), "a replay has it")
		assert.Empty(w, w.get(made.GetSandboxId()).GetEndpointShareToken())
		list, err := w.api.ListSandboxes(w.ctx, &sandboxv1.ListSandboxesRequest{})
		require.NoError(w, err)
		assert.Empty(w, list.GetSandboxes()[0].GetEndpointShareToken())

		for _, wrong := range []string{"", "x", token + "x"} {
			code, body := w.fetch(client, w.newRequest(endpointURL(made, 0), wrong))
			assert.Equal(w, http.StatusUnauthorized, code)
			assert.NotContains(w, body, token)
		}
		code, body := w.fetch(client, w.newRequest(endpointURL(made, 0), token))
		assert.Equal(w, http.StatusOK, code)
		assert.Contains(w, body, `token ""`, "it is not passed on")
		code, _ = w.getURL(client, endpointURL(made, 1))
		assert.Equal(w, http.StatusOK, code, "the open one beside it needs none")

		assert.Empty(w, w.delete(made.GetSandboxId(), 0).GetEndpointShareToken())
		other := w.create(serving(httpsOn(80, byToken)))
		assert.NotEqual(w, token, other.GetEndpointShareToken())
		assert.Empty(w, w.create(serving(httpsOn(80, openly))).GetEndpointShareToken(), "nobody asked for one")
	}))
	t.Run("C-165 HTTPS", inEdgeWorld(Options{PendingDelay: time.Second, ShutdownGrace: time.Minute}, func(w *world, _ *MemoryPorts, client *http.Client) {
		req := createOf(aSpec(command("site", "80", "81"), serving(httpsOn(80, openly), httpsOn(81, openly))))
		req.RequestId = "r-1"
		made, err := w.api.CreateSandbox(w.ctx, req)
		require.NoError(w, err)
		id, first, second := made.GetSandboxId(), endpointURL(made, 0), endpointURL(made, 1)
		assert.Regexp(w, `^https://localhost:\d+$`, first)
		assert.NotEqual(w, first, second)
		code, _ := w.getURL(client, first)
		assert.Equal(w, http.StatusBadGateway, code, "assigned is not answering")
		time.Sleep(time.Second)
		synctest.Wait()
		again, err := w.api.CreateSandbox(w.ctx, req)
		require.NoError(w, err)
		for _, sb := range []*sandboxv1.Sandbox{again, w.get(id)} {
			assert.Equal(w, running, sb.GetStatus().GetState())
			assert.Equal(w, first, endpointURL(sb, 0))
			assert.Empty(w, sb.GetStatus().GetServices()[0].GetUrl())
			assert.EqualValues(w, 15, sb.GetStatus().GetServices()[0].GetEndpoint().GetRequestTimeoutSeconds())
		}
		code, body := w.getURL(client, first)
		assert.Equal(w, http.StatusOK, code)
		assert.Equal(w, `GET on `+strings.TrimPrefix(first, "https://")+` by https, token ""`, body)
		code, _ = w.getURL(client, second)
		assert.Equal(w, http.StatusOK, code)

		assert.Empty(w, endpointURL(w.delete(id, time.Minute), 0))
		synctest.Wait()
		assert.Empty(w, endpointURL(w.get(id), 0))
		_, err = client.Do(w.newRequest(first, ""))
		assert.Error(w, err, "the port was given back")
	}))
	t.Run("C-165 bodies, events, WebSockets", inEdgeWorld(Options{}, func(w *world, ports *MemoryPorts, client *http.Client) {
		made := w.create(command("site", "80"), serving(httpsOn(80, openly)))
		synctest.Wait()
		url := endpointURL(made, 0)

		// A streaming body, in both directions at once.
		body, send := io.Pipe()
		req, err := http.NewRequestWithContext(w.Context(), http.MethodPost, url+"/echo", body)
		require.NoError(w, err)
		go fmt.Fprintln(send, "one")
		resp, err := client.Do(req)
		require.NoError(w, err)
		assert.Equal(w, 2, resp.ProtoMajor)
		lines := bufio.NewReader(resp.Body)
		line, err := lines.ReadString('\n')
		require.NoError(w, err)
		assert.Equal(w, "one\n", line, "before the body has ended")
		require.NoError(w, send.Close())
		_, err = lines.ReadString('\n')
		require.ErrorIs(w, err, io.EOF)
		resp.Body.Close()

		began := time.Now()
		resp, err = client.Do(w.newRequest(url+"/events", ""))
		require.NoError(w, err)
		lines = bufio.NewReader(resp.Body)
		_, err = lines.ReadString('\n')
		require.NoError(w, err)
		assert.Zero(w, time.Since(began), "an event comes when it is sent")
		_, err = io.ReadAll(lines)
		require.NoError(w, err)
		assert.Equal(w, 10*time.Second, time.Since(began))
		resp.Body.Close()

		conn, in := w.upgrade(ports, url+"/upgrade")
		defer conn.Close()
		time.Sleep(time.Hour / 10) // an upgraded connection has no request time
		fmt.Fprintln(conn, "ping")
		line, err = in.ReadString('\n')
		require.NoError(w, err)
		assert.Equal(w, "ping\n", line)
		w.delete(made.GetSandboxId(), 0)
		_, err = in.ReadString('\n')
		assert.Error(w, err, "it does not outlive the sandbox")
	}))
	t.Run("a request target is passed on as it is", inEdgeWorld(Options{}, func(w *world, _ *MemoryPorts, client *http.Client) {
		made := w.create(command("site", "80"), serving(httpsOn(80, openly)))
		synctest.Wait()
		const target = "/uri?a;b=%zz&c"
		code, body := w.getURL(client, endpointURL(made, 0)+target)
		assert.Equal(w, http.StatusOK, code)
		assert.Equal(w, target, body)
	}))
	t.Run("a WebSocket client that reads nothing keeps no sandbox", inEdgeWorld(Options{}, func(w *world, ports *MemoryPorts, _ *http.Client) {
		made := w.create(command("site", "80"), serving(httpsOn(80, openly)))
		synctest.Wait()
		conn, _ := w.upgrade(ports, endpointURL(made, 0)+"/flood")
		defer conn.Close()
		synctest.Wait() // every buffer on the way is full
		w.delete(made.GetSandboxId(), 0)
		synctest.Wait()
		assert.Equal(w, completed, w.state(made.GetSandboxId()))
	}))
	t.Run("C-166 request time, nothing there", inEdgeWorld(Options{}, func(w *world, _ *MemoryPorts, client *http.Client) {
		long := httpsOn(81, openly)
		long.Endpoint.RequestTimeoutSeconds = 900
		made := w.create(command("site", "80", "81"), serving(httpsOn(80, openly), long, httpsOn(82, openly)),
			func(s *sandboxv1.SandboxSpec) { s.MaxLifetimeSeconds = 3600 })
		synctest.Wait()
		for i, want := range []time.Duration{15 * time.Second, 900 * time.Second} {
			began := time.Now()
			code, _ := w.getURL(client, endpointURL(made, i)+"/slow")
			assert.Equal(w, http.StatusGatewayTimeout, code)
			assert.Equal(w, want, time.Since(began))
		}
		assert.EqualValues(w, 900, w.get(made.GetSandboxId()).GetStatus().GetServices()[1].GetEndpoint().GetRequestTimeoutSeconds())
		assert.Equal(w, running, w.state(made.GetSandboxId()))
		code, _ := w.getURL(client, endpointURL(made, 2))
		assert.Equal(w, http.StatusBadGateway, code)
	}))
	t.Run("C-164 plain TCP", inEdgeWorld(Options{PendingDelay: time.Second}, func(w *world, ports *MemoryPorts, client *http.Client) {
		made := w.create(command("site", "80"), serving(
			&sandboxv1.Service{Port: 80, Name: "web", Visibility: private},
			&sandboxv1.Service{Port: 81, Visibility: private, Protocol: sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_TCP},
		))
		assert.Empty(w, made.GetStatus().GetServices()[0].GetUrl())
		time.Sleep(time.Second)
		synctest.Wait()
		services := w.get(made.GetSandboxId()).GetStatus().GetServices()
		url := services[0].GetUrl()
		assert.Regexp(w, `^http://127\.0\.0\.1:\d+$`, url)
		code, body := w.getURL(client, url)
		assert.Equal(w, http.StatusOK, code)
		assert.Contains(w, body, "GET on ")
		_, err := client.Do(w.newRequest(services[1].GetUrl(), ""))
		assert.Error(w, err, "nothing listens there")

		w.delete(made.GetSandboxId(), 0)
		synctest.Wait()
		assert.Empty(w, w.get(made.GetSandboxId()).GetStatus().GetServices()[0].GetUrl())
		_, err = ports.Dial(w.Context(), strings.TrimPrefix(url, "http://"))
		assert.Error(w, err)
	}))
	t.Run("C-168 TLS passthrough", inEdgeWorld(Options{}, func(w *world, ports *MemoryPorts, _ *http.Client) {
		made := w.create(command("echo-port"), serving(&sandboxv1.Service{
			Port: 7, Visibility: public, Endpoint: &sandboxv1.EndpointSpec{Kind: passthrough},
		}))
		address := made.GetStatus().GetServices()[0].GetEndpoint().GetAddress()
		assert.Regexp(w, `^localhost:\d+$`, address, "it is known from the first answer on")
		assert.Empty(w, endpointURL(made, 0))
		synctest.Wait()
		conn, err := ports.Dial(w.Context(), address)
		require.NoError(w, err)
		defer conn.Close()
		lines := bufio.NewReader(conn)
		line, err := lines.ReadString('\n')
		require.NoError(w, err)
		assert.Equal(w, "hello\n", line, "the workload's own bytes")
		w.delete(made.GetSandboxId(), 0)
		_, err = lines.ReadString('\n')
		assert.Error(w, err)
		assert.Empty(w, w.get(made.GetSandboxId()).GetStatus().GetServices()[0].GetEndpoint().GetAddress())
	}))
	t.Run("C-169 rows without an address", inEdgeWorld(Options{}, func(w *world, ports *MemoryPorts, _ *http.Client) {
		asked := []*sandboxv1.Service{
			{Port: 1, Name: "listen-only"},
			{Port: 2, Protocol: sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_UDP, Visibility: public},
			{Port: 3, Protocol: sandboxv1.ServiceProtocol_SERVICE_PROTOCOL_SCTP, Visibility: public},
			{Port: 4, Visibility: sandboxv1.Visibility_VISIBILITY_CUSTOM},
		}
		id := w.run(serving(asked...))
		got := w.get(id).GetStatus().GetServices()
		require.Len(w, got, len(asked))
		for i, st := range got {
			assert.Equal(w, asked[i].GetPort(), st.GetPort())
			assert.Equal(w, asked[i].GetName(), st.GetName())
			assert.Equal(w, asked[i].GetProtocol(), st.GetProtocol())
			assert.Equal(w, asked[i].GetVisibility(), st.GetVisibility())
			assert.Empty(w, st.GetUrl())
			assert.Nil(w, st.GetEndpoint())
		}
		assert.Empty(w, ports.open, "no port is taken for them")
	}))
	t.Run("share tokens that no runner offers", inEdgeWorld(Options{NoShareTokens: true}, func(w *world, _ *MemoryPorts, _ *http.Client) {
		_, err := w.api.CreateSandbox(w.ctx, createOf(aSpec(serving(httpsOn(80, byToken)))))
		w.requireRefused(refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_HTTPS_SHARE_TOKEN_NOT_SUPPORTED"}, err)
	}))
	t.Run("plain edge", inEdgeWorld(Options{PlainEdge: true}, func(w *world, _ *MemoryPorts, client *http.Client) {
		made := w.create(command("site", "80"), serving(httpsOn(80, openly)))
		synctest.Wait()
		assert.Regexp(w, `^http://localhost:\d+$`, endpointURL(made, 0))
		code, body := w.getURL(client, endpointURL(made, 0))
		assert.Equal(w, http.StatusOK, code)
		assert.Contains(w, body, " by http,")
	}))
	t.Run("no port is left", func(t *testing.T) {
		inWorld(t, Options{PublishOn: func() ([]net.Listener, int, error) { return nil, 0, io.ErrNoProgress }}, func(w *world) {
			id := w.create(serving(httpsOn(80, openly))).GetSandboxId()
			synctest.Wait()
			st := w.get(id).GetStatus()
			assert.Equal(w, failed, st.GetState())
			assert.Contains(w, st.GetStateReason(), "the services could not be published")
		})
	})
}

func TestPublishedServicesOfSlowPlaces(t *testing.T) {
	inSlowWorld := func(t *testing.T, test func(w *world, ports *MemoryPorts, ready chan struct{})) {
		ports, ready := &MemoryPorts{}, make(chan struct{})
		runtime := slowRuntime{scripted.New(programs...), ready}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{Runtime: runtime, PublishOn: ports.Publish, PlainEdge: true})
			defer w.close()
			test(w, ports, ready)
		})
	}
	get := func(w *world, ports *MemoryPorts, sb *sandboxv1.Sandbox) net.Conn {
		conn, err := ports.Dial(w.Context(), strings.TrimPrefix(endpointURL(sb, 0), "http://"))
		require.NoError(w, err)
		fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
		return conn
	}
	t.Run("deleted before there is a place", func(t *testing.T) {
		inSlowWorld(t, func(w *world, _ *MemoryPorts, ready chan struct{}) {
			id := w.create(serving(httpsOn(80, openly))).GetSandboxId()
			w.delete(id, 0)
			var p *publication
			w.srv.each(id, func(r *record) { p = r.publications[0] })
			go func() {
				for p.life.Err() == nil {
					_, err := p.record.reachable()
					assert.Error(w, err)
				}
			}()
			close(ready)
			synctest.Wait()
			assert.Equal(w, completed, w.state(id))
		}) // the race detector looks on
	})
	t.Run("deleted while a connection is being made", func(t *testing.T) {
		inSlowWorld(t, func(w *world, ports *MemoryPorts, ready chan struct{}) {
			close(ready)
			sb := w.create(serving(httpsOn(80, openly)))
			synctest.Wait()
			for range 20 {
				defer get(w, ports, sb).Close()
			}
			synctest.Wait()
			w.delete(sb.GetSandboxId(), 0)
			synctest.Wait()
			assert.Equal(w, completed, w.state(sb.GetSandboxId()))
		}) // fails when a goroutine is left
	})
}

// A wiredRuntime makes places whose ports are all one of this machine.
type wiredRuntime struct {
	container.Runtime
	address string
}

func (r wiredRuntime) NewSandbox(ctx context.Context, spec container.SandboxSpec) (container.Sandbox, error) {
	place, err := r.Runtime.NewSandbox(ctx, spec)
	return wiredPlace{place, r.address}, err
}

type wiredPlace struct {
	container.Sandbox
	address string
}

func (p wiredPlace) Dial(ctx context.Context, _ int) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", p.address)
}

// TestRelayPassesHalfCloseOn uses the network: connections in memory have no halves.
func TestRelayPassesHalfCloseOn(t *testing.T) {
	service, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer service.Close()
	go func() {
		conn, err := service.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		all, _ := io.ReadAll(conn)
		fmt.Fprintf(conn, "%d bytes", len(all))
	}()
	w := newWorld(t, Options{Runtime: wiredRuntime{scripted.New(programs...), service.Addr().String()}})
	defer w.close()
	id := w.create(serving(&sandboxv1.Service{Port: 80, Visibility: public})).GetSandboxId()
	require.Eventually(t, func() bool { return w.state(id) == running }, time.Minute, time.Millisecond)
	client, err := net.Dial("tcp", strings.TrimPrefix(w.get(id).GetStatus().GetServices()[0].GetUrl(), "http://"))
	require.NoError(t, err)
	defer client.Close()
	_, err = client.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, client.(*net.TCPConn).CloseWrite())
	answer, err := io.ReadAll(client)
	require.NoError(t, err)
	assert.Equal(t, "1048576 bytes", string(answer), "what is said after the end of the other side")
}

// TestPublishOnLoopback uses the network.
func TestPublishOnLoopback(t *testing.T) {
	listeners, port, err := publishOnLoopback()
	require.NoError(t, err)
	defer closeListeners(listeners)
	for _, l := range listeners {
		addr := l.Addr().(*net.TCPAddr)
		assert.True(t, addr.IP.IsLoopback(), "%v", addr)
		assert.Equal(t, port, addr.Port)
	}
}
