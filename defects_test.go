package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The tests named "defect N" show that this package does not have what other clients of the service have, or had. Here are
// those of creating, stopping and cleaning up; defects_state_test.go has those of what is seen of a sandbox, and
// internal/cleanuptest those that need a process.

// first makes the first delete fail; its answer may be lost or not.
func first(answer deleteAnswer, err error) deleteAnswer {
	return func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
		if n == 1 {
			return nil, err
		}
		return answer(ctx, n, req)
	}
}

func TestDefectsOfCreating(t *testing.T) {
	bubble(t, "defect 1: what stops everything passes by a create in flight", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		s, _ := session(t, c, 0)
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		synctest.Wait()
		require.NoError(t, s.Close())
		_, err := create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
	})
	bubble(t, "defect 2: a create that was given up is never followed up", func(t *testing.T, f *fake, c *Client) {
		f.committed(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := c.Create(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []string{"sb-lost"}, f.deleted())
		assert.Zero(t, c.registry.count(c))
	})
	for name, get := range map[string]func(id string) (*sandboxv1.Sandbox, error){
		"fails":     func(string) (*sandboxv1.Sandbox, error) { return nil, failure(codes.PermissionDenied, "") },
		"times out": func(id string) (*sandboxv1.Sandbox, error) { return record(id, creatingV), nil },
	} {
		bubble(t, "defect 3: a sandbox is left when the wait for it "+name, func(t *testing.T, f *fake, c *Client) {
			f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return record(fmt.Sprintf("sb-%d", n), creatingV), nil
			}
			f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) { return get(id) }
			for _, make := range []func(ctx context.Context) error{
				func(ctx context.Context) error { _, err := c.Run(ctx); return err },
				func(ctx context.Context) error { return c.RunFunc(ctx, explode) },
			} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				require.Error(t, make(ctx))
			}
			assert.Equal(t, []string{"sb-1", "sb-2"}, f.deleted())
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "defect 4: each attempt of a create has a request id of its own", func(t *testing.T, f *fake, c *Client) {
		answer := f.create
		f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n < 3 {
				return nil, failure(codes.Unavailable, "")
			}
			return answer(ctx, n, req)
		}
		creating(t, c)
		ids := f.requestIDs()
		require.Len(t, ids, 3)
		assert.NotEmpty(t, ids[0])
		assert.Equal(t, []string{ids[0], ids[0], ids[0]}, ids)
	})
	bubble(t, "defect 36: a test of creates beside a close does not race", func(t *testing.T, f *fake, c *Client) {
		answer, release := f.create, make(chan struct{})
		f.create = func(ctx context.Context, n int, req *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			<-release // whatever becomes of the caller
			return answer(ctx, n, req)
		}
		s, _ := session(t, c, 0)
		create := Go(func() (*Sandbox, error) { return s.Create(t.Context()) })
		synctest.Wait()
		closing := Go(func() (struct{}, error) { return struct{}{}, s.Close() })
		synctest.Wait()
		require.Equal(t, 2, f.count("CreateSandbox"), "the close has asked what became of it, and none is answered yet")
		require.False(t, closing.finished())
		close(release)
		_, err := closing.Wait()
		require.NoError(t, err)
		_, err = create.Wait()
		require.ErrorIs(t, err, ErrClosed)
		assert.Equal(t, []string{"sb-1"}, f.deleted())
	})
}

