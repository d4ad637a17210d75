package localserver

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type execRequest = sandboxv1.ExecRequest

// printing is a command that prints so many bytes to each of its streams.
func printing(stdout, stderr int) scripted.Command {
	return scripted.Reply(strings.Repeat("o", stdout), strings.Repeat("e", stderr), 0)
}

func TestUnaryExec(t *testing.T) {
	t.Run("C-087", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: w.run(), Command: []string{"sh", "-c", "echo ab; exit 3"}})
			require.NoError(t, err)
			assert.Equal(t, "ab\n", string(resp.GetStdout()))
			assert.EqualValues(t, 3, resp.GetExitCode())
			assert.EqualValues(t, []int64{3, 0}, []int64{resp.GetStdoutBytesProduced(), resp.GetStderrBytesProduced()})
			assert.False(t, resp.GetStdoutTruncated() || resp.GetStderrTruncated())
		})
	})
	t.Run("a missing command is a result", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: w.run(), Command: []string{"nobody-has-this"}})
			require.NoError(t, err)
			assert.EqualValues(t, 127, resp.GetExitCode())
			assert.Equal(t, "nobody-has-this: command not found\n", string(resp.GetStderr()))
			assert.EqualValues(t, len(resp.GetStderr()), resp.GetStderrBytesProduced())
		})
	})
	t.Run("C-089", func(t *testing.T) {
		inWorld(t, Options{Runtime: withCommand("print", printing(100_000, 11))}, func(w *world) {
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: w.run(), Command: []string{"print"}, MaxOutputBytes: 10})
			require.NoError(t, err)
			assert.Equal(t, strings.Repeat("o", 10), string(resp.GetStdout()))
			assert.Equal(t, strings.Repeat("e", 10), string(resp.GetStderr()))
			assert.True(t, resp.GetStdoutTruncated() && resp.GetStderrTruncated())
			assert.EqualValues(t, []int64{100_000, 11}, []int64{resp.GetStdoutBytesProduced(), resp.GetStderrBytesProduced()})
		})
	})
	t.Run("C-090", func(t *testing.T) {
		inWorld(t, Options{Runtime: withCommand("print", printing(64<<20, 0))}, func(w *world) {
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: w.run(), Command: []string{"print"}})
			require.NoError(t, err)
			assert.Len(t, resp.GetStdout(), 16<<20)
			assert.True(t, resp.GetStdoutTruncated())
			assert.EqualValues(t, 64<<20, resp.GetStdoutBytesProduced())
		})
	})
	t.Run("an answer always fits into a message", func(t *testing.T) {
		inWorld(t, Options{Runtime: withCommand("print", printing(50<<20, 50<<20))}, func(w *world) {
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: w.run(), Command: []string{"print"}, MaxOutputBytes: 1 << 30})
			require.NoError(t, err)
			assert.True(t, resp.GetStdoutTruncated() && resp.GetStderrTruncated())
		})
	})
	t.Run("C-091", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(mainContainer(func(c *ctnr) { c.EnvironmentVariables = map[string]string{"A": "container", "B": "kept"} }))
			for _, env := range []map[string]string{{"A": "exec"}, nil} {
				resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: id, Command: []string{"env"}, Env: env})
				require.NoError(t, err)
				want := "container"
				if env != nil {
					want = "exec"
				}
				assert.Contains(t, string(resp.GetStdout()), "A="+want+"\n")
				assert.Contains(t, string(resp.GetStdout()), "B=kept\n")
			}
		})
	})
	t.Run("C-093", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			defer cancel()
			_, err := w.api.Exec(ctx, &execRequest{SandboxId: id, Command: []string{"sleep", "infinity"}})
			w.requireRefused(refused{code: codes.DeadlineExceeded}, err)
			out, _, _ := w.exec(id, "echo", "still here")
			assert.Equal(t, "still here\n", out)
		})
	})
	t.Run("C-095", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			for field, req := range map[string]*execRequest{
				"command":          {SandboxId: id},
				"max_output_bytes": {SandboxId: id, Command: []string{"true"}, MaxOutputBytes: -1},
				"container":        {SandboxId: id, Command: []string{"true"}, Container: "dns-egress"},
				"env":              {SandboxId: id, Command: []string{"true"}, Env: map[string]string{"A": "\x00"}},
			} {
				_, err := w.api.Exec(w.ctx, req)
				w.requireRefused(badField(field), err)
			}
			for _, argv := range [][]string{{""}, {"", "x"}, {"echo", "a\x00"}} {
				_, err := w.api.Exec(w.ctx, &execRequest{SandboxId: id, Command: argv})
				w.requireRefused(badField("command"), err)
				stream, err := w.api.StreamExec(w.ctx)
				require.NoError(t, err)
				w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: id, Command: argv})
				w.requireRefused(badField("command"), lastError(func() error { _, err := stream.Recv(); return err }))
			}
		})
	})
	t.Run("C-096", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.srv.Hold("held", creating)
			id := w.create(tagged("held")).GetSandboxId()
			synctest.Wait()
			for name, err := range w.dataCalls(id) {
				w.requireRefused(isNotRunning, err)
				assert.Equal(t, map[string]string{"sandbox_id": id, "state": "creating"}, w.info(err).GetMetadata(), name)
			}
		})
	})
	t.Run("C-114", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"sh", "-c", "echo before; sleep infinity"}})
			synctest.Wait()
			w.delete(id, 0)
			frame, err := stream.Recv()
			require.NoError(t, err)
			assert.Equal(t, "before\n", string(frame.GetOutput().GetData()))
			frame, err = stream.Recv()
			require.NoError(t, err)
			assert.EqualValues(t, 137, frame.GetExit().GetExitCode())
		})
	})
	t.Run("C-117", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			var all sync.WaitGroup
			for i := range 200 {
				all.Go(func() {
					resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: id, Command: []string{"echo", fmt.Sprint(i)}})
					assert.NoError(t, err)
					assert.Equal(t, fmt.Sprintln(i), string(resp.GetStdout()))
				})
			}
			all.Wait()
		})
	})
	t.Run("C-119", func(t *testing.T) {
		inWorld(t, Options{MaxExec: time.Second}, func(w *world) {
			id := w.run()
			_, err := w.api.Exec(w.ctx, &execRequest{SandboxId: id, Command: []string{"sleep", "2"}})
			w.requireRefused(refused{code: codes.DeadlineExceeded, reason: "CWSANDBOX_COMMAND_TIMEOUT"}, err)
			assert.Equal(t, id, w.info(err).GetMetadata()["sandbox_id"])
		})
	})
}

