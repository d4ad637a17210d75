package faults

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

var allFrames = []string{"ready", "one", "two", "exit"}

// effect is what a client should see of a call that a rule acts on.
type effect struct {
	code   codes.Code
	took   time.Duration
	id     string
	frames []string
}

func (e effect) check(t *testing.T, got outcome) {
	t.Helper()
	want := outcome{took: e.took, id: e.id, frames: e.frames}
	assert.Equal(t, e.code, status.Code(got.err), "%v", got.err)
	got.err = nil
	assert.Equal(t, want, got)
}

var (
	plainGet  = effect{id: "sb-1"}
	plainExec = effect{frames: allFrames}
)

// actionRows holds every action and its effects; a nil effect says that the action does not fit such calls.
var actionRows = []struct {
	name   string
	action Action
	unary  *effect
	stream *effect
}{
	{"Fail", Fail(codes.Aborted, "no"), &effect{code: codes.Aborted}, &effect{code: codes.Aborted}},
	{"FailAfter", FailAfter(codes.Aborted, "no"), &effect{code: codes.Aborted},
		&effect{code: codes.Aborted, frames: allFrames}},
	{"DropResponse", DropResponse(), &effect{code: codes.Unavailable}, &effect{code: codes.Unavailable}},
	{"CutConnection", CutConnection(), &effect{code: codes.Unavailable}, &effect{code: codes.Unavailable}},
	{"GoAway", GoAway(), &plainGet, &plainExec},
	{"Delay", Delay(time.Second), &effect{id: "sb-1", took: time.Second}, &effect{frames: allFrames, took: time.Second}},
	{"Delay past the deadline", Delay(time.Hour), &effect{code: codes.DeadlineExceeded, took: patience},
		&effect{code: codes.DeadlineExceeded, took: patience}},
	{"DelayAfter", DelayAfter(time.Second), &effect{id: "sb-1", took: time.Second},
		&effect{frames: allFrames, took: time.Second}},
	{"Hang", Hang(), &effect{code: codes.DeadlineExceeded, took: patience},
		&effect{code: codes.DeadlineExceeded, took: patience}},
	{"Mutate", Mutate(mutate), &effect{id: "mutated"}, &effect{frames: []string{"ready", "mutated", "mutated", "exit"}}},
	{"CutStream with a status", CutStream(Frames(2), EndStatus(codes.Aborted, "no")), nil,
		&effect{code: codes.Aborted, frames: []string{"ready", "one"}}},
	{"CutStream by loss", CutStream(Frames(2), EndConnection()), nil,
		&effect{code: codes.Unavailable, frames: []string{"ready", "one"}, took: leaveTime}},
	{"CutStream with success", CutStream(Frames(2), EndOK()), nil, &effect{frames: []string{"ready", "one"}}},
	{"CutStream at the beginning", CutStream(Frames(0), EndOK()), nil, &effect{}},
	{"CutStream within a frame", CutStream(Bytes(4), EndOK()), nil, &effect{frames: []string{"ready", "one", "t"}}},
	{"CutStream between frames", CutStream(Bytes(3), EndOK()), nil, &effect{frames: []string{"ready", "one"}}},
	{"CutStream beyond the end", CutStream(Frames(9), EndStatus(codes.Aborted, "no")), nil, &plainExec},
	{"InBandError", InBandError(2, "STREAM_LOST", "gone"), nil,
		&effect{frames: []string{"ready", "one", "STREAM_LOST: gone"}}},
	{"Stall", Stall(1), nil, &effect{code: codes.DeadlineExceeded, frames: []string{"ready"}, took: patience}},
	{"Stall at once", Stall(0), nil, &effect{code: codes.DeadlineExceeded, took: patience}},
	{"WithholdReady", WithholdReady(time.Second), nil, &effect{frames: allFrames, took: time.Second}},
	{"WithholdReady for ever", WithholdReady(0), nil, &effect{frames: allFrames[1:]}},
}

func mutate(m proto.Message) {
	switch m := m.(type) {
	case *sandboxv1.Sandbox:
		m.SandboxId = "mutated"
	case *sandboxv1.ExecStreamResponse:
		if m.GetOutput() != nil {
			m.GetOutput().Data = []byte("mutated")
		}
	}
}

func TestActions(t *testing.T) {
	t.Run("C-205", func(t *testing.T) {
		for _, row := range actionRows {
			t.Run(row.name, func(t *testing.T) {
				if row.unary != nil {
					t.Run("unary", func(t *testing.T) { testAction(t, "GetSandbox", row.action, (*fixture).get, plainGet, *row.unary) })
				} else {
					assert.Panics(t, func() { NewLayer().Add(Rule{Method: "GetSandbox", Action: row.action}) })
				}
				t.Run("stream", func(t *testing.T) { testAction(t, "StreamExec", row.action, (*fixture).exec, plainExec, *row.stream) })
			})
		}
	})
}

