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
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var argv = []string{"make", "test"}

// talk prints on both streams and exits with 0.
func talk(d *dialog) error {
	d.ready()
	d.out("one ")
	d.err("oh ")
	d.out("two")
	d.err("no")
	return d.exit(0)
}

func TestProcessReaders(t *testing.T) {
	story(t, "any order, any number, before and after the end", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		for range 2 {
			got, err := read(p.Stderr())
			require.NoError(t, err)
			assert.Equal(t, "oh no", got)
			assert.NoError(t, iotest.TestReader(p.Stdout(), []byte("one two")))
		}
		res, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, "one two", string(res.Stdout))
		assert.Equal(t, "oh no", string(res.Stderr))
		got, err := read(p.Stdout())
		require.NoError(t, err)
		assert.Equal(t, "one two", got)
	})

	story(t, "output is there as it appears", func(t *testing.T, s *script, sb *Sandbox) {
		more := make(chan string)
		s.exec = func(d *dialog) error {
			for text := range more {
				d.out(text)
			}
			return d.exit(0)
		}
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		r, line := p.Stdout(), make([]byte, 16)
		for _, text := range []string{"first", "second"} {
			more <- text
			n, err := r.Read(line)
			require.NoError(t, err)
			assert.Equal(t, text, string(line[:n]))
		}
		close(more)
		_, err = r.Read(line)
		assert.Equal(t, io.EOF, err)
	})

	story(t, "a failed stream ends them with its error", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("half")
			return status.Error(codes.Unavailable, "runner lost")
		}
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		got, rerr := read(p.Stdout())
		assert.Equal(t, "half", got)
		_, werr := p.Wait()
		assert.Equal(t, werr, rerr)
		all(t, rerr, ErrUnavailable)
		_, rerr = read(p.Stderr())
		assert.Equal(t, werr, rerr)
	})

	story(t, "more than the limit is cut where readers and results show it", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		p, err := sb.StartProcess(t.Context(), argv, WithOutputLimit(5))
		require.NoError(t, err)
		res, err := p.Wait()
		require.NoError(t, err)
		assert.True(t, res.Truncated())
		assert.Equal(t, "one t", string(res.Stdout))
		assert.Equal(t, int64(7), res.StdoutSize)
		assert.Equal(t, "oh no", string(res.Stderr))
		got, err := read(p.Stdout())
		assert.Equal(t, "one t", got)
		all(t, err, ErrTruncated)
		none(t, err, ErrStream)
	})

	story(t, "a stream that is not known is standard output", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.print(sandboxv1.ExecStreamOutput_STREAM_UNSPECIFIED, "a")
			d.print(42, "b")
			return d.exit(0)
		}
		out, err := sb.Output(t.Context(), argv...)
		require.NoError(t, err)
		assert.Equal(t, "ab", string(out))
	})
}

func TestProcessWait(t *testing.T) {
	story(t, "repeatable, for everybody", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.exit(3) }
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		first, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, 3, first.ExitCode)
		again, err := p.WaitContext(t.Context())
		require.NoError(t, err)
		assert.Same(t, first, again)
		<-p.Done()
	})

	story(t, "its context bounds only the wait", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			time.Sleep(time.Minute)
			return d.exit(0)
		}
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		res, err := p.WaitContext(ctx)
		assert.Nil(t, res)
		all(t, err, context.DeadlineExceeded)
		_, err = p.Wait()
		require.NoError(t, err)
		_, err = p.WaitContext(ctx)
		assert.NoError(t, err, "what is known needs no waiting")
	})

	story(t, "without an exit status it is an error, not code 0", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return d.out("fine") }
		res, err := sb.Exec(t.Context(), argv)
		assert.Nil(t, res)
		all(t, err, ErrStream)
		assert.EqualError(t, err, "cwsandbox: exec sb-1: the stream ended without an exit status")
	})

	story(t, "what comes after the exit is ignored", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.exit(0)
			return status.Error(codes.Internal, "too late")
		}
		_, err := sb.Exec(t.Context(), argv)
		assert.NoError(t, err)
	})

	story(t, "a stream that stays open after the exit is let go", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.exit(0)
			return d.hang()
		}
		start := time.Now()
		_, err := sb.Exec(t.Context(), argv)
		assert.NoError(t, err)
		assert.LessOrEqual(t, time.Since(start), closingLimit)
	})
}

