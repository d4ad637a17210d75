package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

func TestSentinelsThatAreOthersToo(t *testing.T) {
	for _, row := range []struct{ sentinel, also error }{
		{ErrCommandTimeout, ErrTimeout},
		{ErrFileNotFound, ErrFile},
		{ErrFileNotFound, fs.ErrNotExist},
		{ErrFilePermission, ErrFile},
		{ErrFilePermission, fs.ErrPermission},
		{ErrIsDirectory, ErrFile},
		{ErrFileTooLarge, ErrFile},
		{ErrBackpressure, ErrStream},
	} {
		assert.ErrorIs(t, call{op: "x"}.refuse("no", row.sentinel), row.also)
		assert.NotErrorIs(t, call{op: "x"}.refuse("no", row.also), row.sentinel)
		assert.NotEmpty(t, row.sentinel.Error())
	}
}

func TestRefuse(t *testing.T) {
	cause := errors.New("cause")
	err := call{op: "read file", sandbox: "sb-1", path: "/a b"}.refuse("not now", ErrNotRunning, cause)
	assert.EqualError(t, err, `cwsandbox: read file sb-1 "/a b": not now`)
	assert.ErrorIs(t, err, ErrNotRunning)
	assert.ErrorIs(t, err, cause)

	_, isStatus := status.FromError(err)
	assert.False(t, isStatus, "the service was not asked")

	var e *Error
	require.ErrorAs(t, call{op: "get", sandbox: "sb-1"}.refuse("gone", ErrNotFound), &e)
	assert.Equal(t, "sandbox", e.Resource)
	require.ErrorAs(t, call{op: "get volume", resource: "volume"}.refuse("gone", ErrNotFound), &e)
	assert.Equal(t, "volume", e.Resource)
}

func TestWrapLooksAtTheErrorItself(t *testing.T) {
	c := call{op: "exec", sandbox: "sb-2"}
	assert.NoError(t, c.wrap(nil))

	own := call{op: "read file", sandbox: "sb-1"}.wrap(answered(codes.Unavailable, "", "away"))
	assert.Same(t, own, c.wrap(own))

	// The input of one command is the output of another, which fails.
	err := c.wrap(fmt.Errorf("read standard input: %w", own))
	assert.EqualError(t, err, "cwsandbox: exec sb-2: read standard input: cwsandbox: read file sb-1: away")
	assert.ErrorIs(t, err, ErrUnavailable, "the cause is in the chain")

	assert.ErrorIs(t, c.wrap(context.DeadlineExceeded), ErrTimeout)
	assert.ErrorIs(t, c.wrap(context.DeadlineExceeded), context.DeadlineExceeded)
	assert.NotErrorIs(t, c.wrap(context.Canceled), ErrTimeout)
	assert.ErrorIs(t, c.wrap(context.Canceled), context.Canceled)
}

func TestErrorText(t *testing.T) {
	rpc := answered(codes.InvalidArgument, ReasonInvalidRequest, "bad\nrequest\x1b[31m")
	rpc.Violations = []rpcerr.Violation{{Field: "spec.tags[0]", Description: "too\r\nlong"}, {Field: "f", Description: "d"}}
	rpc.Attempts = 3
	err := call{op: "create"}.wrap(rpc)
	assert.EqualError(t, err,
		"cwsandbox: create: bad request [31m, after 3 attempts; spec.tags[0]: too long; f: d (CWSANDBOX_INVALID_REQUEST)")

	t.Run("without a message", func(t *testing.T) {
		assert.EqualError(t, call{op: "list"}.wrap(answered(codes.Internal, "", "")), "cwsandbox: list: Internal")
	})
	t.Run("the request id is for outcomes that are unknown", func(t *testing.T) {
		c := call{op: "create", requestID: "id-1"}
		assert.NotContains(t, c.refuse("no").Error(), "id-1")
		assert.ErrorContains(t, undecided(c.refuse("no")), "id-1")
		assert.ErrorIs(t, undecided(c.refuse("no", ErrTimeout)), ErrTimeout)
	})
	t.Run("line separators of Unicode", func(t *testing.T) {
		assert.EqualError(t, call{op: "x"}.refuse("a\u2028b\u2029c\u0085d"), "cwsandbox: x: a b c d")
	})
}

func TestHasReason(t *testing.T) {
	c := call{op: "get", sandbox: "sb-1"}
	err := c.wrap(answered(codes.NotFound, ReasonSandboxNotFound, "no"))
	other := c.wrap(answered(codes.Unavailable, ReasonRunnerUnavailable, "no"))
	joined := fmt.Errorf("two: %w", errors.Join(err, other))

	assert.True(t, HasReason(err, ReasonSandboxNotFound))
	assert.False(t, HasReason(err, ReasonRunnerUnavailable))
	assert.True(t, HasReason(joined, ReasonSandboxNotFound))
	assert.True(t, HasReason(joined, ReasonRunnerUnavailable))
	assert.True(t, HasReason(c.refuse("as a cause", err), ReasonSandboxNotFound))
	assert.False(t, HasReason(nil, ReasonSandboxNotFound))
	assert.False(t, HasReason(errors.New("x"), ReasonSandboxNotFound))

	foreign := answered(codes.NotFound, ReasonSandboxNotFound, "no")
	foreign.Domain = "example.com"
	assert.False(t, HasReason(c.wrap(foreign), ReasonSandboxNotFound))
}

func TestExitError(t *testing.T) {
	err := &ExitError{SandboxID: "sb-1", Code: 3, Result: &Result{}}
	assert.EqualError(t, err, "cwsandbox: exec sb-1: exit status 3")
	assert.Equal(t, 3, err.ExitCode())
	assert.EqualError(t, &ExitError{SandboxID: "sb-1", Code: 3}, "cwsandbox: main process sb-1: exit status 3")
}

func FuzzErrorTextIsOneLine(f *testing.F) {
	f.Add("bad\nrequest", "spec\r.x", "/a\x00b")
	f.Add("\u2028", "\x7f", "\xff")
	f.Fuzz(func(t *testing.T, message, field, path string) {
		rpc := answered(codes.Internal, "", message)
		rpc.Violations = []rpcerr.Violation{{Field: field, Description: message}}
		text := call{op: "read file", sandbox: message, path: path}.wrap(rpc).Error()
		require.False(t, strings.ContainsAny(text, "\r\n\v\f\u0085\u2028\u2029\x00\x1b"), "%q", text)
	})
}
