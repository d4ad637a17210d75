package cwsandbox

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/relay"
)

const server = "127.0.0.1:8080"

// frame is a frame of a relay.
func frame(data string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(data)))) + data
}

// peer is the sandbox's side of one connection.
type peer struct {
	*dialog
	left []byte // of the input
}

// relayed makes the commands of a script relays: each greets and then does what the test says.
func (s *script) relayed(greeting string, do func(p *peer) error) {
	s.exec = func(d *dialog) error {
		d.ready()
		d.out(greeting)
		return do(&peer{dialog: d})
	}
}

// receive returns the next frame of the client; false: one that means the end of all.
func (p *peer) receive() (data string, ok bool) {
	header, ok := p.bytes(frameHeader)
	if !ok {
		return "", false
	}
	n := binary.BigEndian.Uint32([]byte(header))
	if n == relay.EndOfAll {
		return "", false
	}
	return p.bytes(int(n))
}

func (p *peer) bytes(n int) (string, bool) {
	for len(p.left) < n {
		f, err := p.stream.Recv()
		if err != nil || f.GetClose() != nil {
			return "", false
		}
		p.left = append(p.left, f.GetStdin()...)
	}
	data := string(p.left[:n])
	p.left = p.left[n:]
	return data, true
}

// echo sends back what comes, and ends when the client does.
func (p *peer) echo() error {
	for {
		data, ok := p.receive()
		if !ok {
			return p.exit(0)
		}
		p.out(frame(data))
	}
}

func (p *peer) wait() error {
	p.receive()
	return p.exit(0)
}

func dial(t *testing.T, sb *Sandbox) net.Conn {
	t.Helper()
	c, err := sb.DialContext(t.Context(), "tcp", server)
	require.NoError(t, err)
	return c
}

func closeWrite(c net.Conn) error { return c.(interface{ CloseWrite() error }).CloseWrite() }

