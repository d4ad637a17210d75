package transport

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

type sandboxClient = sandboxv1.SandboxServiceClient

// attempts makes one call and returns how often the server saw it.
func attempts(t *testing.T, answer func(*seen) (proto.Message, error), call func(context.Context, *Transport) error) (int, error) {
	t.Helper()
	var n int
	var err error
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, answer)
		err = call(t.Context(), s.transport(t, nil))
		n = len(s.seen())
	})
	return n, err
}

func TestNeverRepeated(t *testing.T) {
	down := fail(failure(codes.Unavailable, retryAfter(time.Second)))
	t.Run("K-160", func(t *testing.T) {
		for name, call := range map[string]func(context.Context, sandboxClient) error{
			"Exec": func(ctx context.Context, c sandboxClient) error {
				_, err := c.Exec(ctx, &sandboxv1.ExecRequest{})
				return err
			},
			"StreamExec": func(ctx context.Context, c sandboxClient) error {
				stream, err := c.StreamExec(ctx)
				if err == nil {
					err = stream.Send(&sandboxv1.ExecStreamRequest{})
				}
				if err == nil {
					_, err = stream.Recv()
				}
				return err
			},
			"WriteFile": func(ctx context.Context, c sandboxClient) error {
				_, err := c.WriteFile(ctx, &sandboxv1.WriteFileRequest{})
				return err
			},
			"PurgeSandboxes": func(ctx context.Context, c sandboxClient) error {
				_, err := c.PurgeSandboxes(ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true})
				return err
			},
			"CreateSandbox without request id": func(ctx context.Context, c sandboxClient) error {
				_, err := c.CreateSandbox(ctx, &sandboxv1.CreateSandboxRequest{})
				return err
			},
		} {
			t.Run(name, func(t *testing.T) {
				n, err := attempts(t, down, func(ctx context.Context, tr *Transport) error {
					return call(ctx, sandboxv1.NewSandboxServiceClient(tr))
				})
				assert.Equal(t, 1, n)
				assert.Equal(t, codes.Unavailable, status.Code(err))
				assert.True(t, asError(t, err).HasRetryDelay)
			})
		}
	})
	t.Run("unknown method", func(t *testing.T) {
		n, _ := attempts(t, down, func(ctx context.Context, tr *Transport) error {
			return tr.Invoke(ctx, "/coreweave.sandbox.v1.NewService/New", &sandboxv1.GetSandboxRequest{}, &sandboxv1.Sandbox{})
		})
		assert.Equal(t, 1, n)
	})
	t.Run("K-162", func(t *testing.T) {
		for _, code := range []codes.Code{codes.Internal, codes.NotFound, codes.Unauthenticated, codes.InvalidArgument, codes.Canceled} {
			n, err := attempts(t, fail(failure(code)), get)
			assert.Equal(t, 1, n, code)
			assert.Equal(t, code, status.Code(err))
		}
	})
	t.Run("K-163", func(t *testing.T) {
		n, err := attempts(t, fail(status.Error(codes.ResourceExhausted, "grpc: received message larger than max (2 vs. 1)")), get)
		assert.Equal(t, 1, n)
		assert.True(t, rpcerr.IsMessageSize(asError(t, err)))
	})
	t.Run("K-146", func(t *testing.T) {
		n, _ := attempts(t, fail(failure(codes.DeadlineExceeded, because(rpcerr.ReasonCommandTimeout))), get)
		assert.Equal(t, 1, n)
	})
	t.Run("K-150", func(t *testing.T) {
		n, _ := attempts(t, fail(failure(codes.ResourceExhausted, because(rpcerr.ReasonFSSQuotaExceeded))), get)
		assert.Equal(t, 1, n)
	})
}

func TestRepeated(t *testing.T) {
	t.Run("K-161", func(t *testing.T) {
		for _, err := range []error{
			failure(codes.Unavailable), failure(codes.DeadlineExceeded), failure(codes.ResourceExhausted),
			failure(codes.Internal, because(rpcerr.ReasonBackendUnavailable)),
		} {
			n, got := attempts(t, script(err, err), get)
			assert.NoError(t, got)
			assert.Equal(t, 3, n, err)
		}
	})
	t.Run("dry run of a purge", func(t *testing.T) {
		n, err := attempts(t, script(failure(codes.Unavailable)), func(ctx context.Context, tr *Transport) error {
			_, err := sandboxv1.NewSandboxServiceClient(tr).PurgeSandboxes(ctx, &sandboxv1.PurgeSandboxesRequest{PurgeAll: true, DryRun: true})
			return err
		})
		assert.NoError(t, err)
		assert.Equal(t, 2, n)
	})
	t.Run("K-176", func(t *testing.T) {
		for etag, want := range map[string]int{"": 2, "e1": 1} {
			n, _ := attempts(t, script(failure(codes.Unavailable)), func(ctx context.Context, tr *Transport) error {
				_, err := sandboxv1.NewSettingsServiceClient(tr).UpdateBuildStorageConfig(ctx, &sandboxv1.UpdateBuildStorageConfigRequest{
					BuildStorageConfig: &sandboxv1.BuildStorageConfig{Etag: etag},
				})
				return err
			})
			assert.Equal(t, want, n, "etag %q", etag)
		}
	})
}

