package cwsandbox

import (
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestLogOptions(t *testing.T) {
	since := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	cursor := LogCursor{Session: "s0", Offset: 7}
	story(t, "what is asked for", func(t *testing.T, s *script, sb *Sandbox) {
		for _, c := range []struct {
			opts []LogOption
			want *sandboxv1.StreamLogsRequest
		}{
			{nil, &sandboxv1.StreamLogsRequest{}},
			{[]LogOption{nil, WithFollow()}, &sandboxv1.StreamLogsRequest{Follow: true}},
			{[]LogOption{WithTail(2), WithTail(3)}, &sandboxv1.StreamLogsRequest{TailLines: 3}},
			{[]LogOption{WithTail(math.MaxInt32)}, &sandboxv1.StreamLogsRequest{TailLines: math.MaxInt32}},
			{[]LogOption{WithSince(since)}, &sandboxv1.StreamLogsRequest{SinceTime: timestamppb.New(since)}},
			{[]LogOption{WithSince(since), WithSince(time.Time{})}, &sandboxv1.StreamLogsRequest{}},
			{[]LogOption{WithTimestamps()}, &sandboxv1.StreamLogsRequest{Timestamps: true}},
			{[]LogOption{WithContainer("side")}, &sandboxv1.StreamLogsRequest{Container: "side"}},
			{[]LogOption{WithFollow(), WithTail(1), WithSince(since), WithTimestamps(), WithContainer("side"), WithoutResume()},
				&sandboxv1.StreamLogsRequest{Follow: true, TailLines: 1, SinceTime: timestamppb.New(since), Timestamps: true, Container: "side"}},
			{[]LogOption{WithCursor(cursor), WithFollow(), WithContainer("side")},
				&sandboxv1.StreamLogsRequest{Follow: true, Container: "side", ResumeLogSessionId: "s0", ResumeLogOffset: 7}},
			{[]LogOption{WithCursor(LogCursor{}), WithTail(1)}, &sandboxv1.StreamLogsRequest{TailLines: 1}},
		} {
			book := s.answerLogs(func(*logDialog) error { return nil })
			lines, err := logLines(t, sb, c.opts...)
			require.NoError(t, err)
			assert.Empty(t, lines)
			text, err := logText(t, sb, c.opts...)
			require.NoError(t, err)
			assert.Empty(t, text)
			c.want.SandboxId = "sb-1"
			require.Len(t, book.seen(), 2)
			for _, got := range book.seen() {
				assert.True(t, proto.Equal(c.want, got), "want %v, got %v", c.want, got)
			}
		}
	})
	story(t, "what is refused", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(*logDialog) error { return nil })
		for _, c := range []struct {
			field string
			opts  []LogOption
		}{
			{"tail", []LogOption{WithTail(0)}},
			{"tail", []LogOption{WithTail(-1)}},
			{"tail", []LogOption{WithTail(math.MaxInt32 + 1)}},
			{"since", []LogOption{WithSince(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))}},
			{"container", []LogOption{WithContainer("a\x00b")}},
			{"container", []LogOption{WithContainer("\xff")}},
			{"cursor", []LogOption{WithCursor(cursor)}},
			{"cursor", []LogOption{WithFollow(), WithCursor(LogCursor{Session: "s", Offset: -1})}},
			{"cursor", []LogOption{WithFollow(), WithCursor(LogCursor{Offset: 1})}},
			{"cursor", []LogOption{WithFollow(), WithCursor(LogCursor{Session: "\xff"})}},
			{"cursor", []LogOption{WithFollow(), WithCursor(cursor), WithTail(1)}},
			{"cursor", []LogOption{WithFollow(), WithCursor(cursor), WithSince(since)}},
			{"cursor", []LogOption{WithFollow(), WithCursor(cursor), WithTimestamps()}},
		} {
			_, err := logLines(t, sb, c.opts...)
			r, openErr := sb.OpenLogs(t.Context(), c.opts...)
			assert.Nil(t, r)
			for _, err := range []error{err, openErr} {
				var e *Error
				require.ErrorAs(t, err, &e, c.field)
				assert.ErrorIs(t, err, ErrInvalidArgument)
				assert.Equal(t, "logs", e.Op)
				require.NotEmpty(t, e.Violations)
				assert.Equal(t, c.field, e.Violations[0].Field)
			}
		}
		assert.Empty(t, book.seen())
	})
	story(t, "a range that does not begin sends nothing", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(*logDialog) error { return nil })
		_ = sb.Logs(t.Context())
		assert.Empty(t, book.seen())
	})
}

