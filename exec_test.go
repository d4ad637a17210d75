package cwsandbox

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestExec(t *testing.T) {
	story(t, "sends what it was given", func(t *testing.T, s *script, sb *Sandbox) {
		var init *sandboxv1.ExecStreamInit
		s.exec = func(d *dialog) error {
			init = d.init
			return talk(d)
		}
		res, err := sb.Exec(t.Context(), argv, WithEnv("A", "1"), WithContainer("db"))
		require.NoError(t, err)
		assert.Equal(t, "sb-1", init.GetSandboxId())
		assert.Equal(t, argv, init.GetCommand())
		assert.Equal(t, map[string]string{"A": "1"}, init.GetEnv())
		assert.Equal(t, "db", init.GetContainer())
		assert.False(t, init.GetTty())
		assert.Equal(t, "one two", string(res.Stdout))
		assert.Equal(t, "oh no", string(res.Stderr))
		assert.NoError(t, res.Err())
	})

	story(t, "a directory wraps the command, and the result shows the caller's", func(t *testing.T, s *script, sb *Sandbox) {
		var init *sandboxv1.ExecStreamInit
		s.exec = func(d *dialog) error {
			init = d.init
			return d.exit(0)
		}
		res, err := sb.Exec(t.Context(), argv, WithDir("/it's here"))
		require.NoError(t, err)
		assert.Equal(t, argv, res.Argv)
		assert.Equal(t, "/bin/sh", init.GetCommand()[0])
		assert.Contains(t, init.GetCommand(), "/it's here")
	})

	story(t, "a non-zero exit is a result", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.err("broken")
			return d.exit(137)
		}
		res, err := sb.Exec(t.Context(), argv)
		require.NoError(t, err)
		assert.Equal(t, 137, res.ExitCode)
		var exit *ExitError
		require.ErrorAs(t, res.Err(), &exit)
		assert.Equal(t, 137, exit.ExitCode())
		assert.Equal(t, "sb-1", exit.SandboxID)
		assert.Same(t, res, exit.Result)
		assert.EqualError(t, exit, "cwsandbox: exec sb-1: exit status 137")
	})

	story(t, "K-160", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(*dialog) error { return status.Error(codes.Unavailable, "away") }
		_, err := sb.Exec(t.Context(), argv)
		all(t, err, ErrUnavailable)
		assert.EqualValues(t, 1, s.execs.Load())
	})

	story(t, "L-021", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(*dialog) error { return status.Error(codes.Unavailable, "away") }
		_, err := sb.Exec(t.Context(), argv)
		all(t, err, ErrUnavailable)
		none(t, err, ErrNotRunning)
	})
}

func TestExecRefusesBadArguments(t *testing.T) {
	for _, row := range []struct {
		name string
		argv []string
		opts []ExecOption
		want string
	}{
		{"no command", nil, nil, "command: must not be empty"},
		{"empty name", []string{""}, nil, "command[0]: must not be empty"},
		{"NUL", []string{"a\x00b"}, nil, "command: must not contain NUL"},
		{"negative limit", argv, []ExecOption{WithOutputLimit(-1)}, "must not be negative"},
		{"no time", argv, []ExecOption{WithTimeout(0)}, "timeout: must be above zero"},
		{"pipe without a process", argv, []ExecOption{WithStdinPipe()}, "a pipe needs StartProcess"},
	} {
		story(t, row.name, func(t *testing.T, s *script, sb *Sandbox) {
			res, err := sb.Exec(t.Context(), row.argv, row.opts...)
			assert.Nil(t, res)
			all(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, row.want)
			assert.ErrorContains(t, err, "exec sb-1")
			assert.Zero(t, s.execs.Load())
			assert.Zero(t, sb.Stats())
		})
	}
	story(t, "process", func(t *testing.T, s *script, sb *Sandbox) {
		p, err := sb.StartProcess(t.Context(), nil)
		assert.Nil(t, p)
		all(t, err, ErrInvalidArgument)
		assert.ErrorContains(t, err, "exec sb-1")
	})
}

func TestOutput(t *testing.T) {
	story(t, "is standard output", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		out, err := sb.Output(t.Context(), argv...)
		require.NoError(t, err)
		assert.Equal(t, "one two", string(out))
	})

	story(t, "a non-zero exit is an error", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("some")
			d.err("broken")
			return d.exit(2)
		}
		out, err := sb.Output(t.Context(), argv...)
		var exit *ExitError
		require.ErrorAs(t, err, &exit)
		assert.Equal(t, 2, exit.Code)
		assert.Equal(t, "broken", string(exit.Result.Stderr))
		assert.Equal(t, "some", string(out))
	})

	story(t, "what was cut is an error", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			chunk := string(make([]byte, 1<<20))
			for range defaultOutputLimit >> 20 {
				d.out(chunk)
			}
			d.out("x")
			return d.exit(0)
		}
		out, err := sb.Output(t.Context(), argv...)
		all(t, err, ErrTruncated)
		assert.Len(t, out, defaultOutputLimit)
	})

	story(t, "cut standard error does not matter", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.err(string(make([]byte, defaultOutputLimit/2)))
			d.err(string(make([]byte, defaultOutputLimit/2+1)))
			return d.exit(0)
		}
		_, err := sb.Output(t.Context(), argv...)
		assert.NoError(t, err)
	})
}

