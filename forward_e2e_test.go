//go:build linux || darwin

package cwsandbox_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// TestForwarding connects through real sandboxes, which reach the servers of this machine, by every tool that is here.
func TestForwarding(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	t.Run("side by side", func(t *testing.T) {
		for _, tools := range []string{
			"perl", "python3", "bash cat", "socat", "ncat cat", "nc.traditional=nc", "busybox=nc cat",
		} {
			t.Run(tools, func(t *testing.T) {
				t.Parallel()
				testRelay(t, w, tools)
			})
		}
		t.Run("nothing that connects", func(t *testing.T) { testNoRelay(t, w) })
		t.Run("a transport of HTTP", func(t *testing.T) { testTransport(t, w) })
		t.Run("a port", func(t *testing.T) { testForwarder(t, w) })
		t.Run("a port that leads nowhere", func(t *testing.T) { testForwarderFails(t, w) })
	})
	nothingRuns(t)
}

// nothingRuns expects that no goroutine of a connection or a forwarder is left.
func nothingRuns(t *testing.T) {
	t.Helper()
	var stacks string
	require.Eventually(t, func() bool {
		buffer := make([]byte, 1<<20)
		stacks = string(buffer[:runtime.Stack(buffer, true)])
		return !strings.Contains(stacks, ".(*tunnel)") && !strings.Contains(stacks, ".(*Forwarder)") && !strings.Contains(stacks, ".(*link)")
	}, patience, 10*time.Millisecond)
}

// relayTest is one sandbox that dials one server of this machine.
type relayTest struct {
	sandbox  *cwsandbox.Sandbox
	listener net.Listener
}

func newRelayTest(t *testing.T, sb *cwsandbox.Sandbox) relayTest {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return relayTest{sb, l}
}

// connect returns both ends of a new connection. They are closed when the test ends.
func (r relayTest) connect(t *testing.T) (client net.Conn, server *net.TCPConn) {
	t.Helper()
	ctx, cancel := context.WithCancel(limited(t))
	client, err := r.sandbox.DialContext(ctx, "tcp", r.listener.Addr().String())
	cancel()
	require.NoError(t, err)
	t.Cleanup(func() { client.Close() })
	accepted, err := r.listener.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { accepted.Close() })
	for _, c := range []net.Conn{client, accepted} {
		require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	}
	return client, accepted.(*net.TCPConn)
}