func TestDefectsOfCleaningUp(t *testing.T) {
	bubble(t, "defect 5: sandboxes without a session are not cleaned up", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		creating(t, c)
		session(t, c, 1)
		require.NoError(t, cleanup(c, time.Second))
		assert.ElementsMatch(t, []string{"sb-1", "sb-2"}, f.deleted())
	})
	t.Run("defect 6: sandboxes of a session that nobody holds are not cleaned up", func(t *testing.T) { // collected in real time
		f, c := fakeClient(t)
		f.fleet()
		session(t, c, 2)
		f.warning(t)
		require.NoError(t, cleanup(c, 10*time.Second))
		assert.ElementsMatch(t, []string{"sb-1", "sb-2"}, f.deleted())
	})
	bubble(t, "defect 7: a close forgets what failed, and a second one does not wait", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.slow = time.Second
		fl.set(fl.refused, true, "sb-1")
		s, _ := session(t, c, 2)
		start := time.Now()
		go s.Close()
		synctest.Wait()
		require.ErrorIs(t, s.Close(), ErrPermissionDenied)
		assert.GreaterOrEqual(t, time.Since(start), time.Second)
		assert.Equal(t, 1, s.Len())
		fl.set(fl.refused, false, "sb-1")
		require.NoError(t, s.Close())
		assert.Equal(t, 3, f.count("DeleteSandbox"))
	})
	bubble(t, "defect 8: a closed session adopts what it will never stop", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, _ := session(t, c, 0)
		other := creating(t, c)
		require.NoError(t, s.Close())
		check := f.quiet(t)
		_, err := s.Attach(t.Context(), "sb-1")
		require.ErrorIs(t, err, ErrClosed)
		_, err = s.AdoptAll(t.Context(), WithTags("job"))
		require.ErrorIs(t, err, ErrClosed)
		require.ErrorIs(t, s.Adopt(other), ErrClosed)
		assert.Zero(t, s.Len())
		check()
	})
	bubble(t, "defect 9: adopting without a filter takes over everything", func(t *testing.T, f *fake, c *Client) {
		f.fleet().made = 3
		s, _ := session(t, c, 0)
		check := f.quiet(t)
		_, err := s.AdoptAll(t.Context())
		require.ErrorIs(t, err, ErrInvalidArgument)
		check()
		_, err = Collect(s.List(t.Context()))
		require.NoError(t, err)
		assert.Zero(t, s.Len(), "looking is not taking")
	})
	faulty(t, "defect 12: a cleanup goes from session to session, without a limit", 0, func(t *testing.T, f *fake, c *Client, es *estate) {
		f.delete = hangingOn(es.delete, "sb-1")
		for range 3 {
			session(t, c, 1)
		}
		start := time.Now()
		stopped, left := onSignal(t, c)
		assert.Equal(t, 2, stopped)
		assert.Equal(t, []string{"sb-1"}, left)
		for _, call := range f.of("DeleteSandbox") {
			assert.Equal(t, start, call.at)
		}
	})
	bubble(t, "defect 33: two handles of one sandbox are two deletes", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		one := creating(t, c)
		two, err := c.Attach(t.Context(), one.ID())
		require.NoError(t, err)
		s, _ := session(t, c, 0)
		require.NoError(t, s.Adopt(one))
		require.NoError(t, s.Adopt(two))
		_, err = WaitAll(t.Context(), one.Stop(), two.Stop(), Go(func() (StopResult, error) { return StopResult{}, s.Close() }))
		require.NoError(t, err)
		require.NoError(t, cleanup(c, time.Second))
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
}