func TestDial(t *testing.T) {
	story(t, "returns when there is a connection", func(t *testing.T, s *script, sb *Sandbox) {
		for _, how := range []struct {
			name  string
			greet func(d *dialog) // up to the connection
			first string          // what the server sends at once, as the relay prints it
		}{
			{"framed", func(d *dialog) { d.out("perl framed\n") }, frame("hello")},
			{"byte by byte", func(d *dialog) {
				for _, b := range "python3 framed\n" {
					d.out(string(b))
				}
			}, frame("hello")},
			{"raw", func(d *dialog) { d.out("bash raw\n") }, "hello"},
			{"pending", func(d *dialog) {
				d.out("nc pending\n")
				d.err("localhost [127.0.0.1] 8080 (?)")
				d.err(" open\n")
			}, "hello"},
			{"standard error first", func(d *dialog) {
				d.err("N starting data transfer loop with FDs [0,1] and [5,5]\n")
				d.out("socat pending\n")
			}, "hello"},
			{"the server first", func(d *dialog) { d.out("nc pending\n") }, "hello"},
		} {
			now := make(chan struct{})
			s.exec = func(d *dialog) error {
				d.ready()
				<-now
				how.greet(d)
				d.out(how.first)
				return (&peer{dialog: d}).wait()
			}
			dialing := Go(func() (net.Conn, error) { return sb.DialContext(t.Context(), "tcp", server) })
			dialing.Start()
			synctest.Wait()
			assert.False(t, isClosed(dialing.Done()), how.name)
			close(now)
			c, err := dialing.Wait()
			require.NoError(t, err, how.name)
			got := make([]byte, 5)
			_, err = io.ReadFull(c, got)
			require.NoError(t, err, how.name)
			assert.Equal(t, "hello", string(got), how.name)
			require.NoError(t, c.Close())
		}
		assert.Zero(t, sb.Stats())
	})

	story(t, "tells the relay the address and what worked before", func(t *testing.T, s *script, sb *Sandbox) {
		var words []string
		s.exec = func(d *dialog) error {
			words = d.init.GetCommand()[4:7]
			assert.Equal(t, map[string]string{"LC_ALL": "C"}, d.init.GetEnv())
			d.ready()
			d.out("python3 framed\n")
			return (&peer{dialog: d}).wait()
		}
		for _, row := range []struct{ network, addr, host, port, before string }{
			{"tcp", "db.internal:5432", "db.internal", "5432", ""},
			{"tcp", "[::1]:80", "::1", "80", "python3"},
			{"tcp4", "10.0.0.1:1", "10.0.0.1", "1", "python3"},
			{"tcp6", "[fe80::1%eth0]:65535", "fe80::1%eth0", "65535", "python3"},
		} {
			c, err := sb.DialContext(t.Context(), row.network, row.addr)
			require.NoError(t, err)
			assert.Equal(t, []string{row.host, row.port, row.before}, words)
			assert.Equal(t, row.addr, c.RemoteAddr().String())
			assert.Equal(t, "sb-1", c.LocalAddr().String())
			assert.Equal(t, "tcp", c.LocalAddr().Network())
			require.NoError(t, c.Close())
		}
	})

	story(t, "refuses what is no address", func(t *testing.T, s *script, sb *Sandbox) {
		for _, row := range [][2]string{
			{"udp", server}, {"", server}, {"unix", "/tmp/socket"}, {"tcp4", "[::1]:80"}, {"tcp6", server}, {"tcp4", "localhost:80"},
			{"tcp", ""}, {"tcp", "localhost"}, {"tcp", ":80"}, {"tcp", "localhost:0"}, {"tcp", "localhost:65536"}, {"tcp", "localhost:http"},
			{"tcp", "localhost:"}, {"tcp", "-e:80"}, {"tcp", "a b:80"}, {"tcp", "a,b:80"}, {"tcp", "$(id):80"}, {"tcp", "a/b:80"}, {"tcp", "\xff:80"},
		} {
			_, err := sb.DialContext(t.Context(), row[0], row[1])
			all(t, err, ErrInvalidArgument)
		}
		for _, local := range []string{"", "8080", "127.0.0.1"} {
			_, err := sb.Forward(t.Context(), local, server)
			all(t, err, ErrInvalidArgument)
		}
		_, err := sb.Forward(t.Context(), "127.0.0.1:0", "localhost")
		all(t, err, ErrInvalidArgument)
		assert.Zero(t, s.execs.Load())
	})

	story(t, "tells why there is no connection", func(t *testing.T, s *script, sb *Sandbox) {
		for _, row := range []struct {
			say  func(d *dialog) error
			is   error
			text string
		}{
			{func(d *dialog) error { d.err("Connection refused\n"); return d.exit(69) }, syscall.ECONNREFUSED, server + ": connection refused"},
			{func(d *dialog) error {
				d.out("nc pending\n")
				d.err("nc: connect to 127.0.0.1 port 8080 (tcp) failed: Connection refused\n")
				return d.exit(1)
			}, syscall.ECONNREFUSED, "connection refused"},
			{func(d *dialog) error { d.err("Connection timed out\n"); return d.exit(69) }, syscall.ETIMEDOUT, "timed out"},
			{func(d *dialog) error { d.err("Name or service not known\n"); return d.exit(69) }, nil, "name or service not known"},
			{func(d *dialog) error { return d.exit(69) }, nil, "the relay exited with 69"},
			{func(d *dialog) error { return d.exit(64) }, errors.ErrUnsupported, "it needs one of perl, python3, bash"},
			{func(d *dialog) error { return d.exit(127) }, errors.ErrUnsupported, "no /bin/sh"},
			{func(d *dialog) error { d.out("Welcome to this shell\n"); return d.hang() }, ErrStream, ""},
			{func(d *dialog) error { d.out(strings.Repeat("x", 100)); return d.hang() }, ErrStream, ""},
			{func(d *dialog) error { return nil }, ErrStream, "without an exit status"},
			{func(d *dialog) error { return failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND") }, ErrNotFound, ""},
		} {
			s.exec = func(d *dialog) error { d.ready(); return row.say(d) }
			c, err := sb.DialContext(t.Context(), "tcp", server)
			assert.True(t, c == nil, "not even one that is nil inside")
			require.ErrorContains(t, err, row.text)
			assert.ErrorContains(t, err, "dial sb-1")
			if row.is != nil {
				all(t, err, row.is)
			}
		}
		sb.s.info.State = StateTerminating
		_, err := sb.DialContext(t.Context(), "tcp", server)
		all(t, err, ErrNotRunning)
		_, err = sb.Forward(t.Context(), "127.0.0.1:0", server)
		all(t, err, ErrNotRunning)
	})

	story(t, "its context bounds the dialing", func(t *testing.T, s *script, sb *Sandbox) {
		ended := make(chan struct{}, 1)
		s.exec = func(d *dialog) error {
			d.ready()
			d.hang()
			ended <- struct{}{}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := sb.DialContext(ctx, "tcp", server)
		all(t, err, context.DeadlineExceeded, ErrTimeout)
		<-ended

		reason := errors.New("user left")
		why, giveUp := context.WithCancelCause(t.Context())
		dialing := Go(func() (net.Conn, error) { return sb.DialContext(why, "tcp", server) })
		synctest.Wait()
		giveUp(reason)
		_, err = dialing.Wait()
		all(t, err, context.Canceled, reason)
		none(t, err, ErrTimeout)
		<-ended

		begin := time.Now()
		_, err = sb.DialContext(t.Context(), "tcp", server)
		all(t, err, ErrTimeout)
		none(t, err, context.DeadlineExceeded)
		assert.Equal(t, sb.s.client.config.requestTimeout, time.Since(begin))
		<-ended

		calls := s.execs.Load()
		_, err = sb.DialContext(ctx, "tcp", server)
		all(t, err, context.DeadlineExceeded)
		assert.Equal(t, calls, s.execs.Load())
	})

	story(t, "a connection that ends at once is one", func(t *testing.T, s *script, sb *Sandbox) {
		for _, greeting := range []string{"bash raw\n", "perl framed\n" + frame(""), "nc pending\nx"} {
			for range 20 {
				s.relayed(greeting, func(p *peer) error { return p.exit(0) })
				c := dial(t, sb)
				_, err := read(c)
				require.NoError(t, err)
				require.NoError(t, c.Close())
			}
		}
	})

	story(t, "and nothing after it", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", (*peer).echo)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		c, err := sb.DialContext(ctx, "tcp", server)
		require.NoError(t, err)
		cancel()
		time.Sleep(time.Hour)
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err)
		got := make([]byte, 5)
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(got))
		require.NoError(t, c.Close())
	})
}

