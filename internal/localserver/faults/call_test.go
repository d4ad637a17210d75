package faults

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func TestRecords(t *testing.T) {
	t.Run("C-210", func(t *testing.T) {
		bubble(t, func(t *testing.T, f *fixture) {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer top-secret")
			req := &sandboxv1.CreateSandboxRequest{RequestId: "as sent"}
			_, err := f.client.CreateSandbox(ctx, req)
			require.NoError(t, err)
			req.RequestId = "changed by the client"

			calls := f.Calls("CreateSandbox")
			require.Len(t, calls, 1)
			c := calls[0]
			assert.Equal(t, "as sent", c.Request.(*sandboxv1.CreateSandboxRequest).GetRequestId())
			assert.Equal(t, []string{"Bearer top-secret"}, c.Metadata.Get("authorization"))

			var log bytes.Buffer
			slog.New(slog.NewJSONHandler(&log, nil)).Info("call", "call", c, "calls", calls)
			slog.New(slog.NewTextHandler(&log, nil)).Info("call", "call", c, "calls", calls)
			for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
				fmt.Fprintf(&log, verb+verb+verb, c, &c, calls)
			}
			assert.Contains(t, log.String(), "CreateSandbox")
			assert.NotContains(t, log.String(), "top-secret")
		})
	})
}

func TestRecordOfAUnaryCall(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "GetSandbox", Times: 1, Action: FailAfter(codes.Aborted, "no")})
		f.Add(Rule{Method: "GetSandbox", Times: 1, Action: DelayAfter(time.Second)})
		_ = f.get(t)
		_ = f.get(t)
		calls := f.Calls("*")
		require.Len(t, calls, 2)
		for i, c := range calls {
			assert.Equal(t, i+1, c.Number)
			assert.Equal(t, i+1, c.Nth)
			assert.Equal(t, "GetSandbox", c.Method)
			assert.Equal(t, "sb-1", c.SandboxID)
			assert.True(t, c.Executed)
			assert.Equal(t, 1, c.FramesIn)
			assert.NotEmpty(t, c.Peer)
			assert.Equal(t, time.Duration(i)*time.Second, c.End.Sub(c.Start))
		}
		assert.Equal(t, codes.Aborted, status.Code(calls[0].Err))
		assert.Equal(t, 0, calls[0].FramesOut)
		require.NoError(t, calls[1].Err)
		assert.Equal(t, 1, calls[1].FramesOut)
		assert.Equal(t, "call 1: GetSandbox 1 sb-1: Aborted", calls[0].String())
	})
}

func TestRecordOfAStream(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		s, err := f.client.StreamExec(t.Context())
		require.NoError(t, err)
		init := &sandboxv1.ExecStreamInit{SandboxId: "sb-1"}
		require.NoError(t, s.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}}))
		require.NoError(t, s.Send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Stdin{Stdin: []byte("in")}}))
		synctest.Wait()
		c := f.CallsFor("sb-1")[0]
		assert.Zero(t, c.End)
		assert.Contains(t, c.String(), "running")
		assert.Equal(t, "sb-1", c.Request.(*sandboxv1.ExecStreamRequest).GetInit().GetSandboxId())
		assert.Equal(t, 2, c.FramesIn)
		assert.Equal(t, 4, c.FramesOut)

		require.NoError(t, s.CloseSend())
		for err == nil {
			_, err = s.Recv()
		}
		synctest.Wait()
		c = f.CallsFor("sb-1")[0]
		assert.NotZero(t, c.End)
		require.NoError(t, c.Err)
		assert.Equal(t, 5, c.FramesOut)
	})
}

func TestCallsForASandboxBeginWithItsCreation(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		_, err := f.client.CreateSandbox(t.Context(), &sandboxv1.CreateSandboxRequest{})
		require.NoError(t, err)
		_ = f.get(t)
		_ = f.exec(t)
		_, err = f.client.GetSandbox(t.Context(), &sandboxv1.GetSandboxRequest{SandboxId: "sb-2"})
		require.NoError(t, err)
		var methods []string
		for _, c := range f.CallsFor("sb-1") {
			methods = append(methods, c.Method)
		}
		assert.Equal(t, []string{"CreateSandbox", "GetSandbox", "StreamExec"}, methods)
	})
}

func TestWaitForCalls(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		done := make(chan error, 1)
		go func() { done <- f.WaitForCalls(t.Context(), "GetSandbox", 2) }()
		_ = f.exec(t)
		_ = f.get(t)
		synctest.Wait()
		require.Empty(t, done)
		_ = f.get(t)
		require.NoError(t, <-done)
		require.NoError(t, f.WaitForCalls(t.Context(), "*", 3))

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := f.WaitForCalls(ctx, "GetSandbox", 3)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "2 of 3 calls of GetSandbox")
	})
}

func TestOldCallsAreForgottenButCounted(t *testing.T) {
	r := newRecords()
	r.limit = 3000
	m := lookup(sandboxv1.SandboxService_WriteFile_FullMethodName)
	for i := range 5 {
		c := r.begin(t.Context(), m)
		r.received(c, &sandboxv1.WriteFileRequest{Content: make([]byte, 500), Path: fmt.Sprint(i)})
	}
	kept := r.find(func(*Call) bool { return true })
	require.Len(t, kept, 2)
	assert.Equal(t, 4, kept[0].Number)
	sum, _ := r.sum("WriteFile")
	assert.Equal(t, 5, sum.received)

	r.received(r.begin(t.Context(), m), &sandboxv1.WriteFileRequest{Content: make([]byte, 5000)})
	kept = r.find(func(*Call) bool { return true })
	require.Len(t, kept, 1, "the newest call stays, however large")
	assert.Equal(t, 6, kept[0].Number)
}

// A stream can send its first message when its call is forgotten already.
func TestForgottenCallsWeighNothing(t *testing.T) {
	r := newRecords()
	r.limit = callSize
	m := lookup(sandboxv1.SandboxService_StreamExec_FullMethodName)
	late := r.begin(t.Context(), m)
	r.begin(t.Context(), m)
	r.received(late, &sandboxv1.WriteFileRequest{Content: make([]byte, 500)})
	assert.Equal(t, callSize, r.size)
}

// What the handlers of other services do is neither recorded nor disturbed.
func TestOtherServicesPass(t *testing.T) {
	bubble(t, func(t *testing.T, f *fixture) {
		f.Add(Rule{Method: "*", Action: Fail(codes.Aborted, "no")})
		require.ErrorContains(t, f.invoke(t, "/grpc.health.v1.Health/Check"), "unknown service")
		assert.Zero(t, f.Received("*"))
	})
}
