package localserver

import (
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

// A line belongs to the time of its first byte, however late its last one comes.
func TestLogSinceSkipsTheRestOfALine(t *testing.T) {
	withPrinter(t, func(w *world, id string, p printer) {
		p.print("begun ")
		time.Sleep(time.Second)
		since := timestamppb.Now()
		assert.Empty(t, w.logs(&logRequest{SandboxId: id, SinceTime: since}).text)
		plain := w.follow(&logRequest{SandboxId: id, Follow: true, SinceTime: since})
		tail := w.follow(&logRequest{SandboxId: id, Follow: true, SinceTime: since, TailLines: 5})
		stamped := w.follow(&logRequest{SandboxId: id, Follow: true, SinceTime: since, Timestamps: true})
		later := w.follow(&logRequest{SandboxId: id, Follow: true, SinceTime: timestamppb.New(time.Now().Add(time.Minute))})
		cut := w.follow(&logRequest{SandboxId: id, Follow: true, SinceTime: since})
		cut.stop()
		p.print("before\nnew ", "line\n")
		assert.Equal(t, "new line\n", plain.text)
		assert.Equal(t, "new line\n", tail.text)
		assert.Equal(t, "2000-01-01T00:00:01.000000000Z new line\n", stamped.text)
		assert.Empty(t, later.text)
		time.Sleep(time.Minute)
		p.print("last\n")
		assert.Equal(t, "new line\nlast\n", plain.text)
		assert.Equal(t, "last\n", later.text)
		resumed := w.follow(&logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: later.session, ResumeLogOffset: 2})
		assert.Equal(t, "st\n", resumed.text)
		for _, f := range []*follower{plain, tail, stamped, later, resumed} {
			f.stop()
		}
	})
}

func TestLogTailOfAnEndlessLine(t *testing.T) {
	l := newLogStore(systemClock{})
	piece := []byte(strings.Repeat("x", 1<<20))
	for range 40 {
		_, _ = l.Write(piece)
	}
	tail := func(n int64) int64 {
		offset, _, found := l.selectFrom(time.Time{}, n)
		assert.True(t, found)
		return offset
	}
	assert.Equal(t, l.start, tail(1), "the unfinished line counts as one")
	_, _ = l.Write([]byte("\nsecond\nthird"))
	end := l.end()
	assert.Equal(t, end-5, tail(1))
	assert.Equal(t, end-12, tail(2))
	assert.Equal(t, l.start, tail(3))
	assert.Equal(t, l.start, tail(4))
}

func TestLogOfEachContainer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		main, side := make(printer), make(printer)
		w := newWorld(t, Options{Runtime: scripted.New(
			scripted.WithCommand("main", main.command()), scripted.WithCommand("side", side.command()))})
		defer w.close()
		yes := true
		id := w.run(func(s *sandboxv1.SandboxSpec) {
			s.Containers = []*sandboxv1.Container{
				{Name: "side", Image: "any", Command: "side"},
				{Name: "main", Image: "any", Command: "main", Primary: &yes},
			}
		})
		main.print("of main\n")
		side.print("of side\n")
		following := w.follow(&logRequest{SandboxId: id, Container: "side", Follow: true})
		assert.Equal(t, "of main\n", w.logs(&logRequest{SandboxId: id}).text)
		of := w.logs(&logRequest{SandboxId: id, Container: "main"})
		assert.Equal(t, "of main\n", of.text)
		assert.Equal(t, "of side\n", following.text)

		resume := &logRequest{SandboxId: id, Container: "side", Follow: true, ResumeLogSessionId: of.session, ResumeLogOffset: 2}
		assert.Equal(t, "SESSION_NOT_FOUND", w.logs(resume).fault, "C-128: a session of another container")
		resume.Container = ""
		same := w.follow(resume)
		assert.Equal(t, " main\n", same.text)
		same.stop()

		side.print("bye\n", "exit")
		require.NoError(t, <-following.end, "the log of a container ends with it")
		following.cancel()
		assert.Equal(t, "of side\nbye\n", following.text)
		w.requireRefused(isNotRunning, <-w.follow(&logRequest{SandboxId: id, Container: "side"}).end)
		assert.Equal(t, "of main\n", w.logs(&logRequest{SandboxId: id}).text)
	})
}

func TestLogHooks(t *testing.T) {
	withPrinter(t, func(w *world, id string, p printer) {
		p.print("printed\n")
		open := w.follow(&logRequest{SandboxId: id, Follow: true})
		w.srv.AppendLog(id, []byte("appended\n"))
		synctest.Wait()
		assert.Equal(t, "printed\nappended\n", open.text)
		resume := func(offset uint64) *logRequest {
			return &logRequest{SandboxId: id, Follow: true, ResumeLogSessionId: open.session, ResumeLogOffset: offset}
		}
		w.srv.DropLogReplay(id)
		assert.Equal(t, "REPLAY_GAP", w.logs(resume(open.offset-1)).fault)
		atEnd := w.follow(resume(open.offset))
		w.srv.ExpireLogSessions(id)
		assert.Equal(t, "SESSION_NOT_FOUND", w.logs(resume(open.offset)).fault)
		p.print("more\n")
		assert.Equal(t, "printed\nappended\nmore\n", open.text)
		assert.Equal(t, "more\n", atEnd.text)
		open.stop()
		atEnd.stop()
	})
}

func TestLogRightAfterTheStart(t *testing.T) {
	t.Run("C-057", func(t *testing.T) {
		inWorld(t, Options{StartupSettle: 200 * time.Millisecond}, func(w *world) {
			id := w.create(command("sh", "-c", "echo first; sleep 1000")).GetSandboxId()
			for w.state(id) != running {
				time.Sleep(time.Millisecond)
			}
			assert.Equal(t, "first\n", w.logs(&logRequest{SandboxId: id}).text)
		})
	})
}
