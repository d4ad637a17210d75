package scripted_test

import (
	"context"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
)

// inBox runs a test with one container, in a bubble that every handler must have left at its end.
func inBox(t *testing.T, spec container.Spec, test func(t *testing.T, c container.Container), options ...scripted.Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := scripted.New(options...)
		s, err := r.NewSandbox(t.Context(), container.SandboxSpec{ID: "sb-1"})
		require.NoError(t, err)
		c, err := s.Start(t.Context(), spec)
		require.NoError(t, err)
		test(t, c)
		require.NoError(t, r.Close())
	})
}

// run runs a command to its end.
func run(t *testing.T, c container.Container, argv ...string) (stdout, stderr string, exit int) {
	t.Helper()
	p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: argv})
	require.NoError(t, err)
	out, err := io.ReadAll(p.Stdout())
	require.NoError(t, err)
	errs, err := io.ReadAll(p.Stderr())
	require.NoError(t, err)
	<-p.Done()
	return string(out), string(errs), p.ExitCode()
}

func TestDefaultCommands(t *testing.T) {
	spec := container.Spec{
		Name: "main", WorkingDir: "/srv", Env: map[string]string{"A": "1"},
		Files: []container.File{{Path: "/etc/motd", Content: []byte("hello\n")}},
	}
	inBox(t, spec, func(t *testing.T, c container.Container) {
		for _, tt := range []struct {
			argv        []string
			out, stderr string
			exit        int
		}{
			{[]string{"true"}, "", "", 0},
			{[]string{"/bin/false"}, "", "", 1},
			{[]string{"echo", "a", "b  c"}, "a b  c\n", "", 0},
			{[]string{"cat"}, "", "", 0},
			{[]string{"cat", "/etc/motd", "../etc/motd"}, "hello\nhello\n", "", 0},
			{[]string{"pwd"}, "/srv\n", "", 0},
			{[]string{"env"}, "A=1\nHOME=/root\nHOSTNAME=sb-1\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", "", 0},
			{[]string{"sleep", "x"}, "", "sleep: invalid time interval \"x\"\n", 1},
			{[]string{"sleep"}, "", "sleep: one operand is needed\n", 1},
			{[]string{"sh", "-c", "echo 'a  b' \"c;d\" e'f'"}, "a  b c;d ef\n", "", 0},
			{[]string{"sh", "-c", "echo out; echo err >&2; exit 7; echo never"}, "out\n", "err\n", 7},
			{[]string{"bash", "-c", "false && echo never; true && echo then"}, "then\n", "", 0},
			{[]string{"sh", "-c", "false\nexit"}, "", "", 1},
			{[]string{"sh", "-c", "exit 300"}, "", "", 44},
			{[]string{"sh", "-c", "exit x"}, "", "", 2},
			{[]string{"sh", "-c", ""}, "", "", 0},
			{[]string{"sh", "-c", "nobody-has-this"}, "", "sh: nobody-has-this: command not found\n", 127},
			{[]string{"sh", "-c", "echo $HOME"}, "", "sh: $ is not understood by the scripted shell\n", 2},
			{[]string{"sh", "-c", "echo 'x"}, "", "sh: unterminated quote '\n", 2},
			{[]string{"sh", "-i"}, "", "sh: only -c is known\n", 2},
		} {
			t.Log(tt.argv)
			out, stderr, exit := run(t, c, tt.argv...)
			assert.Equal(t, tt.out, out)
			assert.Equal(t, tt.stderr, stderr)
			assert.Equal(t, tt.exit, exit)
		}
		_, stderr, exit := run(t, c, "cat", "/none", "/etc/motd")
		assert.Contains(t, stderr, "cat: /none: ")
		assert.Equal(t, 1, exit)
		began := time.Now()
		run(t, c, "sleep", "1.5")
		assert.Equal(t, 1500*time.Millisecond, time.Since(began))
	})
}

func TestOwnCommands(t *testing.T) {
	lookup := func(argv []string) (scripted.Command, bool) {
		return scripted.Reply("looked up\n", "", 0), argv[0] == "git"
	}
	describe := scripted.Command{Run: func(_ context.Context, p *scripted.Proc) int {
		_, _ = fmt.Fprintf(p.Stdout, "%s %s %q", p.Sandbox, p.Container, p.Argv)
		return 0
	}}
	inBox(t, container.Spec{Name: "main"}, func(t *testing.T, c container.Container) {
		out, _, _ := run(t, c, "git", "status")
		assert.Equal(t, "looked up\n", out)
		out, _, _ = run(t, c, "/opt/describe", "x")
		assert.Equal(t, `sb-1 main ["/opt/describe" "x"]`, out)
		out, stderr, exit := run(t, c, "sh", "-c", "make | tee log")
		assert.Equal(t, "made ignored 2", fmt.Sprint(out, " ", stderr, " ", exit))
		_, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"none"}})
		var missing *container.StartError
		require.ErrorAs(t, err, &missing)
		assert.Equal(t, 127, missing.Code)
	}, scripted.WithLookup(lookup), scripted.WithCommand("describe", describe),
		scripted.WithScript("make | tee log", scripted.Reply("made", "ignored", 2)))
}

