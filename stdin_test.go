package cwsandbox

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// swallow reads the whole input, after ready, into got and exits with 0.
func swallow(got *input) func(*dialog) error {
	return func(d *dialog) (err error) {
		d.ready()
		if *got, err = d.input(); err != nil {
			return err
		}
		return d.exit(0)
	}
}

func TestStdin(t *testing.T) {
	story(t, "without one the client's side ends after the command, with no close frame", func(t *testing.T, s *script, sb *Sandbox) {
		var got input
		s.exec = swallow(&got)
		_, err := sb.Exec(t.Context(), argv)
		require.NoError(t, err)
		assert.Equal(t, input{}, got)
	})

	story(t, "all of a reader, in frames, then one close", func(t *testing.T, s *script, sb *Sandbox) {
		data := bytes.Repeat([]byte("0123456789"), 30_000)
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.DataErrReader(bytes.NewReader(data))} {
			var got input
			s.exec = swallow(&got)
			_, err := sb.Exec(t.Context(), argv, WithStdin(r))
			require.NoError(t, err)
			assert.True(t, bytes.Equal(data, got.data))
			assert.Equal(t, 1, got.closes)
			for _, size := range got.frames {
				assert.LessOrEqual(t, size, stdinFrame)
			}
		}
	})

	story(t, "an empty reader is a close", func(t *testing.T, s *script, sb *Sandbox) {
		var got input
		s.exec = swallow(&got)
		_, err := sb.Exec(t.Context(), argv, WithStdin(strings.NewReader("")))
		require.NoError(t, err)
		assert.Equal(t, input{closes: 1}, got)
	})

	story(t, "nothing is sent before ready", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			arrived := make(chan time.Time, 1)
			go func() {
				d.stream.Recv()
				arrived <- time.Now()
			}()
			time.Sleep(4 * time.Second)
			sent := time.Now()
			d.ready()
			d.ready() // a second one changes nothing
			assert.False(t, (<-arrived).Before(sent))
			return d.exit(0)
		}
		_, err := sb.Exec(t.Context(), argv, WithStdin(strings.NewReader("early")))
		assert.NoError(t, err)
	})

	story(t, "a service that is never ready", func(t *testing.T, s *script, sb *Sandbox) {
		for _, row := range []struct {
			opts []ExecOption
			want time.Duration
		}{
			{nil, readyLimit},
			{[]ExecOption{WithTimeout(time.Second)}, time.Second},
		} {
			gone := make(chan error, 1)
			s.exec = func(d *dialog) error {
				gone <- d.hang()
				return nil
			}
			start := time.Now()
			_, err := sb.Exec(t.Context(), argv, append(row.opts, WithStdin(strings.NewReader("x")))...)
			all(t, err, ErrTimeout)
			none(t, err, context.DeadlineExceeded, ErrCommandTimeout)
			assert.ErrorContains(t, err, "ready for standard input")
			assert.Equal(t, row.want, time.Since(start))
			assert.Error(t, <-gone)
		}
	})

	story(t, "a command may end before it is ready", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.exit(126) }
		res, err := sb.Exec(t.Context(), argv, WithStdin(strings.NewReader("x")))
		require.NoError(t, err)
		assert.Equal(t, 126, res.ExitCode)
		time.Sleep(2 * readyLimit)
	})

	story(t, "a command may end without reading", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			return d.exit(0)
		}
		endless := &countingReader{}
		_, err := sb.Exec(t.Context(), argv, WithStdin(endless))
		require.NoError(t, err)
		synctest.Wait()
		n := endless.n
		time.Sleep(time.Second)
		assert.Equal(t, n, endless.n, "somebody still reads")
	})

	story(t, "a reader that blocks holds nobody up", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			return d.exit(0)
		}
		r, w := io.Pipe()
		defer w.Close() // lets the sender end
		_, err := sb.Exec(t.Context(), argv, WithStdin(r))
		assert.NoError(t, err)
	})

	story(t, "a reader's error ends the stream before the end of the input", func(t *testing.T, s *script, sb *Sandbox) {
		closes := make(chan int, 1)
		s.exec = func(d *dialog) error {
			d.ready()
			got, err := d.input()
			closes <- got.closes
			return err
		}
		torn := errors.New("tape torn")
		_, err := sb.Exec(t.Context(), argv, WithStdin(io.MultiReader(strings.NewReader("x"), iotest.ErrReader(torn))))
		all(t, err, torn)
		assert.EqualError(t, err, "cwsandbox: exec sb-1: read standard input: tape torn")
		assert.Zero(t, <-closes)
	})
}

// countingReader never ends.
type countingReader struct{ n int }

func (r *countingReader) Read(p []byte) (int, error) {
	r.n++
	return len(p), nil
}

