package cwsandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// shell starts a terminal.
func shell(t *testing.T, sb *Sandbox, opts ...ShellOption) *Terminal {
	t.Helper()
	term, err := sb.Shell(t.Context(), nil, opts...)
	require.NoError(t, err)
	return term
}

// echo prints what is typed, in brackets, and sizes, until it reads a q, and exits with 7. A close is a dot.
func echo(d *dialog) error {
	d.ready()
	for {
		frame, err := d.stream.Recv()
		switch {
		case err == io.EOF:
			d.out("half-closed")
			<-d.stream.Context().Done()
			return nil
		case err != nil:
			return err
		}
		switch m := frame.GetMessage().(type) {
		case *sandboxv1.ExecStreamRequest_Stdin:
			if string(m.Stdin) == "q" {
				return d.exit(7)
			}
			d.out("[" + string(m.Stdin) + "]")
		case *sandboxv1.ExecStreamRequest_Resize:
			d.out(strings.Repeat("|", int(m.Resize.GetWidth())) + strings.Repeat("-", int(m.Resize.GetHeight())))
		case *sandboxv1.ExecStreamRequest_Close:
			d.out(".")
		}
	}
}

func TestShell(t *testing.T) {
	story(t, "asks for a terminal", func(t *testing.T, s *script, sb *Sandbox) {
		var init *sandboxv1.ExecStreamInit
		s.exec = func(d *dialog) error {
			init = d.init
			return d.exit(0)
		}
		for _, row := range []struct {
			argv       []string
			opts       []ShellOption
			want       []string
			cols, rows uint32
		}{
			{nil, nil, []string{"/bin/bash"}, 0, 0},
			{[]string{"vi", "x"}, []ShellOption{nil, WithSize(132, 50)}, []string{"vi", "x"}, 132, 50},
		} {
			opts := append(row.opts, WithEnv("A", "1"), WithContainer("db"))
			term, err := sb.Shell(t.Context(), row.argv, opts...)
			require.NoError(t, err)
			res, err := term.Wait()
			require.NoError(t, err)
			assert.Equal(t, row.want, res.Argv)
			assert.Equal(t, row.want, init.GetCommand())
			assert.True(t, init.GetTty())
			assert.Equal(t, [2]uint32{row.cols, row.rows}, [2]uint32{init.GetTtyWidth(), init.GetTtyHeight()})
			assert.Equal(t, map[string]string{"A": "1"}, init.GetEnv())
			assert.Equal(t, "db", init.GetContainer())
			assert.Equal(t, "sb-1", init.GetSandboxId())
		}
		res, err := shell(t, sb, WithDir("/it's here")).Wait()
		require.NoError(t, err)
		assert.Equal(t, []string{"/bin/bash"}, res.Argv)
		assert.Contains(t, init.GetCommand(), "/it's here")
		assert.Equal(t, Stats{Commands: 3, OK: 3}, sb.Stats())
	})

	story(t, "refuses bad arguments", func(t *testing.T, s *script, sb *Sandbox) {
		for _, row := range []struct {
			argv []string
			opt  ShellOption
			want string
		}{
			{[]string{}, nil, "command: must not be empty"},
			{[]string{" "}, nil, "command[0]: must not be blank"},
			{nil, WithSize(0, 24), "columns: must be from 1 to 65535, is 0 (WithSize)"},
			{nil, WithSize(80, -1), "rows: must be from 1 to 65535, is -1 (WithSize)"},
			{nil, WithSize(1<<16, 24), "columns: must be from 1 to 65535, is 65536"},
			{nil, WithDir("here"), "dir: must be an absolute path"},
			{nil, WithEnv("A=B", ""), "env: the name must not contain ="},
			{nil, WithContainer("\x00"), "container: must not contain NUL"},
		} {
			term, err := sb.Shell(t.Context(), row.argv, row.opt)
			assert.Nil(t, term)
			all(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "shell sb-1: "+row.want)
		}
		assert.Zero(t, s.execs.Load())
	})

	bubble(t, "L-016", func(t *testing.T, f *fake, c *Client) {
		sb := running(t, f, c)
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
		term, err := sb.Shell(t.Context(), nil)
		assert.Nil(t, term)
		all(t, err, ErrNotRunning)
		assert.Zero(t, f.count("StreamExec"))
	})
}

