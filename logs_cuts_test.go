package cwsandbox_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// printer is a main process that prints pieces of text, some time apart, and ends when it is told to.
type printer struct {
	pieces  []string
	printed chan struct{} // closed when all are out
	end     chan struct{}
}

func newPrinter(pieces ...string) *printer {
	return &printer{pieces, make(chan struct{}), make(chan struct{})}
}

func (p *printer) command() cwsandboxtest.Option {
	return cwsandboxtest.WithCommand("printer", cwsandboxtest.Command{Run: func(ctx context.Context, proc *cwsandboxtest.Proc) int {
		for _, piece := range p.pieces {
			if _, err := io.WriteString(proc.Stdout, piece); err != nil {
				return 1
			}
			time.Sleep(100 * time.Millisecond)
		}
		close(p.printed)
		select {
		case <-p.end:
		case <-ctx.Done():
		}
		return 0
	}})
}

func (p *printer) run(t *testing.T) (*cwsandboxtest.Server, *cwsandbox.Sandbox) {
	t.Helper()
	server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), p.command())
	sb, err := server.Client().Run(t.Context(), cwsandbox.WithCommand("printer"))
	require.NoError(t, err)
	t.Cleanup(func() { sb.Stop(cwsandbox.WithGrace(0)).Wait() })
	return server, sb
}

// randomPieces are of every size, with lines of every length and bytes of every value.
func randomPieces(r *rand.Rand) []string {
	pieces := make([]string, 150)
	for i := range pieces {
		piece := make([]byte, r.IntN(1<<r.IntN(13)+1))
		for j := range piece {
			piece[j] = byte(r.IntN(256))
			if r.IntN(60) == 0 {
				piece[j] = '\n'
			}
		}
		pieces[i] = string(piece)
	}
	return pieces
}

// randomCuts has the streams that follow a log fail in turn, at random places. No more than two of them fail in a row
// without any data. The function that it returns ends that.
func randomCuts(server *cwsandboxtest.Server, r *rand.Rand, count int) (end func()) {
	var rules []*cwsandboxtest.Handle
	endings := []cwsandboxtest.Ending{
		cwsandboxtest.EndConnection(),
		cwsandboxtest.EndStatus(codes.Unavailable, "cut"),
		cwsandboxtest.EndStatus(codes.Internal, "cut"),
		cwsandboxtest.EndStatus(codes.Unknown, "cut"),
	}
	futile := 0
	for range count {
		action := cwsandboxtest.CutStream(cwsandboxtest.Bytes(1+r.IntN(1<<r.IntN(15))), endings[r.IntN(len(endings))])
		switch kind := r.IntN(6); {
		case kind == 0:
			action = cwsandboxtest.InBandError(1+r.IntN(4), "STREAM_INTERRUPTED", "cut")
		case kind == 1 && futile < 2:
			action = cwsandboxtest.Fail(codes.Unavailable, "away")
			futile++
		default:
			futile = 0
		}
		rules = append(rules, server.Inject(cwsandboxtest.Rule{
			Method: "StreamLogs", Times: 1, Action: action,
			When: func(c cwsandboxtest.Call) bool { return c.Request.(*sandboxv1.StreamLogsRequest).GetFollow() },
		}))
	}
	return func() {
		for _, rule := range rules {
			rule.Release()
		}
	}
}

// theEnd is the last line of a printer.
const theEnd = "the end\n"

// TestLogsOverCuts compares what arrives through many streams with what one stream shows, byte by byte.
func TestLogsOverCuts(t *testing.T) {
	for seed := range uint64(12) {
		var opts []cwsandbox.LogOption
		if seed%2 == 1 {
			opts = append(opts, cwsandbox.WithTimestamps())
		}
		for kind, follow := range map[string]func(*testing.T, *cwsandbox.Sandbox, []cwsandbox.LogOption, func(string)) string{
			"bytes": followBytes, "lines": followLines,
		} {
			t.Run(fmt.Sprint(kind, " ", seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := rand.New(rand.NewPCG(seed, 1))
					p := newPrinter(append(randomPieces(r), "\n"+theEnd)...)
					server, sb := p.run(t)
					heal := randomCuts(server, r, 40)
					var want string
					got := follow(t, sb, append(opts, cwsandbox.WithFollow()), func(text string) {
						if want == "" && strings.HasSuffix(text, theEnd) {
							want = wholeLog(t, sb, opts...)
							heal() // the log of what has ended could not be resumed
							time.AfterFunc(time.Minute, func() { close(p.end) })
						}
					})
					require.True(t, got == want, "%d bytes of %d", len(got), len(want))
					if opts == nil {
						assert.True(t, want == strings.Join(p.pieces, ""))
					}
					assert.Greater(t, server.Received("StreamLogs"), 5)
				})
			})
		}
	}
}

