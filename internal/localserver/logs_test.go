package localserver

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type logRequest = sandboxv1.StreamLogsRequest

// A printer is a main process that prints what a test wants.
type printer chan string

// command prints what it receives, until it receives "exit" or "fail".
func (p printer) command() scripted.Command {
	return scripted.Command{Run: func(ctx context.Context, proc *scripted.Proc) int {
		for {
			select {
			case text := <-p:
				if text == "exit" {
					return 0
				}
				if text == "fail" {
					return 1
				}
				_, _ = proc.Stdout.Write([]byte(text))
			case <-ctx.Done():
				return 0
			}
		}
	}}
}

func (p printer) print(texts ...string) {
	for _, text := range texts {
		p <- text
		synctest.Wait()
	}
}

// withPrinter runs a test with a sandbox whose main process is a printer.
func withPrinter(t *testing.T, test func(w *world, id string, p printer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := make(printer)
		w := newWorld(t, Options{Runtime: withCommand("print", p.command())})
		defer w.close()
		test(w, w.run(command("print")), p)
	})
}

// A follower reads a log stream.
type follower struct {
	w      *world
	stream interface {
		Recv() (*sandboxv1.LogEntry, error)
	}
	cancel  context.CancelFunc
	text    string
	session string
	offset  uint64
	end     chan error
	fault   string
}

// follow opens a log stream and reads it in the background.
func (w *world) follow(req *logRequest) *follower {
	w.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	stream, err := w.api.StreamLogs(ctx, req)
	require.NoError(w, err)
	f := &follower{w: w, stream: stream, cancel: cancel, end: make(chan error, 1), offset: req.GetResumeLogOffset()}
	go func() { f.end <- lastError(f.recv) }()
	synctest.Wait()
	return f
}

func (f *follower) recv() error {
	entry, err := f.stream.Recv()
	if err != nil {
		return err
	}
	assert.Empty(f.w, f.fault, "nothing follows an error")
	if entry.GetError() != nil {
		f.fault = entry.GetError().GetCode()
		assert.Empty(f.w, entry.GetData())
		return nil
	}
	assert.NotEmpty(f.w, entry.GetData())
	assert.LessOrEqual(f.w, len(entry.GetData()), 32<<10)
	assert.NotNil(f.w, entry.GetTimestamp())
	f.text += string(entry.GetData())
	f.offset += uint64(len(entry.GetData()))
	assert.Equal(f.w, f.offset, entry.GetNextLogOffset())
	assert.NotEmpty(f.w, entry.GetLogSessionId())
	if f.session != "" {
		assert.Equal(f.w, f.session, entry.GetLogSessionId())
	}
	f.session = entry.GetLogSessionId()
	return nil
}

// stop cuts the stream.
func (f *follower) stop() {
	f.cancel()
	<-f.end
}

// logs reads a log to the end of the stream.
func (w *world) logs(req *logRequest) *follower {
	w.Helper()
	f := w.follow(req)
	require.NoError(w, <-f.end)
	f.cancel()
	return f
}