func TestConnReads(t *testing.T) {
	story(t, "frames of any cut", func(t *testing.T, s *script, sb *Sandbox) {
		data := sample(5000)
		whole := frame(string(data[:1])) + frame(string(data[1:3000])) + frame(string(data[3000:])) + frame("")
		for _, size := range []int{1, 3, 4, 5, 1000, 10000} {
			s.relayed("perl framed\n", func(p *peer) error {
				for rest := whole; rest != ""; {
					n := min(size, len(rest))
					p.out(rest[:n])
					rest = rest[n:]
				}
				return p.wait()
			})
			c := dial(t, sb)
			require.NoError(t, iotest.TestReader(c, data))
			_, err := c.Write([]byte("still open"))
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
	})

	for _, row := range []struct {
		name     string
		greeting string
		end      func(p *peer) error
		is       error
	}{
		{"a raw end", "bash raw\n", func(p *peer) error { return p.exit(0) }, nil},
		{"a reset", "perl framed\n", func(p *peer) error { p.err("Connection reset by peer\n"); return p.exit(70) }, syscall.ECONNRESET},
		{"a raw reset", "bash raw\n", func(p *peer) error { p.err("cat: -: Connection reset by peer\n"); return p.exit(70) }, syscall.ECONNRESET},
		{"a reset after a refusal of another address", "nc pending\n", func(p *peer) error {
			p.err("localhost [::1] 80 (http) : Connection refused\nlocalhost [127.0.0.1] 80 (http) open\n")
			p.out("hello")
			p.err("read(net): Connection reset by peer\n")
			return p.exit(1)
		}, syscall.ECONNRESET},
		{"a relay that fails", "perl framed\n", func(p *peer) error { return p.exit(1) }, ErrStream},
		{"a relay that ends in between", "perl framed\n", func(p *peer) error { return p.exit(0) }, ErrStream},
		{"a stream that ends", "perl framed\n", func(p *peer) error { return nil }, ErrStream},
		{"a stream that is cut", "bash raw\n", func(p *peer) error { return status.Error(codes.Unavailable, "cut") }, ErrUnavailable},
	} {
		story(t, row.name, func(t *testing.T, s *script, sb *Sandbox) {
			s.relayed(row.greeting, func(p *peer) error {
				switch {
				case strings.HasSuffix(row.greeting, "framed\n"):
					p.out(frame("hello"))
				case strings.HasSuffix(row.greeting, "raw\n"):
					p.out("hello")
				}
				return row.end(p)
			})
			c := dial(t, sb)
			synctest.Wait()
			for range 2 {
				got, err := read(c)
				if row.is == nil {
					assert.NoError(t, err)
				} else {
					all(t, err, row.is)
				}
				assert.Contains(t, []string{"hello", ""}, got)
			}
			_, err := c.Write([]byte("x"))
			var opErr *net.OpError
			require.ErrorAs(t, err, &opErr)
			assert.Equal(t, "write", opErr.Op)
			require.NoError(t, c.Close())
		})
	}

	story(t, "the end of the sandbox", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", func(p *peer) error { return p.hang() })
		c := dial(t, sb)
		reading := Go(func() (string, error) { return read(c) })
		reading.Start()
		synctest.Wait()
		sb.s.endLife(errStopped)
		_, err := reading.Wait()
		all(t, err, ErrNotRunning)
		require.NoError(t, c.Close())
	})

	story(t, "a reader that does not read holds the server back", func(t *testing.T, s *script, sb *Sandbox) {
		const frames = 256
		sent := 0
		s.relayed("perl framed\n", func(p *peer) error {
			for range frames {
				if err := p.out(frame(string(sample(stdinFrame)))); err != nil {
					return err
				}
				sent++
			}
			p.out(frame(""))
			return p.wait()
		})
		c := dial(t, sb)
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Less(t, sent, frames/2)
		_, err := c.Write([]byte("the other direction is free"))
		require.NoError(t, err)
		n, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
		assert.EqualValues(t, frames*stdinFrame, n)
		require.NoError(t, c.Close())
	})
}