func TestNilResult(t *testing.T) {
	var res *Result
	assert.NoError(t, res.Err())
	assert.False(t, res.Truncated())
}

func TestStats(t *testing.T) {
	story(t, "each command counts once, when it is over, also when nobody waits", func(t *testing.T, s *script, sb *Sandbox) {
		var ends = []func(d *dialog) error{
			func(d *dialog) error { return d.exit(0) },
			func(d *dialog) error { return d.exit(1) },
			func(d *dialog) error { return status.Error(codes.Internal, "broken") },
			func(d *dialog) error { return nil },
		}
		next := make(chan func(*dialog) error, len(ends))
		s.exec = func(d *dialog) error { return (<-next)(d) }
		for range ends {
			_, err := sb.StartProcess(t.Context(), argv)
			require.NoError(t, err)
		}
		assert.Equal(t, Stats{Commands: 4}, sb.Stats())
		for _, end := range ends {
			next <- end
		}
		synctest.Wait()
		assert.Equal(t, Stats{Commands: 4, OK: 1, NonZero: 1, Failed: 2}, sb.Stats())
	})

	story(t, "waiting counts nothing", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		for range 3 {
			p.Wait()
		}
		assert.Equal(t, Stats{Commands: 1, OK: 1}, sb.Stats())
	})
}

func TestExecWaitsForRunning(t *testing.T) {
	bubble(t, "L-013", func(t *testing.T, f *fake, c *Client) {
		f.states(sandboxv1.State_STATE_CREATING, sandboxv1.State_STATE_CREATING, sandboxv1.State_STATE_RUNNING)
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error {
			assert.Equal(t, 3, f.count("GetSandbox"), "sent before running was seen")
			return exitFrame(stream, 0)
		}
		sb := creating(t, c)
		_, err := sb.Exec(t.Context(), argv)
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("StreamExec"))
	})

	bubble(t, "the wait is not charged to the command's limit", func(t *testing.T, f *fake, c *Client) {
		start := time.Now()
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			if time.Since(start) < time.Minute {
				return record(id, sandboxv1.State_STATE_CREATING), nil
			}
			return record(id, sandboxv1.State_STATE_RUNNING), nil
		}
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error {
			time.Sleep(900 * time.Millisecond)
			return exitFrame(stream, 0)
		}
		_, err := creating(t, c).Exec(t.Context(), argv, WithTimeout(time.Second))
		assert.NoError(t, err)
	})

	bubble(t, "L-014", func(t *testing.T, f *fake, c *Client) {
		f.states(sandboxv1.State_STATE_CREATING)
		sb := creating(t, c)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := sb.Exec(ctx, argv)
		all(t, err, context.DeadlineExceeded)
		assert.Zero(t, f.count("StreamExec"))
		assert.Equal(t, 1, c.registry.count(c))
		assert.Zero(t, sb.Stats())
	})

	bubble(t, "L-015", func(t *testing.T, f *fake, c *Client) {
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error { return exitFrame(stream, 0) }
		_, err := running(t, f, c).Exec(t.Context(), argv)
		require.NoError(t, err)
		assert.Zero(t, f.count("GetSandbox"))
	})

	bubble(t, "L-020", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return ended(id, sandboxv1.State_STATE_COMPLETED, 0), nil
		}
		_, err := creating(t, c).Exec(t.Context(), argv)
		all(t, err, ErrNotRunning)
		assert.Zero(t, f.count("StreamExec"))
	})

	bubble(t, "a stop that is seen through ends the process", func(t *testing.T, f *fake, c *Client) {
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		}
		sb := running(t, f, c)
		p, err := sb.StartProcess(t.Context(), argv)
		require.NoError(t, err)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
		_, err = p.Wait()
		all(t, err, ErrNotRunning)
	})
}

// exitFrame answers a command with its end.
func exitFrame(stream sandboxv1.SandboxService_StreamExecServer, code int32) error {
	d := dialog{stream: stream}
	return d.exit(code)
}

// refusedStream was refused before anything could be sent on it.
type refusedStream struct {
	execStream
	halfClosed bool
}

func (s *refusedStream) Send(*sandboxv1.ExecStreamRequest) error { return io.EOF }

func (s *refusedStream) CloseSend() error {
	s.halfClosed = true
	return nil
}

// The layer below opens such a stream once more, and does then what was asked of the first one.
func TestInputEndsOnAStreamThatWasRefused(t *testing.T) {
	stream := new(refusedStream)
	require.NoError(t, new(Process).send(stream, "sb-1", &execConfig{argv: argv}))
	assert.True(t, stream.halfClosed, "a command without input does not wait for one")
	stream = new(refusedStream)
	require.NoError(t, new(Process).send(stream, "sb-1", &execConfig{argv: argv, stdinPipe: true}))
	assert.False(t, stream.halfClosed)
}
