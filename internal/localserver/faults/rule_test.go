package faults

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestFirstRuleThatFitsActsAlone(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		other := f.Add(Rule{Method: "CreateSandbox", Action: Fail(codes.Internal, "other method")})
		streams := f.Add(Rule{Method: "*", Action: CutStream(Frames(0), EndOK())})
		first := f.Add(Rule{Method: "GetSandbox", Times: 1, Action: Fail(codes.Aborted, "first")})
		second := f.Add(Rule{Method: "*", Times: 1, Action: Fail(codes.NotFound, "second")})

		effect{code: codes.Aborted}.check(t, f.get(t))
		effect{code: codes.NotFound}.check(t, f.get(t))
		plainGet.check(t, f.get(t))
		for h, hits := range map[*Handle]int{other: 0, streams: 0, first: 1, second: 1} {
			assert.Equal(t, hits, h.Hits(), h.rule.Action.name)
		}
	})
}

func TestAfterCountsFittingCallsOnly(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", After: 2, Times: 2, Action: Fail(codes.Aborted, "no")})
		for _, code := range []codes.Code{codes.OK, codes.OK, codes.Aborted, codes.Aborted, codes.OK} {
			require.NoError(t, f.exec(t).err)
			assert.Equal(t, code, status.Code(f.get(t).err))
		}
	})
}

func TestWhenSeesTheCall(t *testing.T) {
	for _, row := range []struct {
		name string
		when func(Call) bool
	}{
		{"nth of the method", func(c Call) bool { return c.Nth == 2 }},
		{"number", func(c Call) bool { return c.Number == 3 }},
		{"metadata", func(c Call) bool { return len(c.Metadata.Get("mark")) > 0 }},
		{"request", func(c Call) bool {
			switch r := c.Request.(type) {
			case *sandboxv1.GetSandboxRequest:
				return r.GetSandboxId() == "marked"
			case *sandboxv1.ExecStreamRequest:
				return r.GetInit().GetSandboxId() == "marked"
			}
			return false
		}},
		{"sandbox", func(c Call) bool { return c.SandboxID == "marked" }},
	} {
		t.Run(row.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				_, err := f.client.CreateSandbox(t.Context(), &sandboxv1.CreateSandboxRequest{})
				require.NoError(t, err)
				f.Add(Rule{Method: "GetSandbox", When: row.when, Action: Fail(codes.Aborted, "no")})
				require.NoError(t, f.get(t).err)
				ctx := metadata.AppendToOutgoingContext(t.Context(), "mark", "x")
				_, err = f.client.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: "marked"})
				assert.Equal(t, codes.Aborted, status.Code(err))
			})
		})
	}
}

// A rule that looks at the first message of a stream must not take it away from the handler.
func TestWhenOnAStreamLeavesItWhole(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		looked := 0
		look := func(c Call) bool {
			looked++
			return c.Request.(*sandboxv1.ExecStreamRequest).GetInit().GetCommand()[0] == "false"
		}
		f.Add(Rule{Method: "StreamExec", When: look, Action: Fail(codes.Aborted, "no")})
		f.Add(Rule{Method: "StreamExec", When: look, Action: Fail(codes.Aborted, "no")})
		plainExec.check(t, f.exec(t))
		assert.Equal(t, 2, looked)
		assert.Equal(t, 1, f.Calls("StreamExec")[0].FramesIn)
	})
}

func TestWhenOnAStreamThatSendsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		h := f.Add(Rule{Method: "StreamExec", When: func(c Call) bool { return c.Request != nil }, Action: Hang()})
		s, err := f.client.StreamExec(t.Context())
		require.NoError(t, err)
		require.NoError(t, s.CloseSend())
		_, err = s.Recv()
		assert.Equal(t, codes.Unknown, status.Code(err), "the handler returns io.EOF: %v", err)
		assert.Zero(t, h.Hits())
	})
}

