package cwsandbox

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

func (f *fake) WriteFile(ctx context.Context, req *sandboxv1.WriteFileRequest) (*sandboxv1.WriteFileResponse, error) {
	n := f.note(ctx, "WriteFile", req)
	f.mu.Lock()
	write := f.write
	f.mu.Unlock()
	if write != nil {
		if err := write(ctx, n, req); err != nil {
			return nil, err
		}
	}
	return &sandboxv1.WriteFileResponse{}, nil
}

// nowWrite changes the answers of WriteFile while heartbeats come. Without any all writes work.
func (f *fake) nowWrite(write func(ctx context.Context, n int, req *sandboxv1.WriteFileRequest) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.write = write
}

// leasedSession is a session with one running sandbox, whose first heartbeat has come.
func leasedSession(t *testing.T, f *fake, c *Client) (*Session, *Sandbox) {
	t.Helper()
	s, err := c.NewSession(WithLease(testLease))
	require.NoError(t, err)
	sb, err := s.Create(t.Context())
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, 1, f.count("WriteFile"))
	return s, sb
}

// idle reports whether there is no lease to keep up, and nobody who would.
func (b *heartbeats) idle() bool {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.kept) == 0 && len(b.queue) == 0 && !b.serving
}

func TestHeartbeats(t *testing.T) {
	bubble(t, "five in a lease, and each is another", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		_, sb := leasedSession(t, f, c)
		time.Sleep(testLease)
		for _, gap := range f.gaps("WriteFile") {
			assert.InDelta(t, testLease/beatShare, gap, float64(testLease/beatShare)*intervalJitter)
		}
		contents := map[string]bool{}
		for _, call := range f.of("WriteFile") {
			req := call.request.(*sandboxv1.WriteFileRequest)
			assert.Equal(t, sb.s.info.lease.Beats()[0], req.GetPath())
			assert.True(t, strings.HasSuffix(string(req.GetContent()), "\n"))
			contents[string(req.GetContent())] = true
			assert.LessOrEqual(t, call.deadline, testLease/writeShare)
		}
		assert.Len(t, contents, f.count("WriteFile"))
		assert.GreaterOrEqual(t, len(contents), 4)
	})
	bubble(t, "none without a lease", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		creating(t, c)
		time.Sleep(testLease)
		assert.Zero(t, f.count("WriteFile"))
	})
	bubble(t, "until a stop is accepted", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		fl.slow, fl.drain = testLease/2, 10*testLease
		_, sb := leasedSession(t, f, c)
		stop := sb.Stop(WithGrace(20 * testLease)).Start()
		time.Sleep(testLease / 2)
		assert.Greater(t, f.count("WriteFile"), 1, "the service has not said yes")
		before := f.count("WriteFile")
		_, err := stop.Wait()
		require.NoError(t, err)
		assert.LessOrEqual(t, f.count("WriteFile"), before+1)
		assert.True(t, c.beats.idle())
	})
	bubble(t, "until the client is closed", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		leasedSession(t, f, c)
		require.NoError(t, c.Close())
		time.Sleep(testLease)
		assert.Equal(t, 1, f.count("WriteFile"))
		assert.True(t, c.beats.idle())
	})
	bubble(t, "as soon as the sandbox runs", func(t *testing.T, f *fake, c *Client) {
		started := time.Now().Add(20 * testLease)
		f.nowWrite(func(context.Context, int, *sandboxv1.WriteFileRequest) error {
			if time.Now().Before(started) {
				return errStarting
			}
			return nil
		})
		f.states(creatingV)
		s, err := c.NewSession(WithLease(testLease))
		require.NoError(t, err)
		_, err = s.Create(t.Context())
		require.NoError(t, err)
		time.Sleep(20*testLease + testLease/4)
		assert.NoError(t, s.Context().Err())
		writes := f.of("WriteFile")
		assert.True(t, writes[len(writes)-1].at.After(started))
		assert.LessOrEqual(t, f.count("GetSandbox"), 25, "no poll")
	})
	bubble(t, "where it can be written", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		f.nowWrite(func(_ context.Context, _ int, req *sandboxv1.WriteFileRequest) error {
			if strings.HasPrefix(req.GetPath(), "/tmp/") {
				return failure(codes.Internal, "CWSANDBOX_FILE_IO_FAILED")
			}
			return nil
		})
		s, err := c.NewSession(WithLease(testLease))
		require.NoError(t, err)
		sb, err := s.Create(t.Context())
		require.NoError(t, err)
		time.Sleep(10 * testLease)
		assert.NoError(t, s.Context().Err())
		paths := f.paths()
		assert.Equal(t, sb.s.info.lease.Beats(), paths[:2])
		assert.Equal(t, paths[1], paths[len(paths)-1])
	})
	bubble(t, "of a sandbox that was adopted", func(t *testing.T, f *fake, c *Client) {
		f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
			sb := record(id, runningV)
			sb.Spec.Annotations = map[string]string{leaseKey: "1m0s abc"}
			return sb, nil
		}
		sb, err := c.Attach(t.Context(), "sb-1")
		require.NoError(t, err)
		time.Sleep(testLease)
		assert.Zero(t, f.count("WriteFile"), "nobody asked for it")
		s, err := c.NewSession()
		require.NoError(t, err)
		require.NoError(t, s.Adopt(sb))
		require.NoError(t, s.Adopt(sb))
		time.Sleep(testLease / 10)
		assert.Equal(t, []string{"/tmp/.cwsandbox-lease-abc"}, f.paths())
	})
}

