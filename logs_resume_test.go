package cwsandbox

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// cutBy shows the beginning of a log and then fails.
func cutBy(fail func(d *logDialog) error) func(d *logDialog) error {
	return func(d *logDialog) error {
		if err := d.show("one\ntw", 6); err != nil {
			return err
		}
		return fail(d)
	}
}

func inBandCode(code string) func(*logDialog) error {
	return func(d *logDialog) error { return d.fail(code) }
}

func statusOf(code codes.Code) func(*logDialog) error {
	return func(*logDialog) error { return status.Error(code, "made by the test") }
}

func reasonOf(code codes.Code, reason string) func(*logDialog) error {
	return func(*logDialog) error { return failure(code, reason) }
}

// goOn shows the rest of the log.
func goOn(d *logDialog) error { return d.show("o\nthree\n", 14) }

// asked compares requests, without the id of the sandbox and the time.
func asked(t *testing.T, book *logBook, want ...*sandboxv1.StreamLogsRequest) {
	t.Helper()
	got := book.seen()
	require.Len(t, got, len(want))
	for i := range want {
		want[i].SandboxId = "sb-1"
		assert.True(t, proto.Equal(want[i], got[i]), "request %d: want %v, got %v", i, want[i], got[i])
	}
}

func textsOf(lines []LogLine) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(line.Text)
		if line.Partial {
			b.WriteString("~")
		}
		b.WriteString("|")
	}
	return b.String()
}

// around asserts delays that are jittered by a tenth.
func around(t *testing.T, got []time.Duration, want ...time.Duration) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		assert.InDelta(t, want[i], got[i], float64(want[i])*(intervalJitter+0.01), "delay %d", i)
	}
}