func TestRemoval(t *testing.T) {
	remove := deleting(&sandboxv1.DeleteSandboxRequest{SandboxId: "sb-1"})
	t.Run("K-164", func(t *testing.T) {
		for _, gone := range []error{failure(codes.NotFound), failure(codes.Internal, because(rpcerr.ReasonSandboxNotFound))} {
			n, err := attempts(t, script(failure(codes.Unavailable), gone), remove)
			assert.NoError(t, err)
			assert.Equal(t, 2, n)
		}
	})
	t.Run("not found at first is an answer", func(t *testing.T) {
		n, err := attempts(t, fail(failure(codes.NotFound)), remove)
		assert.Equal(t, codes.NotFound, status.Code(err))
		assert.Equal(t, 1, n)
	})
	t.Run("something else not found", func(t *testing.T) {
		_, err := attempts(t, script(failure(codes.Unavailable), failure(codes.NotFound, because(rpcerr.ReasonRunnerNotFound))), remove)
		assert.Equal(t, codes.NotFound, status.Code(err))
	})
	t.Run("first attempt never left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.NotFound)))
			refused := refuseFirst(s)
			err := remove(t.Context(), s.transport(t, refused))
			assert.Equal(t, codes.NotFound, status.Code(err))
			assert.Greater(t, asError(t, err).Attempts, 1)
		})
	})
	t.Run("failures that say nothing", func(t *testing.T) {
		for _, code := range []codes.Code{codes.Canceled, codes.Internal, codes.Unknown} {
			n, err := attempts(t, script(failure(code)), remove)
			assert.NoError(t, err)
			assert.Equal(t, 2, n, code)
		}
		n, _ := attempts(t, fail(failure(codes.Internal, because(rpcerr.ReasonInvalidRequest))), remove)
		assert.Equal(t, 1, n)
	})
}

func TestRequestThatCannotBeEncoded(t *testing.T) {
	n, err := attempts(t, empty, deleting(&sandboxv1.DeleteSandboxRequest{SandboxId: "\xff"}))
	assert.Zero(t, n)
	e := asError(t, err)
	assert.Equal(t, codes.InvalidArgument, e.Status.Code())
	assert.False(t, e.Sent)
}

func TestFrozenRequests(t *testing.T) {
	labels := map[string]string{}
	for _, k := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
		labels[k] = k
	}
	create := &sandboxv1.CreateSandboxRequest{RequestId: "r-1", Sandbox: &sandboxv1.Sandbox{Spec: &sandboxv1.SandboxSpec{
		Annotations: labels,
	}}}
	calls := map[string]func(context.Context, *Transport, ...grpc.CallOption) error{
		"K-101": func(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
			_, err := sandboxv1.NewSandboxServiceClient(tr).CreateSandbox(ctx, create, opts...)
			return err
		},
		"K-166": func(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
			return deleting(&sandboxv1.DeleteSandboxRequest{SandboxId: "sb-1", SnapshotVolumes: []string{"v"}, RequestId: "r-1"}, opts...)(ctx, tr)
		},
		"K-177 volume": func(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
			_, err := sandboxv1.NewVolumeServiceClient(tr).CreateVolume(ctx, &sandboxv1.CreateVolumeRequest{RequestId: "r-1"}, opts...)
			return err
		},
		"K-177 secret store": func(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
			_, err := sandboxv1.NewSettingsServiceClient(tr).CreateSecretStore(ctx, &sandboxv1.CreateSecretStoreRequest{RequestId: "r-1"}, opts...)
			return err
		},
		"K-177 template": func(ctx context.Context, tr *Transport, opts ...grpc.CallOption) error {
			_, err := sandboxv1.NewSandboxTemplateServiceClient(tr).CreateSandboxTemplate(ctx, &sandboxv1.CreateSandboxTemplateRequest{RequestId: "r-1"}, opts...)
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down := failure(codes.Unavailable)
				s := serve(t, script(down, down, failure(codes.ResourceExhausted, retryAfter(time.Second))))
				tr := s.transport(t, nil)
				require.NoError(t, call(t.Context(), tr))
				require.NoError(t, call(t.Context(), tr, NoRetry()), "a replay in a call of its own")
				require.Len(t, s.seen(), 5)
				for _, again := range s.seen() {
					assert.Equal(t, s.seen()[0].request, again.request)
				}
				assert.Contains(t, string(s.seen()[0].request), "r-1")
			})
		})
	}
	t.Run("not repeated", func(t *testing.T) {
		for _, answer := range []error{
			failure(codes.ResourceExhausted), failure(codes.DeadlineExceeded), failure(codes.Internal), failure(codes.Canceled),
			failure(codes.ResourceExhausted, because(rpcerr.ReasonRunnerCapacityExhausted), retryAfter(time.Second)),
		} {
			n, err := attempts(t, fail(answer), func(ctx context.Context, tr *Transport) error { return calls["K-101"](ctx, tr) })
			assert.Equal(t, 1, n, answer)
			assert.Equal(t, status.Code(answer), status.Code(err))
		}
	})
	t.Run("an attempt is not cut short by the budget", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, script(failure(codes.Unavailable)))
			require.NoError(t, calls["K-101"](t.Context(), s.transport(t, nil)))
			assert.Greater(t, s.seen()[1].timeout, 299*time.Second)
		})
	})
}