func TestProcessEnds(t *testing.T) {
	hang := func(d *dialog) error { return d.hang() }

	story(t, "by Cancel, on the service too", func(t *testing.T, s *script, sb *Sandbox) {
		ended := make(chan error, 1)
		s.exec = func(d *dialog) error {
			ended <- d.hang()
			return nil
		}
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		p.Cancel()
		res, err := p.Wait()
		assert.Nil(t, res)
		all(t, err, ErrClosed)
		none(t, err, context.Canceled, ErrUnavailable)
		assert.ErrorIs(t, <-ended, context.Canceled)
		assert.Zero(t, time.Since(start))
		p.Cancel()
		_, again := p.Wait()
		assert.Equal(t, err, again)
	})

	story(t, "not by a Cancel that comes too late", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		<-p.Done()
		p.Cancel()
		_, err = p.Wait()
		assert.NoError(t, err)
	})

	story(t, "by its context, with the cause", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = hang
		reason := errors.New("user left")
		ctx, cancel := context.WithCancelCause(t.Context())
		p, err := sb.StartProcess(ctx, argv, WithTimeout(time.Minute))
		require.NoError(t, err)
		synctest.Wait()
		cancel(reason)
		_, err = p.Wait()
		all(t, err, context.Canceled, reason)
		none(t, err, ErrClosed, ErrTimeout, ErrUnavailable)
	})

	story(t, "by the caller's deadline", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = hang
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := sb.Exec(ctx, argv, WithTimeout(time.Minute))
		all(t, err, context.DeadlineExceeded, ErrTimeout)
		none(t, err, ErrCommandTimeout)
		assert.Equal(t, time.Second, time.Since(start))
	})

	story(t, "by its own limit", func(t *testing.T, s *script, sb *Sandbox) {
		left := make(chan time.Duration, 1)
		s.exec = func(d *dialog) error {
			deadline, _ := d.stream.Context().Deadline()
			left <- time.Until(deadline)
			return d.hang()
		}
		start := time.Now()
		_, err := sb.Exec(t.Context(), argv, WithTimeout(10*time.Second))
		all(t, err, ErrCommandTimeout, ErrTimeout)
		none(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "10s")
		assert.Equal(t, 15*time.Second, time.Since(start))
		assert.InDelta(t, 15*time.Second, <-left, float64(time.Second), "the service knows")
	})

	story(t, "by the service's limit", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error { return failure(codes.DeadlineExceeded, "CWSANDBOX_COMMAND_TIMEOUT") }
		_, err := sb.Exec(t.Context(), argv)
		all(t, err, ErrCommandTimeout, ErrTimeout)
		assert.True(t, HasReason(err, ReasonCommandTimeout))
	})

	story(t, "never by a limit nobody gave", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			if _, ok := d.stream.Context().Deadline(); ok {
				return status.Error(codes.Internal, "there is a deadline")
			}
			time.Sleep(24 * time.Hour)
			return d.exit(0)
		}
		for _, opts := range [][]ExecOption{nil, {WithTimeout(1<<63 - 1)}} {
			_, err := sb.Exec(t.Context(), argv, opts...)
			assert.NoError(t, err)
		}
	})

	story(t, "by a stop of the sandbox", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = hang
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		synctest.Wait()
		sb.s.endLife(errStopped)
		_, err = p.Wait()
		all(t, err, ErrNotRunning)
		none(t, err, context.Canceled)
		_, err = read(p.Stdout())
		all(t, err, ErrNotRunning)
	})

	story(t, "by a refusal", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(*dialog) error { return failure(codes.NotFound, "CWSANDBOX_SANDBOX_NOT_FOUND") }
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		_, err = p.Wait()
		all(t, err, ErrNotFound)
	})

	story(t, "before it began, with the context", func(t *testing.T, s *script, sb *Sandbox) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		p, err := sb.StartProcess(ctx, argv)
		assert.Nil(t, p)
		all(t, err, context.Canceled)
		assert.Zero(t, s.execs.Load())
	})
}

