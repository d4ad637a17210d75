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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestCmd(t *testing.T) {
	story(t, "sends what it was given", func(t *testing.T, s *script, sb *Sandbox) {
		var init *sandboxv1.ExecStreamInit
		s.exec = func(d *dialog) error {
			init = d.init
			return talk(d)
		}
		cmd := sb.Command(t.Context(), "make", "test", "-j 2")
		cmd.Env, cmd.Container = []string{"A=1", "B=", "A=x=y"}, "db"
		assert.Equal(t, "make test -j 2", cmd.String())
		require.NoError(t, cmd.Run())
		assert.Equal(t, []string{"make", "test", "-j 2"}, init.GetCommand())
		assert.Equal(t, map[string]string{"A": "x=y", "B": ""}, init.GetEnv())
		assert.Equal(t, "db", init.GetContainer())
		res, err := cmd.Process.Wait()
		require.NoError(t, err)
		assert.Nil(t, res.Stdout, "nobody wants it")
		assert.Equal(t, int64(7), res.StdoutSize)
		assert.Equal(t, Stats{Commands: 1, OK: 1}, sb.Stats())

		require.NoError(t, (&Cmd{Path: "ls", Dir: "/it's here", ctx: t.Context(), sandbox: sb}).Run(), "without Args")
		assert.Contains(t, init.GetCommand(), "/it's here")
		assert.Contains(t, init.GetCommand(), "ls")
	})

	story(t, "refuses bad arguments", func(t *testing.T, s *script, sb *Sandbox) {
		for want, spoil := range map[string]func(c *Cmd){
			"command: must not be empty":    func(c *Cmd) { c.Path = "" },
			"dir: must be an absolute path": func(c *Cmd) { c.Dir = "here" },
			"env: must have the form":       func(c *Cmd) { c.Env = []string{"SECRET"} },
			"env: the name must not be":     func(c *Cmd) { c.Env = []string{"=x"} },
		} {
			cmd := sb.Command(t.Context(), "true")
			spoil(cmd)
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			err = cmd.Start()
			all(t, err, ErrInvalidArgument)
			if cmd.Path != "" {
				assert.ErrorContains(t, err, want)
			}
			assert.NotContains(t, err.Error(), "SECRET")
			assert.Nil(t, cmd.Process)
			all(t, second(io.WriteString(in, "x")), ErrClosed)
			all(t, second(out.Read(make([]byte, 1))), ErrClosed)
			all(t, cmd.Wait(), ErrInvalidArgument)
		}
		assert.Zero(t, s.execs.Load())
		var missing context.Context
		assert.Panics(t, func() { sb.Command(missing, "true") })
	})

	story(t, "what was cut is an error", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("12345678")
			d.out("9")
			return d.exit(0)
		}
		for _, take := range []func(*Cmd) ([]byte, error){(*Cmd).Output, (*Cmd).CombinedOutput} {
			cmd := sb.Command(t.Context(), "x")
			assert.Equal(t, int64(defaultOutputLimit), cmd.limit)
			cmd.limit = 9
			out, err := take(cmd)
			require.NoError(t, err)
			assert.Equal(t, "123456789", string(out))

			cmd = sb.Command(t.Context(), "x")
			cmd.limit = 7
			out, err = take(cmd)
			all(t, err, ErrTruncated)
			none(t, err, ErrStream)
			assert.Equal(t, "1234567", string(out))
		}
	})

	story(t, "combined output is in the order of arrival", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		out, err := sb.Command(t.Context(), "x").CombinedOutput()
		require.NoError(t, err)
		assert.Equal(t, "one oh twono", string(out))
	})

	story(t, "a failed stream is an error beside what came", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("half")
			return nil
		}
		for _, take := range []func(*Cmd) ([]byte, error){(*Cmd).Output, (*Cmd).CombinedOutput} {
			out, err := take(sb.Command(t.Context(), "x"))
			all(t, err, ErrStream)
			assert.Equal(t, "half", string(out))
		}
	})

	story(t, "errors of what was given", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.ready()
			d.err("text")
			return d.hang()
		}
		torn := errors.New("torn")
		cmd := sb.Command(t.Context(), "x")
		cmd.Stderr = failingWriter{torn}
		all(t, cmd.Run(), torn)
		cmd = sb.Command(t.Context(), "x")
		cmd.Stdin = iotest.ErrReader(torn)
		all(t, cmd.Run(), torn)
	})
}

func TestCmdPipes(t *testing.T) {
	story(t, "are readers", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = talk
		cmd := sb.Command(t.Context(), "x")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		stderr, err := cmd.StderrPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		assert.NoError(t, iotest.TestReader(stdout, []byte("one two")))
		require.NoError(t, cmd.Wait())
		assert.NoError(t, iotest.TestReader(stderr, []byte("oh no")), "also after Wait")
	})

	story(t, "end in the error of Wait", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			d.out("half")
			return nil
		}
		cmd := sb.Command(t.Context(), "x")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		got, rerr := read(stdout)
		assert.Equal(t, "half", got)
		assert.Equal(t, cmd.Wait(), rerr)
		all(t, rerr, ErrStream)
	})

	story(t, "that nobody reads hold the command back until the context ends", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = flood
		ctx, cancel := context.WithCancel(t.Context())
		cmd := sb.Command(ctx, "x")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		in, err := cmd.StdinPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		writing := Go(func() (int, error) { return in.Write(make([]byte, 64<<20)) })
		synctest.Wait()
		cancel()
		err = cmd.Wait()
		all(t, err, context.Canceled)
		_, rerr := read(stdout)
		assert.Equal(t, err, rerr)
		_, err = writing.Wait()
		all(t, err, ErrClosed)
	})

	story(t, "that are closed drop the rest", func(t *testing.T, s *script, sb *Sandbox) {
		s.exec = func(d *dialog) error {
			for range 64 {
				d.out(strings.Repeat("x", 32<<10))
			}
			d.err("done")
			return d.exit(0)
		}
		cmd := sb.Command(t.Context(), "x")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		require.NoError(t, cmd.Start())
		synctest.Wait()
		require.NoError(t, stdout.Close())
		require.NoError(t, cmd.Wait())
		assert.Equal(t, "done", stderr.String())
		all(t, second(stdout.Read(make([]byte, 1))), ErrClosed)
	})
}