// testAction applies an action to the second of three calls only, and to three of three.
func testAction(t *testing.T, method string, a Action, call func(*fixture, *testing.T) outcome, plain, acted effect) {
	t.Helper()
	t.Run("the second call", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fixture) {
			h := f.Add(Rule{Method: method, After: 1, Times: 1, Action: a})
			for _, want := range []effect{plain, acted, plain} {
				want.check(t, call(f, t))
			}
			assert.Equal(t, 1, h.Hits())
		})
	})
	t.Run("every call", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fixture) {
			h := f.Add(Rule{Method: method, Action: a})
			for range 3 {
				acted.check(t, call(f, t))
			}
			assert.Equal(t, 3, h.Hits())
		})
	})
}

func TestEffects(t *testing.T) {
	t.Run("C-206", func(t *testing.T) {
		for _, row := range []struct {
			name   string
			action Action
			effect bool
		}{
			{"DropResponse", DropResponse(), true},
			{"FailAfter", FailAfter(codes.Unavailable, "lost"), true},
			{"Fail", Fail(codes.Unavailable, "no"), false},
			{"CutConnection", CutConnection(), false},
		} {
			t.Run(row.name, func(t *testing.T) {
				bubble(t, func(t *testing.T, f *fixture) {
					h := f.Add(Rule{Method: "*", Action: row.action})
					require.Equal(t, codes.Unavailable, status.Code(f.get(t).err))
					require.Equal(t, codes.Unavailable, status.Code(f.exec(t).err))
					executed := 0
					if row.effect {
						executed = 1
					}
					for _, method := range []string{"GetSandbox", "StreamExec"} {
						assert.Equal(t, 1, f.Received(method), method)
						assert.Equal(t, executed, f.Executed(method), method)
					}
					h.Release()
					plainGet.check(t, f.get(t))
					assert.Equal(t, 2, f.Received("GetSandbox"))
					assert.Equal(t, executed+1, f.Executed("GetSandbox"))
				})
			})
		}
	})
}

// The handler of StreamLogs sends one message and is then silent: a rule must act without waiting for another one.
func TestSilentStreams(t *testing.T) {
	t.Run("C-207", func(t *testing.T) {
		for _, row := range []struct {
			name   string
			action Action
			code   codes.Code
			inBand string
		}{
			{"status", CutStream(Frames(1), EndStatus(codes.Internal, "no")), codes.Internal, ""},
			{"loss", CutStream(Frames(1), EndConnection()), codes.Unavailable, ""},
			{"success", CutStream(Frames(1), EndOK()), codes.OK, ""},
			{"in band", InBandError(1, "SESSION_LOST", "gone"), codes.OK, "SESSION_LOST"},
		} {
			t.Run(row.name, func(t *testing.T) {
				bubble(t, func(t *testing.T, f *fixture) {
					f.Add(Rule{Method: "StreamLogs", Action: row.action})
					entries, err := f.logs(t)
					assert.Equal(t, row.code, status.Code(err))
					require.NotEmpty(t, entries)
					assert.Equal(t, "line\n", string(entries[0].GetData()))
					last := entries[len(entries)-1]
					assert.Equal(t, row.inBand, last.GetError().GetCode())
				})
			})
		}
	})
}

// A log that is cut within an entry can be resumed there.
func TestCutLogEntry(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "StreamLogs", Action: CutStream(Bytes(3), EndOK())})
		entries, err := f.logs(t)
		require.NoError(t, err)
		require.Len(t, entries, 1)
		assert.Equal(t, "lin", string(entries[0].GetData()))
		assert.EqualValues(t, 3, entries[0].GetNextLogOffset())
	})
}

func TestReleaseLetsCallsGo(t *testing.T) {
	for _, row := range []struct {
		name   string
		action Action
		call   func(*fixture, *testing.T) outcome
		want   effect
	}{
		{"Hang", Hang(), (*fixture).get, plainGet},
		{"Hang a stream", Hang(), (*fixture).exec, plainExec},
		{"Delay", Delay(patience / 2), (*fixture).get, plainGet},
		{"Stall", Stall(2), (*fixture).exec, plainExec},
		{"Stall at once", Stall(0), (*fixture).exec, plainExec},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				h := f.Add(Rule{Method: "*", Action: row.action})
				done := make(chan outcome)
				go func() { done <- row.call(f, t) }()
				synctest.Wait()
				require.Empty(t, done, "the rule holds nothing")
				require.Equal(t, 1, h.Hits())
				h.Release()
				h.Release()
				row.want.check(t, <-done)
				row.want.check(t, row.call(f, t))
			})
		})
	}
}

func TestGoAwayMovesNewCalls(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", When: func(c Call) bool { return c.Nth == 2 }, Action: GoAway()})
		for range 3 {
			plainGet.check(t, f.get(t))
			synctest.Wait()
		}
		calls := f.Calls("GetSandbox")
		require.Len(t, calls, 3)
		assert.Equal(t, calls[0].Peer, calls[1].Peer)
		assert.NotEqual(t, calls[1].Peer, calls[2].Peer)
	})
}
