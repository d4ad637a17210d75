package cwsandbox

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// FuzzLineSplitter cuts a log anywhere, and gathers only a little of a line.
func FuzzLineSplitter(f *testing.F) {
	f.Add([]byte("one\ntwo\n\nthree"), uint64(1), uint8(3))
	f.Add([]byte("\n\n\n"), uint64(2), uint8(1))
	f.Add([]byte("abcabc\nabc\nabcdefabc"), uint64(3), uint8(3))
	f.Add([]byte("2026-01-02T03:04:05Z x\r\n\xff\x00"), uint64(4), uint8(200))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64, limit uint8) {
		if len(data) > 4<<10 {
			t.Skip("more of the same")
		}
		r := rand.New(rand.NewPCG(seed, 1))
		s := lineSplitter{limit: int(limit) + 1, stamps: seed%2 == 0}
		var got strings.Builder
		var last LogLine
		yield := func(line LogLine) bool {
			assert.False(t, last.Partial && len(last.Text) < s.limit, "only the last line is short and unfinished")
			assert.LessOrEqual(t, len(line.Text), s.limit)
			assert.NotContains(t, line.Text, "\n")
			got.WriteString(line.Text)
			if !line.Partial {
				got.WriteByte('\n')
			}
			assert.Equal(t, LogCursor{"s", int64(got.Len())}, line.Cursor)
			last = line
			return true
		}
		for at := 0; at < len(data); {
			n := 1 + r.IntN(len(data)-at)
			at += n
			require.True(t, s.split(logFrame{data: data[at-n : at], end: LogCursor{"s", int64(at)}}, yield))
		}
		require.True(t, s.flush(yield))
		require.True(t, s.flush(func(LogLine) bool { return false }), "once")
		assert.Equal(t, string(data), got.String())
	})
}

// FuzzLogResume follows the log of a service that fails by a script.
func FuzzLogResume(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{3, 240, 5, 241, 9, 244, 244, 1, 245, 31, 247, 240})
	f.Add([]byte{3, 242, 5, 5, 243, 9, 246, 1, 240, 1, 1, 242})
	f.Add([]byte{244, 244, 244, 1, 240, 244, 244, 244})
	f.Add([]byte{243, 243, 9, 243, 243, 243})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 1000 {
			t.Skip("more of the same")
		}
		synctest.Test(t, func(t *testing.T) {
			_, sb := scripted(t)
			service := &erraticLog{script: script, begin: time.Now(), sessions: map[string]*erraticSession{}}
			for i := range 40 {
				service.text += fmt.Sprintf("%02d%s\n", i, strings.Repeat("x", i%7*5))
			}
			sb.s.data = service
			var lines []LogLine
			var failed error
			for line, err := range sb.Logs(t.Context(), WithFollow()) {
				if err != nil {
					failed = err
					break
				}
				lines = append(lines, line)
			}
			service.check(t, lines, failed)
		})
	})
}

// lineInterval is the time between two lines of an erratic log.
const lineInterval = 50 * time.Millisecond

// erraticLog is a service that prints a line from time to time and shows the log as its script says.
type erraticLog struct {
	sandboxv1.SandboxDataPlaneServiceClient
	script   []byte // each byte is an event
	begin    time.Time
	text     string
	sessions map[string]*erraticSession
	made     int
	silent   bool // about sessions
	lossy    bool // something may be missing
	futile   int  // streams in a row without data
}

// erraticSession shows the log from a place on.
type erraticSession struct {
	from  int
	shown int
}

// printed is what was printed so far.
func (l *erraticLog) printed() string {
	lines := strings.SplitAfter(l.text, "\n")
	n := int(time.Since(l.begin)/lineInterval) + 1
	return strings.Join(lines[:min(n, len(lines))], "")
}

// since is the place of the first line that was begun at a time or later.
func (l *erraticLog) since(t time.Time) int {
	lines := strings.SplitAfter(l.text, "\n")
	n := int((t.Sub(l.begin) + lineInterval - 1) / lineInterval)
	return len(strings.Join(lines[:min(max(n, 0), len(lines))], ""))
}

// event is the next one of the script. Below 240 it is the size of a piece.
func (l *erraticLog) event() byte {
	if len(l.script) == 0 {
		return 30
	}
	e := l.script[0]
	l.script = l.script[1:]
	return e
}