func TestLogSelection(t *testing.T) {
	t.Run("C-120", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			w.exec(id, "echo", "not in the log")
			assert.Empty(t, w.logs(&logRequest{SandboxId: id}).text)
			p.print("in the log\n")
			assert.Equal(t, "in the log\n", w.logs(&logRequest{SandboxId: id}).text)
		})
	})
	t.Run("C-121", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			all := ""
			for i := range 9 {
				all += fmt.Sprintf("line %d\n", i)
			}
			p.print(all[:10], all[10:40], all[40:])
			assert.Equal(t, all[len(all)-21:], w.logs(&logRequest{SandboxId: id, TailLines: 3}).text)
			assert.Equal(t, all, w.logs(&logRequest{SandboxId: id}).text)
			assert.Equal(t, all, w.logs(&logRequest{SandboxId: id, TailLines: 100}).text)
			p.print("unfin", "ished")
			assert.Equal(t, "line 8\nunfinished", w.logs(&logRequest{SandboxId: id, TailLines: 2}).text)
		})
	})
	t.Run("C-122", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			for i := range 5 {
				p.print(fmt.Sprintf("%d\n", i))
				time.Sleep(time.Second)
			}
			p.print("5")
			time.Sleep(time.Second)
			p.print("five\n6\n")
			since := timestamppb.New(time.Now().Add(-3 * time.Second))
			assert.Equal(t, "3\n4\n5five\n6\n", w.logs(&logRequest{SandboxId: id, SinceTime: since}).text)
			assert.Equal(t, "5five\n6\n", w.logs(&logRequest{SandboxId: id, SinceTime: since, TailLines: 2}).text)
			assert.Equal(t, "3\n4\n5five\n6\n", w.logs(&logRequest{SandboxId: id, SinceTime: since, TailLines: 20}).text)
			assert.Empty(t, w.logs(&logRequest{SandboxId: id, SinceTime: timestamppb.New(time.Now().Add(1))}).text)
		})
	})
	t.Run("C-123", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("one\ntw")
			time.Sleep(1500 * time.Millisecond)
			long := strings.Repeat("x", 100_000)
			p.print("o\n\n", long, long+"\n", "end")
			got := strings.SplitAfter(w.logs(&logRequest{SandboxId: id, Timestamps: true}).text, "\n")
			early, late := "2000-01-01T00:00:00.000000000Z ", "2000-01-01T00:00:01.500000000Z "
			require.Equal(t, []string{early + "one\n", early + "two\n", late + "\n", late + long + long + "\n", late + "end"}, got)
		})
	})
	t.Run("C-130", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, _ printer) {
			now := timestamppb.Now()
			for _, req := range []*logRequest{
				{ResumeLogSessionId: "s"}, {ResumeLogSessionId: "s", Follow: true, TailLines: 1},
				{ResumeLogSessionId: "s", Follow: true, SinceTime: now}, {ResumeLogSessionId: "s", Follow: true, Timestamps: true},
				{Follow: true, ResumeLogOffset: 1},
			} {
				req.SandboxId = id
				w.requireRefused(badField("resume_log_session_id"), <-w.follow(req).end)
			}
			w.requireRefused(badField("tail_lines"), <-w.follow(&logRequest{SandboxId: id, TailLines: -1}).end)
			w.requireRefused(badField("container"), <-w.follow(&logRequest{SandboxId: id, Container: "none"}).end)
		})
	})
	t.Run("C-133", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			text := strings.Repeat("x", 700<<10) + "\n\x00\xff\xfe\n"
			p.print(text)
			assert.True(t, w.logs(&logRequest{SandboxId: id}).text == text)
		})
	})
}

func TestLogFollow(t *testing.T) {
	t.Run("C-124", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("zero\n")
			time.Sleep(time.Second)
			p.print("one\n", "two\n")
			for _, req := range []*logRequest{{}, {TailLines: 1}, {SinceTime: timestamppb.Now()}, {Timestamps: true}} {
				req.SandboxId, req.Follow = id, true
				f := w.follow(req) // compares every offset with what it has received
				before := f.offset
				p.print("x\n")
				assert.Greater(t, f.offset, before)
				assert.Len(t, f.text, int(f.offset))
				f.stop()
			}
		})
	})
	t.Run("C-125", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("backlog\n")
			f := w.follow(&logRequest{SandboxId: id, Follow: true})
			assert.Equal(t, "backlog\n", f.text)
			p.print("live\n")
			assert.Equal(t, "backlog\nlive\n", f.text)
			time.Sleep(9 * time.Minute)
			assert.Empty(t, f.end)
			p.print("later\n")
			assert.Equal(t, "backlog\nlive\nlater\n", f.text)
			f.stop()
		})
	})
	t.Run("C-126", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			f := w.follow(&logRequest{SandboxId: id, Follow: true})
			p.print("first run\n", "fail")
			time.Sleep(time.Second)
			p.print("second run\n", "exit")
			require.NoError(t, <-f.end)
			f.cancel()
			assert.Equal(t, "first run\nsecond run\n", f.text)
		})
	})
	t.Run("C-132", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("line\n")
			w.srv.Hold("slow", creating)
			slow := w.create(command("print"), tagged("slow")).GetSandboxId()
			synctest.Wait()
			ending := w.run(command("ignore-term"))
			open := w.follow(&logRequest{SandboxId: ending, Follow: true})
			w.delete(ending, time.Minute)
			require.Equal(t, terminating, w.state(ending))
			p.print("exit")
			for _, refused := range []string{slow, ending, id} {
				for _, follow := range []bool{false, true} {
					w.requireRefused(isNotRunning, <-w.follow(&logRequest{SandboxId: refused, Follow: follow}).end)
				}
			}
			assert.Empty(t, open.end, "what is open goes on until the end")
			time.Sleep(time.Minute)
			require.NoError(t, <-open.end)
			open.cancel()
			w.srv.Release("slow")
		})
	})
	t.Run("C-134", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			one := w.follow(&logRequest{SandboxId: id, Follow: true})
			two := w.follow(&logRequest{SandboxId: id, Follow: true})
			p.print("a\n")
			one.stop()
			p.print("b\n")
			assert.Equal(t, "a\n", one.text)
			assert.Equal(t, "a\nb\n", two.text)
			assert.NotEqual(t, one.session, two.session)
			two.stop()
		})
	})
}