func TestLogResume(t *testing.T) {
	resumed := &sandboxv1.StreamLogsRequest{Follow: true, Container: "side", ResumeLogSessionId: "s1", ResumeLogOffset: 6}
	for name, fail := range map[string]func(*logDialog) error{
		"STREAM_INTERRUPTED":  inBandCode("STREAM_INTERRUPTED"),
		"UNAVAILABLE":         statusOf(codes.Unavailable),
		"INTERNAL":            statusOf(codes.Internal),
		"UNKNOWN":             statusOf(codes.Unknown),
		"a transient reason":  reasonOf(codes.FailedPrecondition, "CWSANDBOX_RUNNER_UNAVAILABLE"),
		"an unknown reason":   reasonOf(codes.Unavailable, "CWSANDBOX_NEW"),
		"a route that is not": reasonOf(codes.NotFound, "CWSANDBOX_SANDBOX_ROUTE_UNAVAILABLE"),
	} {
		story(t, name, func(t *testing.T, s *script, sb *Sandbox) {
			opts := []LogOption{WithFollow(), WithTail(9), WithTimestamps(), WithContainer("side")}
			first := &sandboxv1.StreamLogsRequest{Follow: true, TailLines: 9, Timestamps: true, Container: "side"}
			book := s.answerLogs(cutBy(fail), goOn)
			lines, err := logLines(t, sb, opts...)
			require.NoError(t, err)
			require.Equal(t, "one|two|three|", textsOf(lines))
			assert.Equal(t, LogCursor{"s1", 8}, lines[1].Cursor)
			asked(t, book, first, resumed)
			around(t, book.gaps(), firstResume)

			s.answerLogs(cutBy(fail), goOn)
			text, err := logText(t, sb, opts...)
			require.NoError(t, err)
			assert.Equal(t, "one\ntwo\nthree\n", text)
		})
	}
	for name, c := range map[string]struct {
		fail func(*logDialog) error
		is   []error
	}{
		"INVALID_RESUME_OFFSET":  {inBandCode("INVALID_RESUME_OFFSET"), []error{ErrStream}},
		"STREAM_TRUNCATED":       {inBandCode("STREAM_TRUNCATED"), []error{ErrStream, ErrTruncated}},
		"STREAM_BACKPRESSURE":    {inBandCode("STREAM_BACKPRESSURE"), []error{ErrStream, ErrBackpressure}},
		"SANDBOX_NOT_FOUND":      {inBandCode("SANDBOX_NOT_FOUND"), []error{ErrStream, ErrNotFound}},
		"PERMISSION_DENIED":      {inBandCode("PERMISSION_DENIED"), []error{ErrStream, ErrPermissionDenied}},
		"an unknown code":        {inBandCode("SOMETHING_NEW"), []error{ErrStream}},
		"no code":                {inBandCode(""), []error{ErrStream}},
		"CANCELLED":              {statusOf(codes.Canceled), nil},
		"DEADLINE_EXCEEDED":      {statusOf(codes.DeadlineExceeded), []error{ErrTimeout}},
		"NOT_FOUND":              {statusOf(codes.NotFound), []error{ErrNotFound}},
		"status denied":          {statusOf(codes.PermissionDenied), []error{ErrPermissionDenied}},
		"INVALID_ARGUMENT":       {statusOf(codes.InvalidArgument), []error{ErrInvalidArgument}},
		"RESOURCE_EXHAUSTED":     {statusOf(codes.ResourceExhausted), []error{ErrResourceExhausted}},
		"DATA_LOSS":              {statusOf(codes.DataLoss), nil},
		"the sandbox is ending":  {reasonOf(codes.Unavailable, "CWSANDBOX_SANDBOX_NOT_RUNNING"), []error{ErrNotRunning}},
		"the sandbox is unknown": {reasonOf(codes.Unavailable, "CWSANDBOX_SANDBOX_NOT_FOUND"), []error{ErrNotFound}},
	} {
		story(t, name+" is final", func(t *testing.T, s *script, sb *Sandbox) {
			book := s.answerLogs(cutBy(c.fail), goOn)
			lines, err := logLines(t, sb, WithFollow())
			require.Error(t, err)
			all(t, err, c.is...)
			assert.Equal(t, "one|tw~|", textsOf(lines))
			assert.Len(t, book.seen(), 1)
		})
	}
	for name, opts := range map[string][]LogOption{"no follow": nil, "no resume": {WithFollow(), WithoutResume()}} {
		story(t, name, func(t *testing.T, s *script, sb *Sandbox) {
			for _, fail := range []func(*logDialog) error{inBandCode("STREAM_INTERRUPTED"), statusOf(codes.Unavailable)} {
				book := s.answerLogs(cutBy(fail), goOn)
				text, err := logText(t, sb, opts...)
				assert.ErrorIs(t, err, ErrUnavailable)
				assert.NotContains(t, err.Error(), "resume have")
				assert.Equal(t, "one\ntw", text)
				assert.Len(t, book.seen(), 1)
			}
		})
	}
	story(t, "a clean end is the end", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(cutBy(func(*logDialog) error { return nil }), goOn)
		text, err := logText(t, sb, WithFollow())
		require.NoError(t, err)
		assert.Equal(t, "one\ntw", text)
		assert.Len(t, book.seen(), 1)
	})
	story(t, "data beside an error", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(d *logDialog) error {
			return d.stream.Send(&sandboxv1.LogEntry{
				Data: []byte("one\ntw"), LogSessionId: "s1", NextLogOffset: 6,
				Error: &sandboxv1.LogStreamError{Code: "STREAM_INTERRUPTED"},
			})
		}, goOn)
		text, err := logText(t, sb, WithFollow())
		require.NoError(t, err)
		assert.Equal(t, "one\ntwo\nthree\n", text)
		asked(t, book, &sandboxv1.StreamLogsRequest{Follow: true},
			&sandboxv1.StreamLogsRequest{Follow: true, ResumeLogSessionId: "s1", ResumeLogOffset: 6})
	})
}