func TestTerminal(t *testing.T) {
	story(t, "a conversation, with sizes also after the end of the keys", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = echo
		term := shell(t, sb)
		expect := func(want string) {
			t.Helper()
			got := make([]byte, len(want))
			_, err := io.ReadFull(term, got)
			require.NoError(t, err)
			assert.Equal(t, want, string(got))
		}
		io.WriteString(term, "ls\r")
		expect("[ls\r]")
		require.NoError(t, term.Resize(t.Context(), 3, 2))
		expect("|||--")
		io.WriteString(term, "\x03")
		expect("[\x03]")
		for range 2 {
			require.NoError(t, term.CloseWrite())
		}
		expect(".")
		_, err := io.WriteString(term, "q")
		all(t, err, ErrClosed)
		require.NoError(t, term.Resize(t.Context(), 1, 1))
		expect("|-")
		require.NoError(t, term.Close())
	})

	story(t, "reads all of it, both streams as one, then the end", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			talk(d)
			return nil
		}
		term := shell(t, sb)
		assert.NoError(t, iotest.TestReader(term, []byte("one oh twono")))
		res, err := term.Wait()
		require.NoError(t, err)
		assert.Nil(t, res.Stdout)
		assert.Equal(t, int64(12), res.StdoutSize)
		assert.Zero(t, res.StderrSize)
		assert.False(t, res.Truncated())
	})

	story(t, "an exit code is a result", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = echo
		term := shell(t, sb)
		io.WriteString(term, "q")
		res, err := term.Wait()
		require.NoError(t, err)
		assert.Equal(t, 7, res.ExitCode)
		got, err := read(term)
		assert.NoError(t, err)
		assert.Empty(t, got)
		for _, late := range []error{second(io.WriteString(term, "x")), term.Resize(t.Context(), 1, 1)} {
			all(t, late, ErrClosed)
			assert.ErrorContains(t, late, "shell sb-1")
			assert.ErrorContains(t, late, "the process has ended")
		}
		assert.NoError(t, term.CloseWrite())
		assert.NoError(t, term.Close())
		again, err := term.Wait()
		require.NoError(t, err)
		assert.Same(t, res, again)
	})

	story(t, "a failure is that of Read and of Wait", func(t *testing.T, s *script, sb *Sandbox) {
		for name, end := range map[string]func(d *dialog) error{
			"status":          func(d *dialog) error { return failure(codes.Unavailable, "") },
			"no exit status":  func(d *dialog) error { return nil },
			"error in stream": func(d *dialog) error { return d.fail("STREAM_BACKPRESSURE", "slow") },
		} {
			s.exec = func(d *dialog) error {
				d.ready()
				d.out("half")
				return end(d)
			}
			term := shell(t, sb)
			got, rerr := read(term)
			assert.Equal(t, "half", got, name)
			_, werr := term.Wait()
			assert.Error(t, werr, name)
			assert.Equal(t, werr, rerr, name)
		}
		assert.Equal(t, Stats{Commands: 3, Failed: 3}, sb.Stats())
	})

	story(t, "keys and sizes wait until the service is ready", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			time.Sleep(time.Second)
			return echo(d)
		}
		start := time.Now()
		term := shell(t, sb)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		all(t, term.Resize(ctx, 9, 9), context.DeadlineExceeded, ErrTimeout)
		require.NoError(t, term.Resize(t.Context(), 1, 1))
		io.WriteString(term, "x")
		assert.Equal(t, time.Second, time.Since(start))
		got := make([]byte, 5)
		_, err := io.ReadFull(term, got)
		require.NoError(t, err)
		assert.Equal(t, "|-[x]", string(got))
		require.NoError(t, term.Close())
	})

	story(t, "a service that is never ready", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.hang() }
		start := time.Now()
		term := shell(t, sb)
		err := term.Resize(t.Context(), 1, 1)
		all(t, err, ErrClosed, ErrTimeout)
		_, err = term.Wait()
		all(t, err, ErrTimeout)
		assert.Equal(t, readyLimit, time.Since(start))
	})

	story(t, "refuses bad sizes", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = echo
		term := shell(t, sb)
		for _, size := range [][2]int{{0, 1}, {1, 0}, {-1, 1}, {1, 1 << 16}} {
			all(t, term.Resize(t.Context(), size[0], size[1]), ErrInvalidArgument)
		}
		io.WriteString(term, "q")
		got, err := read(term)
		require.NoError(t, err)
		assert.Empty(t, got, "nothing was sent")
	})

	story(t, "a Write that nobody reads holds up a size no longer than its context", func(t *testing.T, s *script, sb *Sandbox) {
		ready := make(chan struct{})
		s.exec = func(d *dialog) error {
			d.ready()
			close(ready)
			return d.hang()
		}
		term := shell(t, sb)
		<-ready
		written := Go(func() (int, error) { return term.Write(make([]byte, 64<<20)) })
		synctest.Wait()
		for range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			all(t, term.Resize(ctx, 1, 1), context.DeadlineExceeded)
			assert.Equal(t, time.Second, time.Since(start))
		}
		require.NoError(t, term.Close())
		_, err := written.Wait()
		all(t, err, ErrClosed)
	})

	story(t, "is for concurrent use, and no Write is torn apart", func(t *testing.T, s *script, sb *Sandbox) {
		const n, size = 8, 3*stdinFrame + 1
		var keys []byte
		sizes := 0
		s.exec = func(d *dialog) error {
			d.ready()
			for {
				frame, err := d.stream.Recv()
				if err != nil {
					return err
				}
				keys = append(keys, frame.GetStdin()...)
				if frame.GetResize() != nil {
					sizes++
				}
				if frame.GetClose() != nil {
					return d.exit(0)
				}
			}
		}
		term := shell(t, sb)
		var using sync.WaitGroup
		for i := range n {
			using.Go(func() {
				n, err := term.Write(bytes.Repeat([]byte{byte('a' + i)}, size))
				assert.NoError(t, err)
				assert.Equal(t, size, n)
			})
			using.Go(func() { assert.NoError(t, term.Resize(t.Context(), i+1, 1)) })
		}
		using.Wait()
		require.NoError(t, term.CloseWrite())
		_, err := term.Wait()
		require.NoError(t, err)
		assert.Equal(t, n, sizes)
		assert.Len(t, keys, n*size)
		for len(keys) >= size {
			assert.Equal(t, size, bytes.Count(keys[:size], keys[:1]))
			keys = keys[size:]
		}
	})
}