func TestStdinPipe(t *testing.T) {
	story(t, "what is written arrives, then the end", func(t *testing.T, s *script, sb *Sandbox) {
		var got input
		s.exec = swallow(&got)
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		in := p.Stdin()
		for _, size := range []int{0, 1, stdinFrame, 2*stdinFrame + 1} {
			n, err := in.Write(bytes.Repeat([]byte{'x'}, size))
			require.NoError(t, err)
			assert.Equal(t, size, n)
		}
		require.NoError(t, in.Close())
		require.NoError(t, in.Close())
		_, err = p.Wait()
		require.NoError(t, err)
		assert.Equal(t, []int{1, stdinFrame, stdinFrame, stdinFrame, 1}, got.frames)
		assert.Equal(t, 1, got.closes)
	})

	story(t, "a conversation", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			for {
				frame, err := d.stream.Recv()
				if err != nil {
					return err
				}
				if frame.GetClose() != nil {
					return d.exit(0)
				}
				d.out(strings.ToUpper(string(frame.GetStdin())))
			}
		}
		p, err := sb.StartProcess(t.Context(), []string{"upper"}, WithStdinPipe())
		require.NoError(t, err)
		answers, answer := p.Stdout(), make([]byte, 16)
		for _, word := range []string{"one", "two"} {
			_, err := io.WriteString(p.Stdin(), word)
			require.NoError(t, err)
			n, err := answers.Read(answer)
			require.NoError(t, err)
			assert.Equal(t, strings.ToUpper(word), string(answer[:n]))
		}
		require.NoError(t, p.Stdin().Close())
		_, err = p.Wait()
		assert.NoError(t, err)
	})

	story(t, "a Write after Close", func(t *testing.T, s *script, sb *Sandbox) {
		fed := make(chan input, 1)
		s.exec = func(d *dialog) error {
			d.ready()
			got, _ := d.input()
			fed <- got
			return d.hang()
		}
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		require.NoError(t, p.Stdin().Close())
		_, err = io.WriteString(p.Stdin(), "late")
		all(t, err, ErrClosed)
		assert.Equal(t, input{closes: 1}, <-fed)
		p.Cancel()
		p.Wait()
	})

	story(t, "a Write after the end", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.exit(0) }
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		<-p.Done()
		_, err = io.WriteString(p.Stdin(), "late")
		all(t, err, ErrClosed)
		assert.NoError(t, p.Stdin().Close())
	})

	story(t, "a Write after a failure tells it", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.fail("STREAM_TRUNCATED", "lost") }
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		<-p.Done()
		_, err = io.WriteString(p.Stdin(), "late")
		all(t, err, ErrClosed, ErrTruncated)
	})

	story(t, "Close releases a Write that waits for ready", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			time.Sleep(2 * time.Second)
			var got input
			return swallow(&got)(d)
		}
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		written := make(chan error, 1)
		go func() {
			_, err := io.WriteString(p.Stdin(), "x")
			written <- err
		}()
		synctest.Wait()
		start := time.Now()
		closed := make(chan error, 1)
		go func() { closed <- p.Stdin().Close() }()
		all(t, <-written, ErrClosed)
		assert.Zero(t, time.Since(start))
		require.NoError(t, <-closed)
		_, err = p.Wait()
		assert.NoError(t, err)
	})

	story(t, "Cancel releases a Write that nobody reads, and Close behind it", func(t *testing.T, s *script, sb *Sandbox) {
		over := make(chan struct{})
		s.exec = func(d *dialog) error {
			d.ready()
			<-over
			return nil
		}
		p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
		require.NoError(t, err)
		written, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := p.Stdin().Write(make([]byte, 64<<20))
			written <- err
		}()
		synctest.Wait()
		assert.Empty(t, written)
		go func() { closed <- p.Stdin().Close() }()
		p.Cancel()
		all(t, <-written, ErrClosed)
		assert.NoError(t, <-closed)
		<-p.Done()
		close(over)
	})

	for _, row := range []struct {
		name string
		end  func(p *Process, d *dialog)
	}{
		{"the command's exit", func(_ *Process, d *dialog) { d.exit(0) }},
		{"Cancel", func(p *Process, _ *dialog) { p.Cancel() }},
	} {
		story(t, row.name+" releases a Write that nobody reads", func(t *testing.T, s *script, sb *Sandbox) {
			dialogs, over := make(chan *dialog, 1), make(chan struct{})
			s.exec = func(d *dialog) error {
				d.ready()
				dialogs <- d
				<-over
				return nil
			}
			p, err := sb.StartProcess(t.Context(), argv, WithStdinPipe())
			require.NoError(t, err)
			written := make(chan error, 1)
			go func() {
				_, err := p.Stdin().Write(make([]byte, 64<<20))
				written <- err
			}()
			synctest.Wait()
			start := time.Now()
			row.end(p, <-dialogs)
			all(t, <-written, ErrClosed)
			assert.LessOrEqual(t, time.Since(start), closingLimit)
			<-p.Done()
			close(over)
		})
	}

	story(t, "was not asked for", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.exit(0) }
		for _, opts := range [][]ExecOption{nil, {WithStdin(strings.NewReader(""))}} {
			p, err := sb.StartProcess(t.Context(), argv, opts...)
			require.NoError(t, err)
			_, err = io.WriteString(p.Stdin(), "x")
			all(t, err, ErrClosed)
			assert.NoError(t, p.Stdin().Close())
			_, err = p.Wait()
			assert.NoError(t, err)
		}
	})
}