func TestProcessInBandErrors(t *testing.T) {
	for _, row := range []struct {
		name, code string
		want       []error
	}{
		{"K-153", "STREAM_TRUNCATED", []error{ErrTruncated, ErrStream}},
		{"backpressure", "STREAM_BACKPRESSURE", []error{ErrBackpressure, ErrStream}},
		{"grace after the end of input", "STDIN_CLOSE_GRACE_EXPIRED", []error{ErrStream}},
		{"unknown", "SOMETHING_NEW", []error{ErrStream}},
	} {
		story(t, row.name, func(t *testing.T, s *script, sb *Sandbox) {
			s.exec = func(d *dialog) error {
				d.out("some")
				d.fail(row.code, "in\nband")
				return status.Error(codes.Internal, "too late")
			}
			res, err := sb.Exec(t.Context(), argv)
			assert.Nil(t, res)
			all(t, err, row.want...)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, row.code, e.StreamCode)
			assert.Empty(t, e.Reason)
			assert.NotContains(t, err.Error(), "\n")
		})
	}
}

func TestProcessWriters(t *testing.T) {
	story(t, "get everything, in order, and nothing is kept", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		var both bytes.Buffer
		p, err := sb.StartProcess(t.Context(), argv, WithStdout(&both), WithStderr(&both), WithOutputLimit(1))
		require.NoError(t, err)
		res, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, "one oh twono", both.String())
		assert.Nil(t, res.Stdout)
		assert.Nil(t, res.Stderr)
		assert.Equal(t, int64(7), res.StdoutSize)
		assert.Equal(t, int64(5), res.StderrSize)
		assert.False(t, res.Truncated())
		_, err = read(p.Stdout())
		all(t, err, ErrClosed)
	})

	story(t, "their error ends the stream", func(t *testing.T, s *script, sb *Sandbox) {
		ended := make(chan error, 1)
		s.exec = func(d *dialog) error {
			d.err("text")
			ended <- d.hang()
			return nil
		}
		full := errors.New("disk full")
		_, err := sb.Exec(t.Context(), argv, WithStderr(failingWriter{full}))
		all(t, err, full)
		assert.EqualError(t, err, "cwsandbox: exec sb-1: write standard error: disk full")
		assert.Error(t, <-ended)
	})

	story(t, "a slow one holds the command back, on both streams", func(t *testing.T, s *script, sb *Sandbox) {
		const frame, frames = 64 << 10, 256
		sent := 0
		s.exec = func(d *dialog) error {
			for range frames {
				if err := d.out(strings.Repeat("x", frame)); err != nil {
					return err
				}
				sent++
			}
			d.err("done")
			return d.exit(0)
		}
		w := &gate{open: make(chan struct{})}
		p, err := sb.StartProcess(t.Context(), argv, WithStdout(w))
		require.NoError(t, err)
		synctest.Wait()
		assert.Less(t, sent, frames/2, "the service was not held back")
		close(w.open)
		res, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, int64(frame*frames), res.StdoutSize)
		assert.Equal(t, "done", string(res.Stderr))
	})

	story(t, "Cancel ends the stream at once, and Wait when the Write in progress has returned", func(t *testing.T, s *script, sb *Sandbox) {
		ended := make(chan struct{})
		s.exec = func(d *dialog) error {
			d.out("x")
			d.hang()
			close(ended)
			return nil
		}
		w := &gate{open: make(chan struct{})}
		p, err := sb.StartProcess(t.Context(), argv, WithStdout(w))
		require.NoError(t, err)
		synctest.Wait()
		p.Cancel()
		<-ended
		synctest.Wait()
		select {
		case <-p.Done():
			t.Fatal("done while the writer is in use")
		default:
		}
		close(w.open)
		_, err = p.Wait()
		all(t, err, ErrClosed)
	})
}

// gate is a writer that waits until it is open.
type gate struct{ open chan struct{} }

func (g *gate) Write(p []byte) (int, error) {
	<-g.open
	return len(p), nil
}