func TestImpossibleRulesPanic(t *testing.T) {
	for _, row := range []struct {
		name string
		add  func()
		text string
	}{
		{"no such method", func() { NewLayer().Add(Rule{Method: "CreateSandboxes", Action: Hang()}) }, `no method "CreateSandboxes"`},
		{"no method", func() { NewLayer().Add(Rule{Action: Hang()}) }, `no method ""`},
		{"no action", func() { NewLayer().Add(Rule{Method: "*"}) }, "without an action"},
		{"action for streams", func() { NewLayer().Add(Rule{Method: "GetSandbox", Action: Stall(1)}) }, "Stall does not fit GetSandbox"},
		{"action for commands", func() { NewLayer().Add(Rule{Method: "StreamLogs", Action: WithholdReady(0)}) }, "WithholdReady does not fit StreamLogs"},
		{"error without code", func() { Fail(codes.OK, "fine") }, "other than OK"},
		{"place without bytes", func() { Bytes(0) }, "positive"},
		{"cut without ending", func() { CutStream(Frames(1), Ending{}) }, "ending"},
	} {
		t.Run(row.name, func(t *testing.T) {
			defer func() { assert.Contains(t, recover(), row.text) }()
			row.add()
		})
	}
}

func TestReleaseEndsTheRule(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "*", Action: Fail(codes.Aborted, "one")})
		h := f.Add(Rule{Method: "*", Action: Fail(codes.Aborted, "two")})
		h.Release()
		effect{code: codes.Aborted}.check(t, f.get(t))
		f.Release()
		plainGet.check(t, f.get(t))
	})
}

func TestHangingCallEndsWithItsClient(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", Action: Hang()})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := f.client.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{})
		require.Equal(t, codes.Canceled, status.Code(err))
		synctest.Wait()
		c := f.Calls("GetSandbox")[0]
		assert.Equal(t, codes.Canceled, status.Code(c.Err))
		assert.Equal(t, time.Second, c.End.Sub(c.Start))
	})
}

func TestDetails(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", Action: Fail(codes.Code(77), "odd",
			Violation("spec.tags[0]", "too long"), Violation("spec.tags[1]", "empty"),
			RetryAfter(-time.Second), RetryAfter(0),
			Extra(&errdetails.ErrorInfo{Reason: "SECOND"}),
			Reason("FIRST"), Metadata("a", "1"), Metadata("b", "2"))})
		_, err := f.client.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{})
		st := status.Convert(err)
		assert.Equal(t, codes.Code(77), st.Code())
		assert.Equal(t, "odd", st.Message())
		details := st.Details()
		require.Len(t, details, 5)
		info := details[0].(*errdetails.ErrorInfo)
		assert.Equal(t, "FIRST", info.GetReason())
		assert.Equal(t, Domain, info.GetDomain())
		assert.Equal(t, map[string]string{"a": "1", "b": "2"}, info.GetMetadata())
		violations := details[1].(*errdetails.BadRequest).GetFieldViolations()
		require.Len(t, violations, 2)
		assert.Equal(t, "spec.tags[1]", violations[1].GetField())
		assert.Equal(t, "empty", violations[1].GetDescription())
		assert.Equal(t, -time.Second, details[2].(*errdetails.RetryInfo).GetRetryDelay().AsDuration())
		assert.Zero(t, details[3].(*errdetails.RetryInfo).GetRetryDelay().AsDuration())
		assert.Equal(t, "SECOND", details[4].(*errdetails.ErrorInfo).GetReason())
	})
}

func TestReasonOfAnotherDomain(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", Action: Fail(codes.Internal, "no", ReasonDomain("example.com"), Reason("R"))})
		info := status.Convert(f.get(t).err).Details()[0].(*errdetails.ErrorInfo)
		assert.True(t, proto.Equal(&errdetails.ErrorInfo{Reason: "R", Domain: "example.com"}, info), "%v", info)
	})
}

func TestRawDetails(t *testing.T) {
	for _, method := range []string{"GetSandbox", "StreamExec"} {
		t.Run(method, func(t *testing.T) {
			bubble(t, func(t *testing.T, f *fixture) {
				f.Add(Rule{Method: method, Action: Fail(codes.Internal, "no", RawDetails([]byte{0xff}, []byte("x")), Reason("unsent"))})
				trailer := f.trailer(t, method)
				assert.Equal(t, []string{"\xff", "x"}, trailer.Get(detailsKey))
			})
		})
	}
}

// trailer makes a call that fails and returns its trailer.
func (f *fixture) trailer(t *testing.T, method string) metadata.MD {
	var trailer metadata.MD
	if method == "GetSandbox" {
		_, err := f.client.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{}, grpc.Trailer(&trailer))
		require.Error(t, err)
		return trailer
	}
	s, err := f.client.StreamExec(t.Context())
	require.NoError(t, err)
	_, err = s.Recv()
	require.Error(t, err)
	return s.Trailer()
}