func TestBudget(t *testing.T) {
	// failing runs one call that fails for ever, and returns its error and how long it took after the first failure.
	failing := func(t *testing.T, s *server, call func() error) (*rpcerr.Error, time.Duration) {
		err := call()
		return asError(t, err), time.Since(s.seen()[0].at)
	}
	t.Run("K-121", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable)))
			tr := s.transport(t, nil)
			e, took := failing(t, s, func() error { return get(t.Context(), tr) })
			assert.Equal(t, codes.Unavailable, e.Status.Code())
			assert.InDelta(t, 30, took.Seconds(), 2.1)
			assert.NoError(t, e.Context)
		})
	})
	t.Run("K-169", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable, because(rpcerr.ReasonBackendUnavailable))))
			tr := s.transport(t, nil)
			e, _ := failing(t, s, func() error { return get(t.Context(), tr) })
			assert.Equal(t, len(s.seen()), e.Attempts)
			assert.Greater(t, e.Attempts, 10)
			assert.Regexp(t, `^GetSandbox: unavailable: scripted \(CWSANDBOX_BACKEND_UNAVAILABLE\), after \d\d+ attempts$`, e.Error())
		})
	})
	t.Run("K-170", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				if s.n == 1 {
					time.Sleep(40 * time.Second)
				}
				return nil, failure(codes.Unavailable)
			})
			tr := s.transport(t, nil)
			_, took := failing(t, s, func() error { return list(t.Context(), tr) })
			assert.InDelta(t, 70, took.Seconds(), 2.1)
		})
	})
	t.Run("an attempt gets what is left", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				if s.n == 1 {
					return nil, failure(codes.Unavailable)
				}
				return hang(s)
			})
			tr := s.transport(t, nil)
			e, took := failing(t, s, func() error { return list(t.Context(), tr) })
			assert.Equal(t, codes.DeadlineExceeded, e.Status.Code())
			assert.Equal(t, 30*time.Second, took)
			assert.Equal(t, 2, e.Attempts)
		})
	})
	t.Run("K-173", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable)))
			tr := s.transport(t, func(c *Config) { c.RetryBudget = 0 })
			assert.Equal(t, 1, asError(t, get(t.Context(), tr)).Attempts)

			start := time.Now()
			err := list(t.Context(), tr, RetryFor(5*time.Second))
			assert.Greater(t, asError(t, err).Attempts, 2, "a call with a budget of its own")
			assert.LessOrEqual(t, time.Since(start), 5*time.Second)
		})
	})
	t.Run("NoRetry", func(t *testing.T) {
		n, _ := attempts(t, fail(failure(codes.Unavailable)), func(ctx context.Context, tr *Transport) error { return list(ctx, tr, NoRetry()) })
		assert.Equal(t, 1, n)
	})
	t.Run("the context's deadline is no place to sleep to", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable, retryAfter(4*time.Second))))
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			tr := s.transport(t, nil)
			start := time.Now()
			e := asError(t, list(ctx, tr))
			assert.Equal(t, codes.Unavailable, e.Status.Code())
			assert.Zero(t, time.Since(start))
		})
	})
}