func testRelay(t *testing.T, w world, tools string) {
	r := newRelayTest(t, w.only(t, tools))
	halves := tools == "perl" || tools == "python3"
	t.Run("both directions at once", func(t *testing.T) {
		client, server := r.connect(t)
		sent, back := random(5<<20+1), random(3<<20+3)
		var moving sync.WaitGroup
		for _, c := range []struct {
			conn      net.Conn
			out, want []byte
		}{{client, sent, back}, {server, back, sent}} {
			moving.Go(func() {
				n, err := c.conn.Write(c.out)
				assert.NoError(t, err)
				assert.Equal(t, len(c.out), n)
			})
			moving.Go(func() {
				got := make([]byte, len(c.want))
				_, err := io.ReadFull(c.conn, got)
				assert.NoError(t, err)
				assert.True(t, bytes.Equal(c.want, got))
			})
		}
		moving.Wait()
	})
	t.Run("the server ends", func(t *testing.T) {
		client, server := r.connect(t)
		data := random(1<<20 + 1)
		go func() {
			server.Write(data)
			server.Close()
		}()
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got), "%d bytes", len(got))
		require.NoError(t, client.Close())
	})
	t.Run("the client ends", func(t *testing.T) {
		client, server := r.connect(t)
		data := random(1<<20 + 1)
		go func() {
			client.Write(data)
			client.Close()
		}()
		got := make([]byte, len(data))
		_, err := io.ReadFull(server, got)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(data, got))
		_, err = server.Read(got)
		assert.Equal(t, io.EOF, err)
	})
	t.Run("the end of one direction", func(t *testing.T) {
		client, server := r.connect(t)
		err := client.(interface{ CloseWrite() error }).CloseWrite()
		if !halves {
			require.ErrorIs(t, err, errors.ErrUnsupported)
			return
		}
		require.NoError(t, err)
		_, err = server.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		_, err = server.Write([]byte("answer"))
		require.NoError(t, err)
		require.NoError(t, server.Close())
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.Equal(t, "answer", string(got))

		client, server = r.connect(t)
		require.NoError(t, server.CloseWrite())
		_, err = client.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
		_, err = client.Write([]byte("still here"))
		require.NoError(t, err)
		require.NoError(t, client.Close())
		got, err = io.ReadAll(server)
		require.NoError(t, err)
		assert.Equal(t, "still here", string(got))
	})
	t.Run("a reset", func(t *testing.T) {
		client, server := r.connect(t)
		require.NoError(t, server.SetLinger(0))
		require.NoError(t, server.Close())
		_, err := client.Read(make([]byte, 1))
		if halves || tools == "bash cat" {
			require.ErrorIs(t, err, syscall.ECONNRESET)
		} else {
			require.Error(t, err)
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		}
	})
	t.Run("nobody listens", func(t *testing.T) {
		_, err := r.sandbox.DialContext(limited(t), "tcp", nobody)
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		assert.ErrorContains(t, err, "connection refused")
	})
	t.Run("deadlines", func(t *testing.T) {
		client, server := r.connect(t)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := client.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, client.SetWriteDeadline(time.Now().Add(100*time.Millisecond)))
		n, err := client.Write(make([]byte, 32<<20)) // nobody reads that
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Less(t, n, 32<<20)
		require.NoError(t, client.SetDeadline(time.Now().Add(patience)))
		written := make(chan error, 1)
		go func() {
			_, err := client.Write([]byte("x"))
			written <- err
		}()
		got, err := io.CopyN(io.Discard, server, int64(n+1))
		require.NoError(t, err)
		assert.EqualValues(t, n+1, got)
		require.NoError(t, <-written)
	})
	t.Run("everything at once", func(t *testing.T) {
		client, server := r.connect(t)
		go io.Copy(server, server)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				client.SetDeadline(time.Now().Add(time.Millisecond))
				client.Write(make([]byte, 100))
				client.Read(make([]byte, 100))
				client.SetReadDeadline(time.Now())
				client.SetWriteDeadline(time.Time{})
				client.LocalAddr()
				client.RemoteAddr()
				client.Read(make([]byte, 100))
			})
		}
		all.Wait()
		require.NoError(t, client.Close())
	})
	assert.Zero(t, r.sandbox.Stats().Failed)
}

// nobody is an address that nobody listens at. One that a test has given up might be somebody else's by then, or still be
// held by a process that is just being started.
const nobody = "127.0.0.1:1"

func testNoRelay(t *testing.T, w world) {
	t.Parallel()
	sb := w.run(t, cwsandbox.WithEnv("PATH", "/cwsandbox-nothing"), cwsandbox.WithCommand("/bin/sleep", "1000"))
	_, err := sb.DialContext(limited(t), "tcp", "127.0.0.1:80")
	require.ErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "it needs one of perl, python3, bash with cat, socat, ncat, nc")
}

// echoServer answers with what it gets.
func echoServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rw.Write(body)
	}))
	t.Cleanup(s.Close)
	return s
}