// outage is a service that writes nothing for a while: it hangs or refuses, as a program that is paused writes nothing.
// Beside that, one write of twenty fails. It notes those that worked.
type outage struct {
	from, to time.Time
	hangs    bool
	worked   []time.Time
	mu       sync.Mutex
}

func (o *outage) write(ctx context.Context, n int, _ *sandboxv1.WriteFileRequest) error {
	now := time.Now()
	switch {
	case now.After(o.from) && now.Before(o.to) && o.hangs:
		<-ctx.Done()
		return ctx.Err()
	case now.After(o.from) && now.Before(o.to), n%20 == 0:
		return failure(codes.Unavailable, "")
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.worked = append(o.worked, now)
	return nil
}

func TestNoFalseDeath(t *testing.T) {
	for _, hangs := range []bool{false, true} {
		bubble(t, map[bool]string{false: "refusing", true: "hanging"}[hangs], func(t *testing.T, f *fake, c *Client) {
			f.fleet()
			var all []*outage
			for range 40 {
				s, err := c.NewSession(WithLease(testLease))
				require.NoError(t, err)
				at := time.Now().Add(2*testLease + rand.N(testLease))
				o := &outage{from: at, to: at.Add(testLease * 6 / 10), hangs: hangs}
				all = append(all, o)
				f.nowWrite(o.write)
				sb, err := s.Create(t.Context())
				require.NoError(t, err)
				time.Sleep(5 * testLease)
				assert.NoError(t, s.Context().Err())
				_, err = sb.Stop().Wait()
				require.NoError(t, err)
			}
			for _, o := range all {
				for i := 1; i < len(o.worked); i++ {
					assert.Less(t, o.worked[i].Sub(o.worked[i-1]), testLease)
				}
			}
		})
	}
}

func TestLeaseLost(t *testing.T) {
	bubble(t, "without an acknowledged heartbeat", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		s, sb := leasedSession(t, f, c)
		begin := time.Now()
		f.nowWrite(func(context.Context, int, *sandboxv1.WriteFileRequest) error { return failure(codes.Unavailable, "") })
		<-s.Context().Done()
		assert.InDelta(t, testLease, time.Since(begin), float64(testLease)/10)
		cause := context.Cause(s.Context())
		require.ErrorIs(t, cause, ErrLeaseLost)
		assert.EqualError(t, cause, "cwsandbox: lease sb-1: no heartbeat was acknowledged for 1m0s")
		assert.Equal(t, 1, strings.Count(f.logged(), "a lease was lost"))
		before := f.count("WriteFile")
		time.Sleep(testLease)
		assert.Equal(t, before, f.count("WriteFile"))
		assert.Equal(t, 1, s.Len(), "who knows")
		_, err := sb.Stop().Wait()
		require.NoError(t, err)
	})
	bubble(t, "of a sandbox that has run from the first", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		f.nowWrite(func(context.Context, int, *sandboxv1.WriteFileRequest) error { return failure(codes.Unavailable, "") })
		s, err := c.NewSession(WithLease(testLease))
		require.NoError(t, err)
		_, err = s.Create(t.Context())
		require.NoError(t, err)
		time.Sleep(testLease * 11 / 10)
		require.ErrorIs(t, context.Cause(s.Context()), ErrLeaseLost)
	})
	bubble(t, "not by an end of another kind", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, _ := leasedSession(t, f, c)
		fl.set(fl.ended, true, "sb-1")
		f.nowWrite(refusedWrite)
		time.Sleep(testLease / 2)
		assert.Zero(t, s.Len(), "the heartbeat has found out")
		assert.NoError(t, s.Context().Err())
		assert.True(t, c.beats.idle())
		assert.NotContains(t, f.logged(), "lost")
	})
	bubble(t, "nor by a sandbox that is gone", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, _ := leasedSession(t, f, c)
		fl.set(fl.gone, true, "sb-1")
		f.nowWrite(func(context.Context, int, *sandboxv1.WriteFileRequest) error { return errNoSandbox })
		time.Sleep(testLease / 2)
		assert.Zero(t, s.Len())
		assert.NoError(t, s.Context().Err())
	})
	bubble(t, "when the end is seen after a pause", func(t *testing.T, f *fake, c *Client) {
		fl := f.fleet()
		s, sb := leasedSession(t, f, c)
		f.nowWrite(func(ctx context.Context, _ int, _ *sandboxv1.WriteFileRequest) error {
			time.Sleep(2 * testLease) // the program, rather
			return errStarting
		})
		c.beats.mu.Lock()
		c.beats.kept[sb.s].opts = nil
		c.beats.mu.Unlock()
		time.Sleep(testLease)
		fl.set(fl.ended, true, "sb-1")
		_, err := sb.Refresh(t.Context())
		require.NoError(t, err)
		assert.Zero(t, s.Len(), "somebody else has seen the end first")
		time.Sleep(2 * testLease)
		require.ErrorIs(t, context.Cause(s.Context()), ErrLeaseLost)
		assert.ErrorContains(t, context.Cause(s.Context()), "has ended")
	})
}

func TestHeartbeatsOfMany(t *testing.T) {
	bubble(t, "are spread, bounded, and end with their sandboxes", func(t *testing.T, f *fake, c *Client) {
		f.fleet()
		var mu sync.Mutex
		now, peak := 0, 0
		f.nowWrite(func(context.Context, int, *sandboxv1.WriteFileRequest) error {
			mu.Lock()
			now++
			peak = max(peak, now)
			mu.Unlock()
			time.Sleep(50 * time.Millisecond)
			mu.Lock()
			now--
			mu.Unlock()
			return nil
		})
		s, err := c.NewSession(WithLease(testLease))
		require.NoError(t, err)
		for range 300 {
			_, err := s.Create(t.Context())
			require.NoError(t, err)
		}
		time.Sleep(2 * testLease)
		assert.NoError(t, s.Context().Err())
		require.NoError(t, s.Close())
		time.Sleep(testLease)
		assert.True(t, c.beats.idle())
		assert.ErrorIs(t, context.Cause(s.Context()), ErrClosed)
		assert.LessOrEqual(t, peak, beatsAtATime)
	})
}