func TestStreamExec(t *testing.T) {
	t.Run("C-097", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			for _, argv := range [][]string{{"true"}, {"nobody-has-this"}} {
				stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: argv})
				require.NoError(t, lastError(func() error { _, err := stream.Recv(); return err }))
			}
			out, errs, exit := w.exec(id, "nobody-has-this")
			assert.Equal(t, "", out)
			assert.Equal(t, "nobody-has-this: command not found\n", errs)
			assert.EqualValues(t, 127, exit)
		})
	})
	t.Run("C-098", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			var all sync.WaitGroup
			for range 500 {
				all.Go(func() {
					out, _, exit := w.exec(id, "sh", "-c", "echo one; sleep 1; echo two")
					assert.Equal(t, "one\ntwo\n", out)
					assert.Zero(t, exit)
				})
			}
			all.Wait()
		})
	})
	t.Run("C-099", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"sh", "-c", "echo one; sleep 0.1; echo two; sleep 0.1; echo three"}})
			began := time.Now()
			for i, want := range []string{"one\n", "two\n", "three\n"} {
				frame, err := stream.Recv()
				require.NoError(t, err)
				assert.Equal(t, want, string(frame.GetOutput().GetData()))
				assert.Equal(t, time.Duration(i)*100*time.Millisecond, time.Since(began))
			}
		})
	})
	t.Run("C-102", func(t *testing.T) {
		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		burst := scripted.Command{Run: func(_ context.Context, p *scripted.Proc) int {
			_, _ = p.Stdout.Write(big)
			return 5
		}}
		inWorld(t, Options{Runtime: withCommand("burst", burst)}, func(w *world) {
			out, _, exit := w.exec(w.run(), "burst")
			assert.True(t, out == string(big), "%d bytes", len(out))
			assert.EqualValues(t, 5, exit)
		})
	})
	t.Run("C-103", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"cat"}})
			var want, got strings.Builder
			go func() {
				for i, size := range []int{1, 64 << 10, 1 << 20, 1, 1 << 20} {
					chunk := strings.Repeat(string(rune('a'+i)), size)
					want.WriteString(chunk)
					w.sendStdin(stream, chunk)
				}
				w.sendClose(stream)
			}()
			require.NoError(t, lastError(func() error {
				frame, err := stream.Recv()
				got.Write(frame.GetOutput().GetData())
				return err
			}))
			assert.True(t, want.String() == got.String(), "%d bytes", got.Len())
		})
	})
	t.Run("C-104", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"sh", "-c", "cat; sleep 1"}})
			w.sendStdin(stream, "x")
			w.sendClose(stream)
			w.sendClose(stream)
			require.NoError(t, stream.CloseSend())
			require.NoError(t, lastError(func() error { _, err := stream.Recv(); return err }))
		})
	})
	t.Run("C-105", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"cat"}})
			w.sendStdin(stream, "x")
			require.NoError(t, stream.CloseSend())
			frame, err := stream.Recv()
			require.NoError(t, err)
			assert.Equal(t, "x", string(frame.GetOutput().GetData()))
			frame, err = stream.Recv()
			require.NoError(t, err)
			assert.NotNil(t, frame.GetExit().GetCompletedTime())
			assert.Zero(t, frame.GetExit().GetExitCode())
			require.NoError(t, lastError(func() error { _, err := stream.Recv(); return err }))
		})
	})
	t.Run("C-106", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"sleep", "1"}})
			w.sendStdin(stream, strings.Repeat("x", 1<<20))
			var exit *sandboxv1.ExecStreamExit
			require.NoError(t, lastError(func() error {
				frame, err := stream.Recv()
				if frame.GetExit() != nil {
					exit = frame.GetExit()
				}
				return err
			}))
			assert.Zero(t, exit.GetExitCode())
			assert.NotNil(t, exit.GetCompletedTime())
		})
	})
	t.Run("C-108", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			init := &sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"sleep", "infinity"}}
			for name, frames := range map[string]func(execStreamClient){
				"stdin before init": func(s execStreamClient) { w.sendStdin(s, "x") },
				"second init":       func(s execStreamClient) { w.sendInit(s, init); w.sendInit(s, init) },
				"stdin after close": func(s execStreamClient) { w.sendInit(s, init); w.sendClose(s); w.sendStdin(s, "x") },
				"empty frame": func(s execStreamClient) {
					w.sendInit(s, init)
					require.NoError(t, s.Send(&sandboxv1.ExecStreamRequest{}))
				},
				"empty stream": func(s execStreamClient) { require.NoError(t, s.CloseSend()) },
			} {
				stream, err := w.api.StreamExec(w.ctx)
				require.NoError(t, err, name)
				frames(stream)
				w.requireRefused(badField("message"), lastError(func() error { _, err := stream.Recv(); return err }))
			}
		})
	})
	t.Run("C-109", func(t *testing.T) {
		killed := make(chan error, 1)
		loop := scripted.Command{CatchSignals: true, Run: func(ctx context.Context, _ *scripted.Proc) int {
			<-ctx.Done()
			killed <- ctx.Err()
			return 0
		}}
		inWorld(t, Options{Runtime: withCommand("loop", loop)}, func(w *world) {
			id := w.run()
			ctx, cancel := context.WithCancel(w.ctx)
			stream, err := w.api.StreamExec(ctx)
			require.NoError(t, err)
			w.sendInit(stream, &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"loop"}})
			_, err = stream.Recv()
			require.NoError(t, err)
			cancel()
			synctest.Wait()
			require.ErrorIs(t, <-killed, context.Canceled)
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("C-116", func(t *testing.T) {
		inWorld(t, Options{StdinCloseGrace: 5 * time.Second}, func(w *world) {
			id := w.run()
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"sh", "-c", "sleep 4; echo x; sleep infinity"}})
			time.Sleep(time.Minute)
			w.sendClose(stream)
			began, code := time.Now(), ""
			stream2 := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"sh", "-c", "sleep 4; echo x; sleep infinity"}})
			w.sendClose(stream2)
			for i, s := range []execStreamClient{stream, stream2} {
				require.NoError(t, lastError(func() error {
					frame, err := s.Recv()
					if frame.GetError() != nil {
						code = frame.GetError().GetCode()
					}
					return err
				}))
				assert.Equal(t, "STDIN_CLOSE_GRACE_EXPIRED", code)
				assert.Equal(t, []time.Duration{5 * time.Second, 9 * time.Second}[i], time.Since(began), "output starts the grace again")
			}
		})
	})
	t.Run("C-115", func(t *testing.T) {
		endless := scripted.Command{Run: func(ctx context.Context, p *scripted.Proc) int {
			for {
				if _, err := p.Stdout.Write(make([]byte, 32<<10)); err != nil {
					return 1
				}
			}
		}}
		inWorld(t, Options{Runtime: withCommand("endless", endless), ExecStallTimeout: time.Second}, func(w *world) {
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: w.run(), Command: []string{"endless"}})
			time.Sleep(time.Minute)
			var last *sandboxv1.ExecStreamResponse
			size := 0
			require.NoError(t, lastError(func() error {
				frame, err := stream.Recv()
				if err == nil {
					last = frame
				}
				size += len(frame.GetOutput().GetData())
				return err
			}))
			assert.Equal(t, "STREAM_BACKPRESSURE", last.GetError().GetCode())
			assert.Less(t, size, 1<<20)
		})
	})
	t.Run("a container of its own name", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run(twoContainers("wait-for-term"))
			_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/f", Content: []byte("helper's"), Container: "helper"})
			require.NoError(t, err)
			resp, err := w.api.Exec(w.ctx, &execRequest{SandboxId: id, Command: []string{"cat", "/f"}, Container: "helper"})
			require.NoError(t, err)
			assert.Equal(t, "helper's", string(resp.GetStdout()))
			_, _, exit := w.exec(id, "cat", "/f")
			assert.EqualValues(t, 1, exit)
		})
	})
}