func TestLogsByState(t *testing.T) {
	refused := func(*logDialog) error { return failure(codes.FailedPrecondition, "CWSANDBOX_SANDBOX_NOT_RUNNING") }
	story(t, "L-019 one shot", func(t *testing.T, s *script, sb *Sandbox) {
		for _, state := range []State{StateTerminating, StateCompleted, StateFailed, StateTerminated} {
			sb.s.info.State = state
			book := s.answerLogs(refused)
			_, err := logLines(t, sb)
			assert.ErrorIs(t, err, ErrNotRunning, "%v", state)
			_, err = logText(t, sb)
			assert.ErrorIs(t, err, ErrNotRunning, "%v", state)
			assert.Len(t, book.seen(), 2, "it is the service that has refused")

			s.answerLogs(func(d *logDialog) error { return d.show("kept for longer\n", 16) })
			text, err := logText(t, sb)
			require.NoError(t, err)
			assert.Equal(t, "kept for longer\n", text)
		}
		sb.s.info.stopped = true
		sb.s.endLife(errStopped)
		text, err := logText(t, sb)
		require.NoError(t, err, "after a stop of this client, too")
		assert.Equal(t, "kept for longer\n", text)
	})
	story(t, "L-019 follow", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(refused)
		for _, c := range []struct {
			state State
			also  []error
		}{
			{StateTerminating, nil}, {StateCompleted, nil}, {StateFailed, []error{ErrFailed}}, {StateTerminated, []error{ErrTerminated}},
		} {
			sb.s.info.State = c.state
			_, err := logLines(t, sb, WithFollow())
			all(t, err, append(c.also, ErrNotRunning)...)
			_, err = sb.OpenLogs(t.Context(), WithFollow())
			all(t, err, append(c.also, ErrNotRunning)...)
		}
		assert.Empty(t, book.seen())
	})
	story(t, "gone", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(refused)
		sb.s.gone = true
		for _, opts := range [][]LogOption{nil, {WithFollow()}} {
			_, err := logLines(t, sb, opts...)
			assert.ErrorIs(t, err, ErrNotFound)
		}
		assert.Empty(t, book.seen())
	})
}

