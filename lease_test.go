package cwsandbox

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/lease"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const testLease = time.Minute

// leasedRequest is the request that these options make.
func leasedRequest(t *testing.T, opts ...Option) *sandboxv1.CreateSandboxRequest {
	t.Helper()
	config, err := newCreateConfig("create", environment{}, nil, opts)
	require.NoError(t, err)
	config.wrap("request-1")
	return config.request("request-1").(*sandboxv1.CreateSandboxRequest)
}

func TestLeaseWrapsTheCommand(t *testing.T) {
	name, args := lease.Lease{ID: "request-1", Length: testLease}.Wrap("echo", []string{"a b"})
	spec := leasedRequest(t, WithLease(testLease), WithCommand("echo", "a b")).GetSandbox().GetSpec()
	assert.Equal(t, name, spec.GetContainers()[0].GetCommand())
	assert.Equal(t, args, spec.GetContainers()[0].GetArgs())
	assert.Equal(t, "1m0s request-1", spec.GetAnnotations()[leaseKey])

	spec = leasedRequest(t, WithLease(testLease)).GetSandbox().GetSpec()
	args = spec.GetContainers()[0].GetArgs()
	assert.Equal(t, append([]string{keepAlive.name}, keepAlive.args...), args[len(args)-1-len(keepAlive.args):])

	plain := leasedRequest(t, WithLease(testLease), WithLease(0)).GetSandbox().GetSpec()
	assert.Equal(t, keepAlive.args, plain.GetContainers()[0].GetArgs())
	assert.Empty(t, plain.GetAnnotations())
}

func TestLeaseThatCannotBe(t *testing.T) {
	bubble(t, "refused", func(t *testing.T, f *fake, c *Client) {
		for text, opts := range map[string][]Option{
			"must be from 1s to 24h0m0s, or zero for none, is 999ms":    {WithLease(999 * time.Millisecond)},
			"must be from 1s to 24h0m0s, or zero for none, is -1s":      {WithLease(-time.Second)},
			"must be from 1s to 24h0m0s, or zero for none, is 24h0m1s":  {WithLease(24*time.Hour + time.Second)},
			"needs a command to watch: what the image would run is not": {WithLease(testLease), WithImageCommand()},
			"must be at most 98 beside the owner mark, are 99":          append(annotated(99), WithLease(testLease)),
			"must be at most 99, are 100":                               append(annotated(100), WithLease(testLease), WithoutOwnerMark()),
		} {
			_, err := c.Create(t.Context(), opts...)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, text)
		}
		assert.Zero(t, f.count("CreateSandbox"))
	})
}

func annotated(n int) []Option {
	var opts []Option
	for i := range n {
		opts = append(opts, WithAnnotation(fmt.Sprint("key-", i), ""))
	}
	return opts
}

func TestLeaseInInfo(t *testing.T) {
	sb := record("sb-1", runningV)
	sb.Spec.Annotations = map[string]string{leaseKey: "1m30s abc", "mine": "1"}
	info := infoOf(sb, time.Now())
	assert.Equal(t, 90*time.Second, info.Lease)
	assert.Equal(t, map[string]string{"mine": "1"}, info.Annotations)

	sb.Spec.Annotations = map[string]string{leaseKey: "forever"}
	info = infoOf(sb, time.Now())
	assert.Zero(t, info.Lease)
	assert.Nil(t, info.Annotations)
}

func TestLeaseNeedsAShell(t *testing.T) {
	bubble(t, "the error of Run says so", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			sb := record(id, sandboxv1.State_STATE_FAILED)
			sb.Status.StateReason = "exec /bin/sh: no such file or directory"
			return sb, nil
		}
		f.nowWrite(refusedWrite)
		_, err := c.Run(t.Context(), WithLease(testLease))
		require.ErrorIs(t, err, ErrFailed)
		assert.ErrorContains(t, err, "no such file or directory; the lease needs /bin/sh and sleep in the image")
		_, err = c.Run(t.Context())
		require.ErrorIs(t, err, ErrFailed)
		assert.NotContains(t, err.Error(), "lease")
	})
}

var errStarting = failure(codes.FailedPrecondition, "CWSANDBOX_SANDBOX_NOT_RUNNING")

// refusedWrite is the answer of a sandbox that does not run.
func refusedWrite(context.Context, int, *sandboxv1.WriteFileRequest) error { return errStarting }

// paths returns where was written.
func (f *fake) paths() []string {
	var paths []string
	for _, call := range f.of("WriteFile") {
		paths = append(paths, call.request.(*sandboxv1.WriteFileRequest).GetPath())
	}
	return paths
}

func TestDetachDisarms(t *testing.T) {
	bubble(t, "and the heartbeats end", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		sb, err := c.Create(t.Context(), WithLease(testLease))
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, sb.Detach(t.Context()))
		offs := sb.s.info.lease.Offs()
		assert.Equal(t, offs, f.paths()[1:])
		require.NoError(t, sb.Detach(t.Context()), "again")
		time.Sleep(10 * testLease)
		assert.Equal(t, 3, f.count("WriteFile"))
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "one place is enough", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		sb, err := c.Create(t.Context(), WithLease(testLease))
		require.NoError(t, err)
		f.nowWrite(func(_ context.Context, _ int, req *sandboxv1.WriteFileRequest) error {
			if strings.HasPrefix(req.GetPath(), "/tmp/") {
				return failure(codes.Internal, "CWSANDBOX_FILE_PERMISSION_DENIED")
			}
			return nil
		})
		require.NoError(t, sb.Detach(t.Context()))
	})
	bubble(t, "or says that it could not", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, err := c.NewSession(WithLease(testLease))
		require.NoError(t, err)
		sb, err := s.Create(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		f.nowWrite(func(_ context.Context, _ int, req *sandboxv1.WriteFileRequest) error {
			if strings.HasSuffix(req.GetPath(), ".off") {
				return failure(codes.Internal, "CWSANDBOX_FILE_PERMISSION_DENIED")
			}
			return nil
		})
		err = sb.Detach(t.Context())
		require.ErrorIs(t, err, ErrFilePermission)
		assert.ErrorContains(t, err, "cwsandbox: detach sb-1")
		assert.Equal(t, 1, s.Len())
		assert.Equal(t, 1, c.registry.count(c))
		before := f.count("WriteFile")
		time.Sleep(testLease)
		assert.Greater(t, f.count("WriteFile"), before, "it is still kept up")
	})
	bubble(t, "once the sandbox runs", func(t *testing.T, f *fake, c *Client) {
		f.nowWrite(refusedWrite)
		f.states(creatingV)
		sb, err := c.Create(t.Context(), WithLease(testLease))
		require.NoError(t, err)
		detach := Go(func() (struct{}, error) { return struct{}{}, sb.Detach(t.Context()) })
		time.Sleep(testLease)
		assert.False(t, detach.finished())
		f.nowWrite(nil)
		f.nowGet(func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return record(id, runningV), nil
		})
		_, err = detach.Wait()
		require.NoError(t, err)
		assert.Zero(t, c.registry.count(c))
	})
	bubble(t, "unless it ends anyway", func(t *testing.T, f *fake, c *Client) {
		f.fleet().drain = time.Hour
		sb, err := c.Create(t.Context(), WithLease(testLease))
		require.NoError(t, err)
		synctest.Wait()
		sb.Stop(WithGrace(time.Hour)).Start()
		synctest.Wait()
		require.NoError(t, sb.Detach(t.Context()))
		assert.Len(t, f.paths(), 1)
		time.Sleep(2 * time.Hour) // the stop
	})
}