func TestTerminal(t *testing.T) {
	sizes := scripted.Command{Run: func(_ context.Context, p *scripted.Proc) int {
		_, _ = fmt.Fprintf(p.Stderr, "%v %v %s\n", p.TTY, p.Size(), p.Env["TERM"])
		for range 2 {
			_, _ = fmt.Fprintln(p.Stdout, <-p.Resized)
		}
		_, _ = io.Copy(p.Stdout, p.Stdin)
		return 5
	}}
	resize := func(w *world, s grpc.BidiStreamingClient[sandboxv1.ExecStreamRequest, sandboxv1.ExecStreamResponse], cols, rows uint32) {
		require.NoError(w, s.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Resize{
			Resize: &sandboxv1.ExecStreamResize{Width: cols, Height: rows},
		}}))
		synctest.Wait()
	}
	inWorld(t, Options{Runtime: withCommand("sizes", sizes)}, func(w *world) {
		id := w.run()
		stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"sizes"}, Tty: true})
		resize(w, stream, 0, 7)
		resize(w, stream, 100, 30)
		w.sendStdin(stream, "typed")
		w.sendClose(stream)
		resize(w, stream, 1<<20, 31)
		out, exit := "", int32(0)
		require.NoError(t, lastError(func() error {
			frame, err := stream.Recv()
			assert.NotEqual(t, sandboxv1.ExecStreamOutput_STREAM_STDERR, frame.GetOutput().GetStream())
			out += string(frame.GetOutput().GetData())
			exit += frame.GetExit().GetExitCode()
			return err
		}))
		assert.Equal(t, fmt.Sprintf("true %v xterm-256color\n%v\n%v\ntyped", container.Size{Cols: 80, Rows: 24},
			container.Size{Cols: 100, Rows: 30}, container.Size{Cols: 65535, Rows: 31}), out)
		assert.EqualValues(t, 5, exit)
	})
}

func BenchmarkCreate(b *testing.B) {
	srv, err := New(Options{Runtime: scripted.New(programs...)})
	require.NoError(b, err)
	service := &sandboxService{Server: srv}
	ctx := context.WithValue(b.Context(), identityKey{}, identity{user: defaultUser, organization: defaultOrganization, admin: true})
	for b.Loop() {
		_, err := service.CreateSandbox(ctx, createOf(aSpec()))
		require.NoError(b, err)
	}
	require.NoError(b, srv.Close())
}