func (l *erraticLog) failure(ctx context.Context, code codes.Code) error {
	l.futile++
	time.Sleep(time.Millisecond) // else the loss would be at the very time of a line
	return rpcerr.New(ctx, sandboxv1.SandboxService_StreamLogs_FullMethodName, status.Error(code, "by the script"), nil)
}

func (l *erraticLog) StreamLogs(ctx context.Context, req *sandboxv1.StreamLogsRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[sandboxv1.LogEntry], error) {
	if len(l.script) > 0 && l.script[0] == 244 {
		l.event()
		return nil, l.failure(ctx, codes.Unavailable)
	}
	s := &erraticStream{log: l, ctx: ctx, id: req.GetResumeLogSessionId()}
	if s.id == "" {
		l.made++
		s.id = fmt.Sprint("s", l.made)
		l.sessions[s.id] = &erraticSession{}
		if req.GetSinceTime() != nil {
			l.sessions[s.id].from = l.since(req.GetSinceTime().AsTime())
		}
	}
	s.session = l.sessions[s.id]
	switch next := int(req.GetResumeLogOffset()); {
	case s.session == nil:
		s.fault = "SESSION_NOT_FOUND"
	case next > s.session.shown:
		s.fault = "INVALID_RESUME_OFFSET"
	default:
		s.next = next
	}
	return s, nil
}

type erraticStream struct {
	grpc.ClientStream
	log     *erraticLog
	ctx     context.Context
	id      string
	session *erraticSession
	next    int
	fault   string
	over    bool
}

func (s *erraticStream) Recv() (*sandboxv1.LogEntry, error) {
	l := s.log
	switch {
	case s.over:
		return nil, io.EOF
	case s.fault != "":
		return s.fail(s.fault)
	}
	event := l.event()
	switch event {
	case 240:
		return nil, l.failure(s.ctx, codes.Unavailable)
	case 241:
		return s.fail("STREAM_INTERRUPTED")
	case 242:
		l.lossy = true
		return s.fail("RUNNER_DRAINING")
	case 243:
		l.lossy = true
		clear(l.sessions)
		return nil, l.failure(s.ctx, codes.Internal)
	case 245:
		return &sandboxv1.LogEntry{}, nil
	case 246:
		l.silent, l.lossy = true, true
	}
	return s.show(1 + int(event)%32)
}

func (s *erraticStream) fail(code string) (*sandboxv1.LogEntry, error) {
	s.over = true
	s.log.futile++
	time.Sleep(time.Millisecond)
	return &sandboxv1.LogEntry{Error: &sandboxv1.LogStreamError{Code: code}}, nil
}

// show waits until there is something to show, at most n bytes of it.
func (s *erraticStream) show(n int) (*sandboxv1.LogEntry, error) {
	l, at := s.log, s.session.from+s.next
	for len(l.printed()) <= at {
		if at >= len(l.text) {
			return nil, io.EOF
		}
		time.Sleep(lineInterval)
	}
	data := l.printed()[at:]
	data = data[:min(n, len(data))]
	s.next += len(data)
	s.session.shown = max(s.session.shown, s.next)
	l.futile = 0
	entry := &sandboxv1.LogEntry{Data: []byte(data), Timestamp: timestamppb.Now()}
	if !l.silent {
		entry.LogSessionId, entry.NextLogOffset = s.id, uint64(s.next)
	}
	return entry, nil
}

// check compares what has arrived with what was printed.
func (l *erraticLog) check(t *testing.T, lines []LogLine, failed error) {
	if failed != nil {
		assert.ErrorIs(t, failed, ErrUnavailable)
		assert.Equal(t, maxResumes+1, l.futile, "it has not given up early: %v", failed)
	}
	want, last := strings.Split(l.text, "\n"), -1
	var got strings.Builder
	for _, line := range lines {
		got.WriteString(line.Text)
		if !line.Partial {
			got.WriteByte('\n')
		}
		var i int
		if _, err := fmt.Sscanf(line.Text, "%2d", &i); err != nil || len(line.Text) < 2 {
			assert.True(t, line.Partial, line.Text)
			continue
		}
		assert.Greater(t, i, last, "no line comes twice")
		assert.True(t, line.Text == want[i] || line.Partial && strings.HasPrefix(want[i], line.Text), "%q", line.Text)
		last = i
	}
	switch {
	case !l.lossy && failed == nil:
		assert.Equal(t, l.text, got.String())
	case !l.lossy:
		assert.True(t, strings.HasPrefix(l.text, got.String()), "%q", got.String())
	}
}