func TestLogResumeAttempts(t *testing.T) {
	story(t, "three in a row", func(t *testing.T, s *script, sb *Sandbox) {
		for _, fail := range []func(*logDialog) error{
			inBandCode("STREAM_INTERRUPTED"), statusOf(codes.Internal), inBandCode("SESSION_NOT_FOUND"),
		} {
			book := s.answerLogs(fail)
			_, err := logLines(t, sb, WithFollow())
			assert.ErrorIs(t, err, ErrUnavailable)
			assert.ErrorContains(t, err, "made by the test")
			assert.ErrorContains(t, err, "; 3 attempts to resume have failed")
			around(t, book.gaps(), 500*time.Millisecond, time.Second, 2*time.Second)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, "logs", e.Op)
		}
	})
	story(t, "data begins the row again", func(t *testing.T, s *script, sb *Sandbox) {
		away := statusOf(codes.Unavailable)
		data := func(at uint64) func(d *logDialog) error {
			return func(d *logDialog) error { return errors.Join(d.show("x", at), away(d)) }
		}
		empty := func(d *logDialog) error { return errors.Join(d.stream.Send(&sandboxv1.LogEntry{}), away(d)) }
		book := s.answerLogs(away, away, away, data(1), empty, away, data(2), data(3), away, empty, away)
		text, err := logText(t, sb, WithFollow())
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.Equal(t, "xxx", text)
		const first, second, third = firstResume, 2 * firstResume, 4 * firstResume
		around(t, book.gaps(), first, second, third, first, second, third, first, first, second, third)
	})
	story(t, "silence is no failure", func(t *testing.T, s *script, sb *Sandbox) {
		idle := func(d *logDialog) error {
			time.Sleep(steadyStream)
			return status.Error(codes.Unavailable, "idle for too long")
		}
		book := s.answerLogs(idle, idle, idle, idle, idle, idle, goOn)
		text, err := logText(t, sb, WithFollow())
		require.NoError(t, err)
		assert.Equal(t, "o\nthree\n", text)
		around(t, book.gaps()[4:5], steadyStream+firstResume)
		assert.Len(t, book.seen(), 7)
	})
	story(t, "the service's wish", func(t *testing.T, s *script, sb *Sandbox) {
		wish := func(d time.Duration) func(*logDialog) error {
			return func(*logDialog) error { return failure(codes.Unavailable, "", retryAfter(d)) }
		}
		book := s.answerLogs(wish(5*time.Second), wish(time.Hour), wish(time.Millisecond), goOn)
		_, err := logText(t, sb, WithFollow())
		require.NoError(t, err)
		around(t, book.gaps(), 5*time.Second, largestResume, 2*time.Second)
	})
}

func TestLogResumeWithoutPlace(t *testing.T) {
	since := time.Date(1999, 12, 31, 0, 0, 0, 0, time.UTC)
	opts := []LogOption{WithFollow(), WithTail(2), WithSince(since), WithTimestamps(), WithContainer("side")}
	original := func() *sandboxv1.StreamLogsRequest {
		return &sandboxv1.StreamLogsRequest{Follow: true, TailLines: 2, SinceTime: timestamppb.New(since), Timestamps: true, Container: "side"}
	}
	loss := func(t time.Time) *sandboxv1.StreamLogsRequest {
		return &sandboxv1.StreamLogsRequest{Follow: true, SinceTime: timestamppb.New(t), Timestamps: true, Container: "side"}
	}
	for _, code := range []string{"SESSION_NOT_FOUND", "REPLAY_GAP", "RUNNER_UNAVAILABLE", "RUNNER_DRAINING"} {
		story(t, code, func(t *testing.T, s *script, sb *Sandbox) {
			begin := time.Now()
			book := s.answerLogs(func(d *logDialog) error {
				assert.NoError(t, d.show("one\ntw", 6))
				time.Sleep(time.Hour)
				return d.fail(code)
			}, statusOf(codes.Unavailable), func(d *logDialog) error {
				return d.stream.Send(&sandboxv1.LogEntry{Data: []byte("three\n"), LogSessionId: "s2", NextLogOffset: 6})
			})
			lines, err := logLines(t, sb, opts...)
			require.NoError(t, err)
			require.Equal(t, "one|tw~|three|", textsOf(lines), "what cannot be completed is not glued to another line")
			assert.Equal(t, LogCursor{"s1", 6}, lines[1].Cursor)
			assert.Equal(t, LogCursor{"s2", 6}, lines[2].Cursor)
			lost := begin.Add(time.Hour)
			asked(t, book, original(), loss(lost), loss(lost))
		})
		story(t, code+" before any data", func(t *testing.T, s *script, sb *Sandbox) {
			book := s.answerLogs(inBandCode(code), inBandCode(code), goOn)
			_, err := logLines(t, sb, opts...)
			require.NoError(t, err)
			asked(t, book, original(), original(), original())
		})
	}
	story(t, "a service without sessions", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.stream.Send(&sandboxv1.LogEntry{Data: []byte("one\ntw")}))
			time.Sleep(time.Minute)
			return status.Error(codes.Unavailable, "away")
		}, goOn)
		lost := time.Now().Add(time.Minute)
		lines, err := logLines(t, sb, opts...)
		require.NoError(t, err)
		assert.Equal(t, "one|tw~|o|three|", textsOf(lines))
		asked(t, book, original(), loss(lost))
	})
	story(t, "a second loss", func(t *testing.T, s *script, sb *Sandbox) {
		later := func(d *logDialog) error {
			assert.NoError(t, d.stream.Send(&sandboxv1.LogEntry{Data: []byte("a\n")}))
			time.Sleep(time.Minute)
			return d.fail("RUNNER_DRAINING")
		}
		book := s.answerLogs(later, later, goOn)
		begin := time.Now()
		_, err := logLines(t, sb, opts...)
		require.NoError(t, err)
		delays := book.gaps()
		asked(t, book, original(), loss(begin.Add(time.Minute)), loss(begin.Add(delays[0]+time.Minute)))
	})
}