func TestLogLines(t *testing.T) {
	story(t, "across frames", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.show("one\ntw", 6))
			time.Sleep(time.Second)
			assert.NoError(t, d.show("o\n\nthree\r\n\x00\xff\nun", 21))
			assert.NoError(t, d.stream.Send(&sandboxv1.LogEntry{}))
			time.Sleep(time.Second)
			return d.show("finished", 29)
		})
		begin := time.Now().UTC()
		lines, err := logLines(t, sb)
		require.NoError(t, err)
		assert.Equal(t, []LogLine{
			{"one", begin, false, LogCursor{"s1", 4}},
			{"two", begin, false, LogCursor{"s1", 8}},
			{"", begin.Add(time.Second), false, LogCursor{"s1", 9}},
			{"three\r", begin.Add(time.Second), false, LogCursor{"s1", 16}},
			{"\x00\xff", begin.Add(time.Second), false, LogCursor{"s1", 19}},
			{"unfinished", begin.Add(time.Second), true, LogCursor{"s1", 29}},
		}, lines)
	})
	story(t, "timestamps", func(t *testing.T, s *script, sb *Sandbox) {
		const first, second = "2026-01-02T03:04:05.000000006Z", "2026-01-02T05:04:06+01:00"
		s.answerLogs(func(d *logDialog) error {
			return d.show(first+" one\n"+second+" two\nno time\n"+first+"\n", 1000)
		})
		lines, err := logLines(t, sb, WithTimestamps())
		require.NoError(t, err)
		at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
		require.Len(t, lines, 4)
		assert.Equal(t, first+" one", lines[0].Text)
		assert.Equal(t, at, lines[0].Time)
		assert.Equal(t, time.Date(2026, 1, 2, 4, 4, 6, 0, time.UTC), lines[1].Time)
		assert.Equal(t, time.Now().UTC(), lines[2].Time, "that of the entry")
		assert.Equal(t, at, lines[3].Time)
		lines, err = logLines(t, sb)
		require.NoError(t, err)
		assert.Equal(t, time.Now().UTC(), lines[0].Time, "a text that looks like a time is none")
	})
	story(t, "a long line comes in pieces", func(t *testing.T, s *script, sb *Sandbox) {
		text := strings.Repeat("x", maxLine-1) + "y" + "rest\nshort\n" + strings.Repeat("z", maxLine) + "\n"
		s.answerLogs(func(d *logDialog) error {
			for rest, at := text, 0; rest != ""; {
				n := min(len(rest), 300_000)
				at += n
				if err := d.show(rest[:n], uint64(at)); err != nil {
					return err
				}
				rest = rest[n:]
			}
			return nil
		})
		lines, err := logLines(t, sb)
		require.NoError(t, err)
		require.Len(t, lines, 4)
		assert.True(t, lines[0].Partial && lines[0].Text == text[:maxLine])
		assert.Equal(t, LogCursor{"s1", maxLine}, lines[0].Cursor)
		assert.Equal(t, LogLine{"rest", lines[0].Time, false, LogCursor{"s1", maxLine + 5}}, lines[1])
		assert.Equal(t, "short", lines[2].Text)
		assert.Equal(t, LogLine{text[maxLine+11 : 2*maxLine+11], lines[3].Time, false, LogCursor{"s1", int64(len(text))}}, lines[3])
	})
	story(t, "no cursor that could be used", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.stream.Send(&sandboxv1.LogEntry{Data: []byte("a\n"), NextLogOffset: 2}))
			assert.NoError(t, d.show("b\n", math.MaxUint64))
			return d.show("c\nd\n", 1)
		})
		lines, err := logLines(t, sb)
		require.NoError(t, err)
		require.Len(t, lines, 4)
		for _, line := range lines[:3] {
			assert.Zero(t, line.Cursor, line.Text)
		}
		assert.Zero(t, lines[0].Time, "the service has told none")
	})
	story(t, "an unfinished line stands before the error", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.show("one\ntw", 6))
			return status.Error(codes.PermissionDenied, "no more")
		})
		lines, err := logLines(t, sb, WithFollow())
		assert.ErrorIs(t, err, ErrPermissionDenied)
		require.Len(t, lines, 2)
		assert.Equal(t, "tw", lines[1].Text)
		assert.True(t, lines[1].Partial)
	})
}

func TestLogReader(t *testing.T) {
	story(t, "every way to read", func(t *testing.T, s *script, sb *Sandbox) {
		text := "one\ntwo\x00\xff\n" + strings.Repeat("x", 100)
		s.answerLogs(func(d *logDialog) error {
			for i := range len(text) {
				if err := d.show(text[i:i+1], uint64(i)+1); err != nil {
					return err
				}
			}
			return nil
		})
		r, err := sb.OpenLogs(t.Context())
		require.NoError(t, err)
		require.NoError(t, iotest.TestReader(r, []byte(text)))
		require.NoError(t, r.Close())

		for name, wrap := range map[string]func(io.Reader) io.Reader{
			"byte by byte": iotest.OneByteReader, "halves": iotest.HalfReader, "data with its error": iotest.DataErrReader,
		} {
			r, err := sb.OpenLogs(t.Context())
			require.NoError(t, err)
			got, err := io.ReadAll(wrap(r))
			require.NoError(t, err, name)
			assert.Equal(t, text, string(got), name)
		}
	})
	story(t, "an error stays", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs(func(d *logDialog) error {
			return d.stream.Send(&sandboxv1.LogEntry{
				Data: []byte("last words"), Error: &sandboxv1.LogStreamError{Code: "STREAM_TRUNCATED", Message: "lost"},
			})
		})
		r, err := sb.OpenLogs(t.Context())
		require.NoError(t, err)
		text, err := read(r)
		assert.Equal(t, "last words", text)
		all(t, err, ErrTruncated, ErrStream)
		_, again := r.Read(make([]byte, 1))
		assert.Equal(t, err, again)
		assert.EqualError(t, err, "cwsandbox: logs sb-1: lost (STREAM_TRUNCATED)")
	})
	story(t, "nothing to read into", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs((*logDialog).hang)
		r, err := sb.OpenLogs(t.Context(), WithFollow())
		require.NoError(t, err)
		n, err := r.Read(nil)
		assert.NoError(t, err)
		assert.Zero(t, n)
		require.NoError(t, r.Close())
	})
}