func TestConnWrites(t *testing.T) {
	story(t, "in order, in frames, and the end of one direction", func(t *testing.T, s *script, sb *Sandbox) {
		data, got := sample(3*stdinFrame+5), new(bytes.Buffer)
		s.relayed("perl framed\n", func(p *peer) error {
			for {
				piece, _ := p.receive()
				got.WriteString(piece)
				if piece == "" {
					break
				}
			}
			p.out(frame("thanks") + frame(""))
			return p.exit(0)
		})
		c := dial(t, sb)
		n, err := c.Write(data)
		require.NoError(t, err)
		assert.Equal(t, len(data), n)
		require.NoError(t, closeWrite(c))
		require.NoError(t, closeWrite(c))
		_, err = c.Write([]byte("more"))
		all(t, err, syscall.EPIPE)
		answer, err := read(c)
		require.NoError(t, err)
		assert.Equal(t, "thanks", answer)
		assert.True(t, bytes.Equal(data, got.Bytes()))
		require.NoError(t, c.Close())
	})

	story(t, "as they are", func(t *testing.T, s *script, sb *Sandbox) {
		data, got := sample(3*stdinFrame+5), make(chan input, 1)
		s.relayed("bash raw\n", func(p *peer) error {
			in, err := p.input()
			got <- in
			p.exit(0)
			return err
		})
		c := dial(t, sb)
		_, err := c.Write(data)
		require.NoError(t, err)
		all(t, closeWrite(c), errors.ErrUnsupported)
		require.NoError(t, c.Close())
		in := <-got
		assert.True(t, bytes.Equal(data, in.data))
		assert.Equal(t, 1, in.closes)
	})

	story(t, "a server that does not read holds the writer back", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", func(p *peer) error { return p.hang() })
		c := dial(t, sb)
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := c.Write(make([]byte, 64<<20))
		all(t, err, os.ErrDeadlineExceeded)
		assert.Less(t, n, 32<<20)
		begin := time.Now()
		require.NoError(t, c.Close())
		assert.Zero(t, time.Since(begin))
	})
}