// wholeLog reads a log in one stream.
func wholeLog(t *testing.T, sb *cwsandbox.Sandbox, opts ...cwsandbox.LogOption) string {
	t.Helper()
	r, err := sb.OpenLogs(t.Context(), opts...)
	require.NoError(t, err)
	defer r.Close()
	all, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(all)
}

// followBytes follows a log to its end, and calls seen with the newest bytes of it.
func followBytes(t *testing.T, sb *cwsandbox.Sandbox, opts []cwsandbox.LogOption, seen func(tail string)) string {
	r, err := sb.OpenLogs(t.Context(), opts...)
	require.NoError(t, err)
	defer r.Close()
	var got []byte
	for size := 1; ; size = 1 + (3*size)%5000 {
		part := make([]byte, size)
		n, err := r.Read(part)
		got = append(got, part[:n]...)
		if err == io.EOF {
			return string(got)
		}
		require.NoError(t, err)
		seen(string(got[max(0, len(got)-len(theEnd)):]))
	}
}

// followLines is followBytes by lines. The cursors have to fit.
func followLines(t *testing.T, sb *cwsandbox.Sandbox, opts []cwsandbox.LogOption, seen func(tail string)) string {
	var got strings.Builder
	var session string
	for line, err := range sb.Logs(t.Context(), opts...) {
		require.NoError(t, err)
		got.WriteString(line.Text)
		if !line.Partial {
			got.WriteByte('\n')
		}
		if session == "" {
			session = line.Cursor.Session
		}
		require.Equal(t, cwsandbox.LogCursor{Session: session, Offset: int64(got.Len())}, line.Cursor)
		seen(line.Text + "\n")
	}
	return got.String()
}

// TestLogsWhileStarting: the log of a sandbox that does not run yet is waited for.
func TestLogsWhileStarting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrinter("one\n", "two\n")
		server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), p.command())
		start := server.Hold("slow", cwsandbox.StateCreating)
		sb, err := server.Client().Create(t.Context(), cwsandbox.WithCommand("printer"), cwsandbox.WithTags("slow"))
		require.NoError(t, err)
		defer sb.Stop(cwsandbox.WithGrace(0)).Wait()
		time.AfterFunc(time.Minute, start)
		var got []string
		for line, err := range sb.Logs(t.Context(), cwsandbox.WithFollow()) {
			require.NoError(t, err)
			if got = append(got, line.Text); len(got) == 2 {
				close(p.end)
			}
		}
		assert.Equal(t, []string{"one", "two"}, got)
	})
}

// TestLogsGoOnInAnotherProgram: a cursor is all that has to be kept.
func TestLogsGoOnInAnotherProgram(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPrinter("one\ntw", "o\nthree\n")
		server, sb := p.run(t)
		var cursor cwsandbox.LogCursor
		for line, err := range sb.Logs(t.Context(), cwsandbox.WithFollow(), cwsandbox.WithTail(5)) {
			require.NoError(t, err)
			require.Equal(t, "one", line.Text)
			cursor = line.Cursor
			break
		}
		<-p.printed
		time.Sleep(50 * time.Second)
		other, err := server.Client().Attach(t.Context(), sb.ID())
		require.NoError(t, err)
		var got []string
		for line, err := range other.Logs(t.Context(), cwsandbox.WithFollow(), cwsandbox.WithCursor(cursor)) {
			require.NoError(t, err)
			require.Equal(t, cursor.Session, line.Cursor.Session)
			if got = append(got, line.Text); len(got) == 2 {
				break
			}
		}
		assert.Equal(t, []string{"two", "three"}, got)

		time.Sleep(time.Minute)
		_, err = cwsandbox.Collect(other.Logs(t.Context(), cwsandbox.WithFollow(), cwsandbox.WithCursor(cursor)))
		var e *cwsandbox.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, "SESSION_NOT_FOUND", e.StreamCode)
	})
}