func TestSignals(t *testing.T) {
	caught := make(chan int, 4)
	catching := scripted.Command{CatchSignals: true, Run: func(ctx context.Context, p *scripted.Proc) int {
		for {
			select {
			case sig := <-p.Signals:
				caught <- sig
			case <-ctx.Done():
				return 0
			}
		}
	}}
	start := func(t *testing.T, c container.Container, argv ...string) container.Process {
		p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: argv})
		require.NoError(t, err)
		return p
	}
	inBox(t, container.Spec{Name: "main"}, func(t *testing.T, c container.Container) {
		for sig, exit := range map[int]int{15: 143, 2: 130, 9: 137} {
			p := start(t, c, "sleep", "infinity")
			p.Signal(28) // a change of the window's size ends nothing
			p.Signal(sig)
			<-p.Done()
			assert.Equal(t, exit, p.ExitCode())
			p.Signal(15)
			assert.Equal(t, exit, p.ExitCode(), "an end is final")
		}
		p := start(t, c, "catch")
		p.Signal(15)
		assert.Equal(t, 15, <-caught)
		p.Kill()
		<-p.Done()
		assert.Equal(t, 137, p.ExitCode())
	}, scripted.WithCommand("catch", catching))
}

func TestKeepAlive(t *testing.T) {
	spec := container.Spec{Name: "main", Command: "/bin/sh", Args: []string{"-c", `trap "exit 0" TERM INT; sleep infinity & wait`}}
	inBox(t, spec, func(t *testing.T, c container.Container) {
		exec, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"sleep", "infinity"}})
		require.NoError(t, err)
		c.Main().Signal(15)
		<-c.Main().Done()
		assert.Equal(t, 0, c.Main().ExitCode())
		<-exec.Done()
		assert.Equal(t, 137, exec.ExitCode(), "nothing outlives the main process")
		_, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"true"}})
		assert.Error(t, err)
	})
}

func TestStreams(t *testing.T) {
	deaf := scripted.Command{Run: func(context.Context, *scripted.Proc) int { time.Sleep(time.Second); return 0 }}
	inBox(t, container.Spec{Name: "main"}, func(t *testing.T, c container.Container) {
		p, err := c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"cat"}, Stdin: true})
		require.NoError(t, err)
		big := make([]byte, 1<<20)
		go func() {
			_, err := p.Stdin().Write(big)
			assert.NoError(t, err)
			assert.NoError(t, p.Stdin().Close())
		}()
		out, err := io.ReadAll(p.Stdout())
		require.NoError(t, err)
		assert.Len(t, out, len(big))
		<-p.Done()

		p, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"deaf"}, Stdin: true})
		require.NoError(t, err)
		n, err := p.Stdin().Write(big) // blocks until the process ends, and is no error then
		require.NoError(t, err)
		assert.Equal(t, len(big), n)
		<-p.Done()

		p, err = c.Exec(t.Context(), container.ProcessSpec{Argv: []string{"true"}})
		require.NoError(t, err)
		assert.Nil(t, p.Stdin())
		<-p.Done()
	}, scripted.WithCommand("deaf", deaf))
}

func TestFilesOfHandlers(t *testing.T) {
	var seen *scripted.Files
	touch := scripted.Command{Run: func(_ context.Context, p *scripted.Proc) int {
		seen = p.Files
		if p.Files.WriteFile("out/b", []byte("x")) != nil || p.Files.WriteFile("/srv/out/a", []byte("y")) != nil {
			return 1
		}
		return 0
	}}
	spec := container.Spec{Name: "main", WorkingDir: "/srv", Files: []container.File{{Path: "/m", Content: []byte("m")}}}
	inBox(t, spec, func(t *testing.T, c container.Container) {
		_, _, exit := run(t, c, "touch")
		require.Zero(t, exit)
		assert.Equal(t, []string{"/srv/out/a", "/srv/out/b"}, seen.List("out"))
		got, err := c.ReadFile(t.Context(), "/srv/out/b", 1)
		require.NoError(t, err)
		assert.Equal(t, "x", string(got))
		copied, err := seen.ReadFile("out/b")
		require.NoError(t, err)
		copied[0] = '!'
		assert.Equal(t, "x", string(got), "a handler gets a copy")

		require.NoError(t, seen.Remove("out/b"))
		kind := func(err error) container.FileErrorKind {
			var fault *container.FileError
			require.ErrorAs(t, err, &fault)
			return fault.Kind
		}
		assert.Equal(t, container.FileNotFound, kind(seen.Remove("out/b")))
		assert.Equal(t, container.FilePermission, kind(seen.Remove("/m")))
		_, err = c.ReadFile(t.Context(), "/m/below", 1)
		assert.Equal(t, container.FileIO, kind(err))
		_, err = c.ReadFile(t.Context(), "/srv/out/a", 0)
		assert.Equal(t, container.FileTooLarge, kind(err))
	}, scripted.WithCommand("touch", touch))
}

func TestNothingStartsInWhatWasClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := scripted.New()
		s, err := r.NewSandbox(t.Context(), container.SandboxSpec{ID: "sb-1"})
		require.NoError(t, err)
		require.NoError(t, s.Close())
		_, err = s.Start(t.Context(), container.Spec{Name: "late"})
		assert.Error(t, err)
		require.NoError(t, r.Close()) // would wait for the process
		_, err = r.NewSandbox(t.Context(), container.SandboxSpec{ID: "sb-2"})
		assert.Error(t, err)
	})
}