func TestLogCursor(t *testing.T) {
	cursor := LogCursor{"s1", 6}
	from := &sandboxv1.StreamLogsRequest{Follow: true, ResumeLogSessionId: "s1", ResumeLogOffset: 6}
	story(t, "goes on", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(statusOf(codes.Unavailable), inBandCode("RUNNER_DRAINING"), func(d *logDialog) error {
			assert.NoError(t, d.show("o\nth", 10))
			return d.fail("RUNNER_UNAVAILABLE")
		}, func(d *logDialog) error { return d.show("ree\n", 14) })
		lines, err := logLines(t, sb, WithFollow(), WithCursor(cursor))
		require.NoError(t, err)
		assert.Equal(t, "o|three|", textsOf(lines))
		asked(t, book, from, from, from, &sandboxv1.StreamLogsRequest{Follow: true, ResumeLogSessionId: "s1", ResumeLogOffset: 10})
	})
	for _, code := range []string{"SESSION_NOT_FOUND", "REPLAY_GAP"} {
		story(t, code+" is final", func(t *testing.T, s *script, sb *Sandbox) {
			for _, before := range []func(*logDialog) error{inBandCode(code), cutBy(inBandCode(code))} {
				book := s.answerLogs(before, goOn)
				_, err := logLines(t, sb, WithFollow(), WithCursor(cursor))
				assert.ErrorIs(t, err, ErrStream)
				var e *Error
				require.ErrorAs(t, err, &e)
				assert.Equal(t, code, e.StreamCode)
				assert.Len(t, book.seen(), 1)
			}
		})
	}
	story(t, "a service that gives no other one", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.stream.Send(&sandboxv1.LogEntry{Data: []byte("o\n")}))
			return status.Error(codes.Unavailable, "away")
		}, goOn)
		_, err := logLines(t, sb, WithFollow(), WithCursor(cursor))
		assert.ErrorIs(t, err, ErrUnavailable)
		assert.Len(t, book.seen(), 1, "there is no place to go on from")
	})
	story(t, "of any line", func(t *testing.T, s *script, sb *Sandbox) {
		const text = "one\n\ntwo\nthree\nunfinished"
		s.answerLogs(func(d *logDialog) error {
			at := d.request.GetResumeLogOffset()
			return d.show(text[at:], uint64(len(text)))
		})
		lines, err := logLines(t, sb, WithFollow())
		require.NoError(t, err)
		require.Len(t, lines, 5)
		for i, line := range lines[:4] {
			rest, err := logLines(t, sb, WithFollow(), WithCursor(line.Cursor))
			require.NoError(t, err)
			assert.Equal(t, lines[i+1:], rest)
		}
	})
}