// exchange posts data and expects it back.
func exchange(t *testing.T, hc *http.Client, url string, data []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(limited(t), http.MethodPost, url, bytes.NewReader(data))
	if !assert.NoError(t, err) {
		return
	}
	resp, err := hc.Do(req)
	if !assert.NoError(t, err) {
		return
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	assert.True(t, bytes.Equal(data, got), "%d of %d bytes", len(got), len(data))
}

func testTransport(t *testing.T, w world) {
	t.Parallel()
	sb, echo := w.run(t), echoServer(t)
	transport := &http.Transport{DialContext: sb.DialContext}
	hc := &http.Client{Transport: transport}
	var all sync.WaitGroup
	for i := range 10 {
		all.Go(func() {
			exchange(t, hc, echo.URL, []byte(fmt.Sprint("hello ", i)))
			exchange(t, hc, echo.URL, random(1<<20))
		})
	}
	all.Wait()
	transport.CloseIdleConnections()
	_, err := hc.Get("http://" + nobody)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)

	ctx, cancel := context.WithCancel(limited(t)) // a request that is given up
	blocked := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}))
	defer blocked.Close()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, blocked.URL, nil)
	require.NoError(t, err)
	_, err = hc.Do(req)
	assert.ErrorIs(t, err, context.Canceled)
}

func testForwarder(t *testing.T, w world) {
	t.Parallel()
	sb, echo := w.run(t), echoServer(t)
	remote := strings.TrimPrefix(echo.URL, "http://")
	f, err := sb.Forward(t.Context(), ":0", remote)
	require.NoError(t, err)
	assert.True(t, f.Addr().(*net.TCPAddr).IP.IsLoopback())
	hc := &http.Client{Transport: new(http.Transport)}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() { exchange(t, hc, "http://"+f.Addr().String(), random(1<<20)) })
	}
	all.Wait()
	_, err = sb.Forward(t.Context(), f.Addr().String(), remote)
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, f.Close()) // with idle connections
	require.NoError(t, f.Close())

	for name, end := range map[string]func(cancel func(), sb *cwsandbox.Sandbox, f *cwsandbox.Forwarder){
		"its context": func(cancel func(), _ *cwsandbox.Sandbox, _ *cwsandbox.Forwarder) { cancel() },
		"a stop":      func(_ func(), sb *cwsandbox.Sandbox, _ *cwsandbox.Forwarder) { sb.Stop(cwsandbox.WithGrace(0)).Wait() },
		"Close":       func(cancel func(), _ *cwsandbox.Sandbox, f *cwsandbox.Forwarder) { f.Close(); cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		sb, r := w.run(t), newRelayTest(t, nil)
		// At this address nobody else takes the port when it is free again.
		f, err := sb.Forward(ctx, "127.0.0.2:0", r.listener.Addr().String())
		require.NoError(t, err)
		client, err := net.Dial("tcp", f.Addr().String())
		require.NoError(t, err)
		server, err := r.listener.Accept()
		require.NoError(t, err)
		end(cancel, sb, f)
		for _, c := range []net.Conn{client, server} {
			require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
			_, err = io.Copy(io.Discard, c)
			assert.NotErrorIs(t, err, os.ErrDeadlineExceeded, name)
			c.Close()
		}
		require.NoError(t, f.Close())
		assert.Eventually(t, func() bool { // a process that is just being started has all our files for a moment
			conn, err := net.Dial("tcp", f.Addr().String())
			if err == nil {
				conn.Close()
			}
			return errors.Is(err, syscall.ECONNREFUSED)
		}, patience, time.Millisecond, name)
		_, err = sb.Forward(ctx, "127.0.0.1:0", "127.0.0.1:80")
		assert.Error(t, err, name)
	}
}

// logLines is where a client logs to.
type logLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func testForwarderFails(t *testing.T, w world) {
	t.Parallel()
	var log logLines
	client := w.server.Client(cwsandbox.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
	sb, err := client.Attach(limited(t), w.run(t).ID())
	require.NoError(t, err)
	f, err := sb.Forward(t.Context(), "127.0.0.1:0", nobody)
	require.NoError(t, err)
	defer f.Close()
	c, err := net.Dial("tcp", f.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = c.Read(make([]byte, 1))
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.Contains(t, log.String(), "connection refused")
}