func TestConnDeadlines(t *testing.T) {
	story(t, "of readers", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", (*peer).echo)
		c := dial(t, sb)
		begin := time.Now()
		require.NoError(t, c.SetReadDeadline(begin.Add(time.Minute)))
		_, err := read(c)
		all(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, time.Minute, time.Since(begin))
		_, err = c.Read(nil)
		all(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, c.SetDeadline(time.Time{}))
		reading := Go(func() (string, error) { return read(c) })
		reading.Start()
		synctest.Wait()
		require.NoError(t, c.SetReadDeadline(time.Now().Add(-time.Second)))
		_, err = reading.Wait()
		all(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Hour)))
		n, err := c.Read(nil)
		require.NoError(t, err)
		assert.Zero(t, n)
		_, err = c.Write([]byte("hello"))
		require.NoError(t, err, "the other one does not count")
		got := make([]byte, 5)
		_, err = io.ReadFull(c, got)
		require.NoError(t, err)
		require.NoError(t, c.Close())
	})

	story(t, "of writers", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", (*peer).echo)
		c := dial(t, sb)
		require.NoError(t, c.SetWriteDeadline(time.Now().Add(-1)))
		for _, data := range []string{"", "x"} {
			_, err := c.Write([]byte(data))
			all(t, err, os.ErrDeadlineExceeded)
		}
		all(t, closeWrite(c), os.ErrDeadlineExceeded)
		require.NoError(t, c.SetDeadline(time.Now().Add(time.Hour)))
		_, err := c.Write([]byte("hello"))
		require.NoError(t, err)
		require.NoError(t, c.Close())
		all(t, c.SetDeadline(time.Time{}), net.ErrClosed)
	})
}