func TestLogResume(t *testing.T) {
	for _, stamps := range []bool{false, true} {
		t.Run("C-127", func(t *testing.T) {
			withPrinter(t, func(w *world, id string, p printer) {
				p.print("dropped by tail\n", "one\nunfin")
				reference := w.follow(&logRequest{SandboxId: id, Follow: true, Timestamps: stamps, TailLines: 2})
				cut := w.follow(&logRequest{SandboxId: id, Follow: true, Timestamps: stamps, TailLines: 2})
				cut.stop()
				time.Sleep(time.Second)
				p.print("ished\n", "made meanwhile\n", "x")
				for offset := range cut.offset + 1 {
					f := w.follow(&logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: cut.session, ResumeLogOffset: offset})
					require.Equal(t, reference.text[offset:], f.text)
					require.Equal(t, cut.session, f.session)
					f.stop()
				}
				reference.stop()
			})
		})
	}
	t.Run("C-128", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("x\n")
			session := w.logs(&logRequest{SandboxId: id}).session
			other := w.run(command("print"))
			for _, req := range []*logRequest{
				{SandboxId: id, Follow: true, ResumeLogSessionId: "unknown"},
				{SandboxId: other, Follow: true, ResumeLogSessionId: session},
			} {
				assert.Equal(t, "SESSION_NOT_FOUND", w.logs(req).fault)
			}
		})
	})
	t.Run("C-129", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			for range 40 {
				p.print(strings.Repeat("x", 32<<10))
			}
			f := w.logs(&logRequest{SandboxId: id})
			resume := func(offset uint64) *logRequest {
				return &logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: f.session, ResumeLogOffset: offset}
			}
			assert.Equal(t, "REPLAY_GAP", w.logs(resume(f.offset-1<<20-1)).fault)
			assert.Equal(t, "INVALID_RESUME_OFFSET", w.logs(resume(f.offset+1)).fault)
			assert.Equal(t, "INVALID_RESUME_OFFSET", w.logs(resume(math.MaxUint64)).fault)
			inWindow := w.follow(resume(f.offset - 1<<20))
			atEnd := w.follow(resume(f.offset))
			assert.Len(t, inWindow.text, 1<<20)
			assert.Empty(t, atEnd.text)
			p.print("more")
			assert.Equal(t, "more", atEnd.text)
			inWindow.stop()
			atEnd.stop()
		})
	})
	t.Run("C-131", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("x")
			session := w.logs(&logRequest{SandboxId: id}).session
			req := &logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: session, ResumeLogOffset: 1}
			time.Sleep(time.Minute - 1)
			f := w.follow(req)
			time.Sleep(2 * time.Minute)
			assert.Empty(t, f.end, "a session lives as long as it is read")
			f.stop()
			synctest.Wait()
			time.Sleep(time.Minute)
			assert.Equal(t, "SESSION_NOT_FOUND", w.logs(req).fault)
		})
	})
	t.Run("C-135", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			p.print("x\n")
			f := w.logs(&logRequest{SandboxId: id})
			assert.Empty(t, f.fault)
			lost := w.logs(&logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: "none"})
			assert.Equal(t, "SESSION_NOT_FOUND", lost.fault, "which was the last frame, by the check of the reader")
			assert.Empty(t, lost.text)
		})
	})
	t.Run("a slow reader is overtaken", func(t *testing.T) {
		withPrinter(t, func(w *world, id string, p printer) {
			stream, err := w.api.StreamLogs(w.ctx, &logRequest{SandboxId: id, Follow: true})
			require.NoError(t, err)
			line := strings.Repeat("x", 32<<10-1) + "\n"
			for range (keptLog+logSlack)/len(line) + 100 {
				p.print(line)
			}
			f := &follower{w: w, stream: stream}
			require.NoError(t, lastError(f.recv))
			assert.Equal(t, "REPLAY_GAP", f.fault)
			assert.Less(t, len(f.text), 1<<20)
		})
	})
	t.Run("another caller", func(t *testing.T) {
		inWorld(t, Options{Keys: []Key{{Token: "ann", User: "ann"}, {Token: "boss", User: "boss", Admin: true}}}, func(w *world) {
			w.ctx = as(context.Background(), "ann")
			id := w.run(command("sh", "-c", "echo x; sleep infinity"))
			session := w.logs(&logRequest{SandboxId: id}).session
			w.ctx = as(context.Background(), "boss")
			assert.Equal(t, "SESSION_NOT_FOUND", w.logs(&logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: session}).fault)
		})
	})
}