func TestDelays(t *testing.T) {
	gaps := func(t *testing.T, answer func(*seen) (proto.Message, error)) (d []time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, answer)
			get(t.Context(), s.transport(t, nil))
			calls := s.seen()
			for i := range calls[1:] {
				d = append(d, calls[i+1].at.Sub(calls[i].at))
			}
		})
		return d
	}
	t.Run("K-167", func(t *testing.T) {
		d := gaps(t, script(failure(codes.Unavailable, retryAfter(time.Second)), failure(codes.Unavailable, retryAfter(time.Minute))))
		assert.Equal(t, []time.Duration{time.Second, 10 * time.Second}, d)
	})
	t.Run("K-131", func(t *testing.T) {
		d := gaps(t, script(failure(codes.Unavailable, retryAfter(0)), failure(codes.Unavailable, retryAfter(-3*time.Second))))
		require.Len(t, d, 2)
		for _, gap := range d {
			assert.GreaterOrEqual(t, gap, minDelay)
			assert.LessOrEqual(t, gap, 450*time.Millisecond)
		}
	})
	t.Run("K-168", func(t *testing.T) {
		d := gaps(t, fail(failure(codes.Unavailable)))
		require.Greater(t, len(d), 5)
		assert.GreaterOrEqual(t, d[0], 200*time.Millisecond)
		assert.LessOrEqual(t, d[0], 300*time.Millisecond)
		different := map[time.Duration]bool{}
		for _, gap := range d {
			assert.GreaterOrEqual(t, gap, minDelay)
			assert.LessOrEqual(t, gap, maxDelay)
			different[gap] = true
		}
		assert.Greater(t, len(different), 1)
	})
	t.Run("K-171", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			d := delays{budget: time.Second, deadline: time.Now().Add(time.Hour)}
			d.Reset()
			d.failed(900 * time.Millisecond)
			assert.Equal(t, 900*time.Millisecond, d.NextBackOff(), "100 ms are left")
			d.failed(901 * time.Millisecond)
			assert.Equal(t, backoff.Stop, d.NextBackOff())
			time.Sleep(701 * time.Millisecond)
			d.failed(0)
			assert.Equal(t, backoff.Stop, d.NextBackOff(), "the shortest delay leaves less than 100 ms")
		})
	})
}

func TestContextEndsTheWait(t *testing.T) {
	t.Run("K-172", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, fail(failure(codes.Unavailable, because(rpcerr.ReasonBackendUnavailable), retryAfter(5*time.Second))))
			ctx, cancel := context.WithCancel(t.Context())
			tr := s.transport(t, nil)
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			e := asError(t, get(ctx, tr))
			assert.Equal(t, time.Second, time.Since(start))
			assert.ErrorIs(t, e, context.Canceled)
			assert.Equal(t, codes.Canceled, status.Code(e))
			assert.True(t, e.Sent)
			assert.Equal(t, rpcerr.ReasonBackendUnavailable, asError(t, e.Last).Reason)
			assert.Contains(t, e.Error(), "unavailable")
		})
	})
	t.Run("in a later attempt", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, func(s *seen) (proto.Message, error) {
				if s.n == 1 {
					return nil, failure(codes.Unavailable)
				}
				return hang(s)
			})
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			e := asError(t, list(ctx, s.transport(t, nil)))
			assert.ErrorIs(t, e, context.DeadlineExceeded)
			assert.Equal(t, codes.Unavailable, status.Code(e.Last))
		})
	})
}

func TestRetriesAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		s := serve(t, script(failure(codes.Unavailable, because(rpcerr.ReasonBackendUnavailable), retryAfter(time.Second))))
		tr := s.transport(t, func(c *Config) {
			c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		})
		var reported []error
		require.NoError(t, list(t.Context(), tr, OnRetry(func(err error) { reported = append(reported, err) })))
		require.Len(t, reported, 1)
		assert.Equal(t, 1, asError(t, reported[0]).Attempts)
		for _, want := range []string{"level=DEBUG", "/ListSandboxes", "attempt=1", "code=Unavailable", "reason=CWSANDBOX_BACKEND_UNAVAILABLE", "delay=1s"} {
			assert.Contains(t, log.String(), want)
		}
	})
}

func TestRepeatUnless(t *testing.T) {
	away := failure(codes.Unavailable, because(rpcerr.ReasonRunnerUnavailable), retryAfter(time.Second))
	asked := 0
	unless := RepeatUnless(func(e *rpcerr.Error) bool {
		asked++
		return e.Reason == rpcerr.ReasonRunnerUnavailable
	})
	create := func(ctx context.Context, tr *Transport) error {
		_, err := sandboxv1.NewSandboxServiceClient(tr).CreateSandbox(ctx, &sandboxv1.CreateSandboxRequest{RequestId: "r-1"}, unless)
		return err
	}
	n, err := attempts(t, script(failure(codes.Unavailable), away), create)
	assert.Equal(t, rpcerr.ReasonRunnerUnavailable, asError(t, err).Reason)
	assert.Equal(t, []int{2, 2, 2}, []int{n, asked, asError(t, err).Attempts})
}