func TestConnClose(t *testing.T) {
	story(t, "ends whoever waits, and delivers what was written", func(t *testing.T, s *script, sb *Sandbox) {
		got := make(chan string, 1)
		s.relayed("perl framed\n", func(p *peer) error {
			var all string
			for {
				data, ok := p.receive()
				if all += data; !ok {
					got <- all
					return p.exit(0)
				}
			}
		})
		c := dial(t, sb)
		reading := Go(func() (int, error) { return c.Read(make([]byte, 1)) })
		reading.Start()
		_, err := c.Write([]byte("last words"))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, c.Close())
		_, err = reading.Wait()
		all(t, err, net.ErrClosed)
		assert.Equal(t, "last words", <-got)
		all(t, c.Close(), net.ErrClosed)
		_, err = c.Write(nil)
		all(t, err, net.ErrClosed)
		all(t, closeWrite(c), net.ErrClosed)
	})

	story(t, "does not wait for a relay that does not end", func(t *testing.T, s *script, sb *Sandbox) {
		ended := make(chan time.Time, 1)
		for _, greeting := range []string{"perl framed\n", "bash raw\n"} {
			s.relayed(greeting, func(p *peer) error {
				p.hang()
				ended <- time.Now()
				return nil
			})
			c := dial(t, sb)
			begin := time.Now()
			require.NoError(t, c.Close())
			assert.Zero(t, time.Since(begin))
			assert.Equal(t, lingerLimit, (<-ended).Sub(begin))
		}
	})

	story(t, "drops what nobody has read", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("bash raw\n", func(p *peer) error {
			for range 1000 {
				if err := p.out(string(sample(stdinFrame))); err != nil {
					return err
				}
			}
			return p.exit(0)
		})
		c := dial(t, sb)
		synctest.Wait()
		require.NoError(t, c.Close())
	})
}

// TestForgottenConn expects that the relay of a connection that was dialed and forgotten ends when it is collected.
func TestForgottenConn(t *testing.T) {
	s, sb := scripted(t)
	ended := make(chan struct{})
	s.relayed("perl framed\n", func(p *peer) error {
		defer close(ended)
		return p.wait()
	})
	func() { dial(t, sb) }()
	collect(t)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the connection lives on")
	}
}

// linked runs a link between a pipe and a connection, and returns the other end of the pipe.
func linked(t *testing.T, sb *Sandbox) (client net.Conn, done *Future[struct{}]) {
	t.Helper()
	client, local := net.Pipe()
	l := &link{local: local, remote: dial(t, sb).(*conn)}
	return client, Go(func() (struct{}, error) {
		l.run()
		l.cut()
		return struct{}{}, nil
	})
}

// eof is a pipe that ends like the direction of a TCP connection: a net.Pipe has no half.
type eof struct {
	net.Conn
	ended chan struct{}
}

func (e eof) Read(b []byte) (int, error) {
	<-e.ended
	return 0, io.EOF
}

func TestLink(t *testing.T) {
	story(t, "ends with the server", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("bash raw\n", func(p *peer) error {
			p.out("bye")
			return p.exit(0)
		})
		client, done := linked(t, sb)
		got, err := read(client)
		require.NoError(t, err)
		assert.Equal(t, "bye", got)
		done.Wait()
	})

	story(t, "ends with a server that fails", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", func(p *peer) error { return status.Error(codes.Unavailable, "cut") })
		client, done := linked(t, sb)
		_, err := read(client)
		require.NoError(t, err)
		done.Wait()
	})

	story(t, "tells the server of the client's end", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("perl framed\n", func(p *peer) error {
			data, ok := p.receive()
			assert.True(t, ok)
			assert.Empty(t, data)
			time.Sleep(time.Hour)
			p.out(frame("late") + frame(""))
			return p.exit(0)
		})
		client, done := linked(t, sb)
		require.NoError(t, client.Close())
		done.Wait()
	})

	story(t, "where it cannot be told, until it is silent", func(t *testing.T, s *script, sb *Sandbox) {
		s.relayed("bash raw\n", func(p *peer) error {
			for range 5 {
				time.Sleep(halfOpenLimit - time.Second)
				p.out("x")
			}
			return p.hang()
		})
		client, local := net.Pipe()
		ended := make(chan struct{})
		l := &link{local: eof{local, ended}, remote: dial(t, sb).(*conn)}
		done := Go(func() (struct{}, error) { l.run(); return struct{}{}, nil })
		done.Start()
		synctest.Wait()
		begin := time.Now()
		close(ended)
		got, err := read(client)
		require.NoError(t, err)
		assert.Equal(t, "xxxxx", got)
		done.Wait()
		assert.Equal(t, 5*(halfOpenLimit-time.Second)+halfOpenLimit, time.Since(begin))
	})
}