// TestLogsUntilTheStop: what is printed while the sandbox is being stopped is in the log, and the stream ends well.
func TestLogsUntilTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main := cwsandboxtest.Command{CatchSignals: true, Run: func(ctx context.Context, proc *cwsandboxtest.Proc) int {
			fmt.Fprintln(proc.Stdout, "working")
			<-proc.Signals
			fmt.Fprintln(proc.Stderr, "cleaning up")
			time.Sleep(3 * time.Second)
			fmt.Fprint(proc.Stdout, "bye")
			return 0
		}}
		server := cwsandboxtest.NewServer(t, cwsandboxtest.InMemory(), cwsandboxtest.WithCommand("main", main))
		sb, err := server.Client().Run(t.Context(), cwsandbox.WithCommand("main"))
		require.NoError(t, err)
		stop := sb.Stop()
		var got []string
		for line, err := range sb.Logs(t.Context(), cwsandbox.WithFollow()) {
			require.NoError(t, err)
			if got = append(got, line.Text); len(got) == 1 {
				stop.Start()
			}
		}
		assert.Equal(t, []string{"working", "cleaning up", "bye"}, got)
		_, err = stop.Wait()
		require.NoError(t, err)
		for _, opts := range [][]cwsandbox.LogOption{nil, {cwsandbox.WithFollow()}} {
			_, err = cwsandbox.Collect(sb.Logs(t.Context(), opts...))
			assert.ErrorIs(t, err, cwsandbox.ErrNotRunning)
		}
		assert.Equal(t, 2, server.Received("StreamLogs"), "L-019: one shot is sent, follow is not")
	})
}

// TestDroppedLogReader: a reader that nobody closes ends its stream when it is collected.
func TestDroppedLogReader(t *testing.T) {
	p := newPrinter("one\n")
	server, sb := p.run(t)
	open := func() {
		r, err := sb.OpenLogs(t.Context(), cwsandbox.WithFollow())
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 4))
		require.NoError(t, err)
	}
	open()
	ended := func() bool {
		runtime.GC()
		return !server.Calls("StreamLogs")[0].End.IsZero()
	}
	require.Eventually(t, ended, time.Minute, 10*time.Millisecond)
}

// TestLogsAfterALoss: when the service has forgotten the session too, the log goes on with what is new.
func TestLogsAfterALoss(t *testing.T) {
	for _, lose := range []func(*cwsandboxtest.Server, string){
		(*cwsandboxtest.Server).ExpireLogSessions, (*cwsandboxtest.Server).DropLogReplay,
	} {
		synctest.Test(t, func(t *testing.T) {
			server, sb := newPrinter("old\nunfini").run(t)
			cut := server.Inject(cwsandboxtest.Rule{
				Method: "StreamLogs", Times: 1,
				Action: cwsandboxtest.CutStream(cwsandboxtest.Bytes(7), cwsandboxtest.EndConnection()),
			})
			time.AfterFunc(time.Second, func() {
				server.AppendLog(sb.ID(), []byte("shed\n"))
				lose(server, sb.ID())
			})
			time.AfterFunc(time.Minute, func() { server.AppendLog(sb.ID(), []byte("new\n")) })
			away := server.Inject(cwsandboxtest.Rule{
				Method: "StreamLogs", Times: 1, Action: cwsandboxtest.Fail(codes.Unavailable, "away"),
			})
			var got []string
			var sessions []string
			for line, err := range sb.Logs(t.Context(), cwsandbox.WithFollow()) {
				require.NoError(t, err)
				got, sessions = append(got, line.Text), append(sessions, line.Cursor.Session)
				require.Equal(t, line.Text == "unf", line.Partial)
				if line.Text == "new" {
					break
				}
			}
			assert.Equal(t, []string{"old", "unf", "new"}, got)
			assert.Equal(t, sessions[0], sessions[1])
			assert.NotEqual(t, sessions[0], sessions[2], "which tells that something may be missing")
			assert.Equal(t, 1, cut.Hits())
			assert.Equal(t, 1, away.Hits())
		})
	}
}