func TestDefectsOfStopping(t *testing.T) {
	bubble(t, "defect 13: a stop waits for the end for ever", func(t *testing.T, f *fake, c *Client) {
		f.drains(1000*time.Hour, nil)
		sb, start := running(t, f, c), time.Now()
		result, err := sb.Stop(WithGrace(5 * time.Second)).Wait()
		require.ErrorIs(t, err, ErrTimeout)
		assert.Equal(t, 65*time.Second, time.Since(start))
		assert.True(t, result.Accepted)
	})
	for name, end := range map[string]func(c *Client, s *Session, sb *Sandbox) error{
		"stop":    func(_ *Client, _ *Session, sb *Sandbox) error { _, err := sb.Stop().Wait(); return err },
		"delete":  func(c *Client, _ *Session, sb *Sandbox) error { return c.Delete(context.Background(), sb.ID()) },
		"close":   func(_ *Client, s *Session, _ *Sandbox) error { return s.Close() },
		"cleanup": func(c *Client, _ *Session, _ *Sandbox) error { return cleanup(c, defaultCleanupTimeout) },
	} {
		bubble(t, "defect 14: a blip during a "+name+" leaves the sandbox", func(t *testing.T, f *fake, c *Client) {
			f.delete = first(f.delete, failure(codes.Unavailable, ""))
			s, all := session(t, c, 1)
			require.NoError(t, end(c, s, all[0]))
			assert.Equal(t, 2, f.count("DeleteSandbox"))
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "defect 15: a stop that failed is the last one", func(t *testing.T, f *fake, c *Client) {
		f.delete = first(f.delete, failure(codes.PermissionDenied, ""))
		sb := running(t, f, c)
		_, err := sb.Stop().Wait()
		require.ErrorIs(t, err, ErrPermissionDenied)
		_, err = sb.Stop().Wait()
		require.NoError(t, err)
	})
	bubble(t, "defect 16: a stop first asks for the state, and does nothing if that fails", func(t *testing.T, f *fake, c *Client) {
		f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.Internal, "")
		}
		_, err := creating(t, c).Stop().Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "defect 17: a stop that failed cuts the open streams", func(t *testing.T, f *fake, c *Client) {
		f.delete = refuseDeletes
		release := make(chan struct{})
		f.exec = func(stream sandboxv1.SandboxService_StreamExecServer) error {
			<-release
			return exitFrame(stream, 7)
		}
		sb := running(t, f, c)
		p, err := sb.StartProcess(t.Context(), []string{"true"})
		require.NoError(t, err)
		_, err = sb.Stop().Wait()
		require.ErrorIs(t, err, ErrPermissionDenied)
		close(release)
		res, err := p.Wait()
		require.NoError(t, err)
		assert.Equal(t, 7, res.ExitCode)
	})
	bubble(t, "defect 18: when the snapshot of a stop fails nobody waits for the end", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		f.snapshot = func(context.Context, int, string) (*sandboxv1.FileSystemSnapshot, error) {
			return &sandboxv1.FileSystemSnapshot{State: sandboxv1.SnapshotState_SNAPSHOT_STATE_FAILED}, nil
		}
		result, err := sb.Stop(WithStopSnapshot()).Wait()
		require.ErrorIs(t, err, ErrSnapshotFailed)
		assert.Equal(t, StateCompleted, result.Info.State)
	})
	bubble(t, "defect 19: a stop that is repeated archives twice", func(t *testing.T, f *fake, c *Client) {
		sb := scratch(t, f, c)
		f.delete = first(f.delete, failure(codes.Unavailable, ""))
		_, err := sb.Stop(WithStopSnapshot()).Wait()
		require.NoError(t, err)
		calls := f.of("DeleteSandbox")
		require.Len(t, calls, 2)
		id := calls[0].request.(*sandboxv1.DeleteSandboxRequest).GetRequestId()
		assert.NotEmpty(t, id)
		assert.Equal(t, id, f.lastDelete(t).GetRequestId())
	})
	for name, forgotten := range map[string]func(f *fake){
		"before the delete": func(f *fake) { f.delete = first(f.delete, errNoSandbox) },
		"after it": func(f *fake) {
			f.drains(0, nil)
			f.get = func(context.Context, int, string) (*sandboxv1.Sandbox, error) { return nil, errNoSandbox }
		},
	} {
		bubble(t, "defect 20: a scope fails because its sandbox is gone "+name, func(t *testing.T, f *fake, c *Client) {
			require.NoError(t, c.RunFunc(t.Context(), func(*Sandbox) error { forgotten(f); return nil }))
			assert.Zero(t, c.registry.count(c))
		})
	}
	bubble(t, "defect 21: a delete that found nothing is taken for a stop that got lost", func(t *testing.T, f *fake, c *Client) {
		f.delete = func(context.Context, int, *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			return &sandboxv1.DeleteSandboxResponse{}, nil
		}
		result, err := running(t, f, c).Stop().Wait()
		require.NoError(t, err)
		assert.True(t, result.Missing)
		assert.Zero(t, f.count("GetSandbox"))
	})
	bubble(t, "defect 30: the error of a close hides that of the function", func(t *testing.T, f *fake, c *Client) {
		f.delete = refuseDeletes
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			return record(id, runningV), nil
		}
		mine := errors.New("mine")
		err := c.RunFunc(t.Context(), func(*Sandbox) error { return mine })
		require.ErrorIs(t, err, mine)
		require.ErrorIs(t, err, ErrPermissionDenied)
		assert.PanicsWithValue(t, "bug", func() { c.RunFunc(t.Context(), explode) })
	})
	bubble(t, "defect 31: the end of a scope closes connections that others use", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		require.NoError(t, c.RunFunc(t.Context(), func(sb *Sandbox) error {
			fl.set(fl.ended, true, sb.ID())
			_, err := sb.WaitDone(t.Context())
			return err
		}))
		assert.Zero(t, f.count("DeleteSandbox"))
		_, err := creating(t, c).Refresh(t.Context())
		require.NoError(t, err)
	})
	bubble(t, "defect 37: who stops waiting for a stop cuts it for everybody", func(t *testing.T, f *fake, c *Client) {
		f.delete = slowly(f.delete, 5*time.Second)
		sb := running(t, f, c)
		patient := sb.Stop().Start()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := sb.Stop().WaitContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = patient.Wait()
		require.NoError(t, err)
		assert.Equal(t, 1, f.count("DeleteSandbox"))
	})
}