// flood prints without end, after ready.
func flood(d *dialog) error {
	d.ready()
	line := strings.Repeat("x", 1<<10)
	for {
		if err := d.out(line); err != nil {
			return err
		}
	}
}

func TestTerminalEnds(t *testing.T) {
	for name, exec := range map[string]func(*dialog) error{"that is silent": echo, "that nobody reads": flood} {
		story(t, "Close of a session "+name, func(t *testing.T, s *script, sb *Sandbox) {
			s.exec = exec
			term := shell(t, sb)
			synctest.Wait()
			start := time.Now()
			require.NoError(t, term.Close())
			require.NoError(t, term.Close())
			assert.Zero(t, time.Since(start))
			_, err := term.Wait()
			all(t, err, ErrClosed)
			_, err = term.Read(make([]byte, 1))
			all(t, err, ErrClosed)
			_, err = io.WriteString(term, "x")
			all(t, err, ErrClosed)
			assert.NoError(t, term.CloseWrite())
		})

		story(t, "the end of the context of a session "+name, func(t *testing.T, s *script, sb *Sandbox) {
			s.exec = exec
			reason := errors.New("user left")
			ctx, cancel := context.WithCancelCause(t.Context())
			term, err := sb.Shell(ctx, nil)
			require.NoError(t, err)
			synctest.Wait()
			cancel(reason)
			_, err = term.Wait()
			all(t, err, context.Canceled, reason)
			none(t, err, ErrClosed, ErrUnavailable)
			got, rerr := read(term)
			assert.Equal(t, err, rerr, "after %d bytes", len(got))
			all(t, second(io.WriteString(term, "x")), ErrClosed, context.Canceled)
		})

		story(t, "a stop of the sandbox of a session "+name, func(t *testing.T, s *script, sb *Sandbox) {
			s.exec = exec
			term := shell(t, sb)
			synctest.Wait()
			sb.s.endLife(errStopped)
			_, err := term.Wait()
			all(t, err, ErrNotRunning)
			none(t, err, context.Canceled)
		})
	}

	story(t, "Close releases a Read", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = echo
		term := shell(t, sb)
		reading := Go(func() (int, error) { return term.Read(make([]byte, 1)) })
		synctest.Wait()
		require.NoError(t, term.Close())
		_, err := reading.Wait()
		all(t, err, ErrClosed)
	})

	story(t, "the deadline of the context", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = flood
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		start := time.Now()
		term, err := sb.Shell(ctx, nil)
		require.NoError(t, err)
		_, err = term.Wait()
		all(t, err, context.DeadlineExceeded, ErrTimeout)
		assert.Equal(t, time.Hour, time.Since(start), "there is no other limit")
	})
}

func TestTerminalHoldsBackWhatNobodyReads(t *testing.T) {
	story(t, "until somebody does", func(t *testing.T, s *script, sb *Sandbox) {
		const frame, frames = 32 << 10, 128
		sent := 0
		s.exec = func(d *dialog) error {
			for range frames {
				if err := d.out(strings.Repeat("x", frame)); err != nil {
					return err
				}
				sent++
			}
			return d.exit(0)
		}
		term := shell(t, sb)
		synctest.Wait()
		assert.Less(t, sent, frames/2, "the service was not held back")
		var got bytes.Buffer
		_, err := got.ReadFrom(term)
		require.NoError(t, err)
		assert.Equal(t, frame*frames, got.Len())
		res, err := term.Wait()
		require.NoError(t, err)
		assert.Equal(t, int64(frame*frames), res.StdoutSize)
	})
}
