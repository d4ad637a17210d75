package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// after is a future that is done d after it began.
func after(d time.Duration, value int, err error) *Future[int] {
	return Cold(func() (int, error) {
		time.Sleep(d)
		return value, err
	})
}

func inBubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestFuture(t *testing.T) {
	inBubble(t, "L-165", func(t *testing.T) {
		var ran atomic.Int32
		f := Go(func() (int32, error) { return ran.Add(1), nil })
		synctest.Wait()
		assert.EqualValues(t, 1, ran.Load())
		for range 2 {
			v, err := f.Wait()
			require.NoError(t, err)
			assert.EqualValues(t, 1, v)
		}
	})
	inBubble(t, "cold until it is begun, then once", func(t *testing.T) {
		var ran atomic.Int32
		f := Cold(func() (int32, error) { return ran.Add(1), nil })
		synctest.Wait()
		assert.Zero(t, ran.Load())
		for range 10 {
			go f.Wait()
		}
		synctest.Wait()
		assert.EqualValues(t, 1, ran.Load())
	})
	inBubble(t, "the wait is bounded, the work is not", func(t *testing.T) {
		f := after(time.Minute, 7, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := f.WaitContext(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		v, err := f.Wait()
		require.NoError(t, err)
		assert.Equal(t, 7, v)
		v, err = f.WaitContext(ctx)
		require.NoError(t, err, "a result beats an ended context")
		assert.Equal(t, 7, v)
	})
	inBubble(t, "a function that ends its goroutine", func(t *testing.T) {
		_, err := Go(func() (int, error) { runtime.Goexit(); return 0, nil }).Wait()
		require.ErrorIs(t, err, errExited)
	})
}

func TestWaitAll(t *testing.T) {
	bubble(t, "L-159", func(t *testing.T, f *fake, c *Client) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return record(fmt.Sprintf("sb-%d", n), runningV), nil
		}
		answer := f.delete
		f.delete = func(ctx context.Context, n int, req *sandboxv1.DeleteSandboxRequest) (*sandboxv1.DeleteSandboxResponse, error) {
			time.Sleep(time.Second)
			return answer(ctx, n, req)
		}
		var stops []*Future[StopResult]
		for range 5 {
			stops = append(stops, creating(t, c).Stop())
		}
		start := time.Now()
		results, err := WaitAll(t.Context(), stops...)
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(start), "they overlap")
		for i, r := range results {
			assert.Equal(t, fmt.Sprintf("sb-%d", i+1), r.Info.ID)
		}
	})
	inBubble(t, "L-160", func(t *testing.T) {
		one, two := errors.New("one"), errors.New("two")
		values, err := WaitAll(t.Context(), after(3, 1, nil), after(2, 2, one), after(1, 3, nil), after(4, 4, two), after(5, 5, nil))
		require.ErrorIs(t, err, one)
		require.ErrorIs(t, err, two)
		assert.Equal(t, []int{1, 0, 3, 0, 5}, values)
	})
	inBubble(t, "L-161", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		fs := []*Future[int]{after(time.Second, 1, nil), finished(2, nil), after(time.Second, 3, nil)}
		values, err := WaitAll(ctx, fs...)
		require.ErrorIs(t, err, context.Canceled)
		assert.Equal(t, []int{0, 2, 0}, values)
		time.Sleep(2 * time.Second)
		for _, f := range fs {
			assert.True(t, f.finished(), "all were begun")
		}
		none, err := WaitAll[int](ctx)
		assert.Nil(t, none)
		require.NoError(t, err)
	})
	inBubble(t, "L-164", func(t *testing.T) {
		var ran atomic.Int32
		f := Cold(func() (int32, error) { return ran.Add(1), nil })
		values, err := WaitAll(t.Context(), f, f)
		require.NoError(t, err)
		assert.Equal(t, []int32{1, 1}, values)
		cold := Cold(func() (int32, error) { return ran.Add(1), nil })
		_, err = WaitAll(t.Context(), cold, nil)
		require.ErrorIs(t, err, ErrInvalidArgument)
		_, _, err = WaitAny(t.Context(), 1, cold, nil)
		require.ErrorIs(t, err, ErrInvalidArgument)
		synctest.Wait()
		assert.EqualValues(t, 1, ran.Load(), "nothing was begun")
	})
}

func TestWaitAny(t *testing.T) {
	inBubble(t, "L-162", func(t *testing.T) {
		cold := after(1, 1, nil)
		_, _, err := WaitAny(t.Context(), 0, cold)
		require.ErrorIs(t, err, ErrInvalidArgument)
		synctest.Wait()
		assert.False(t, cold.finished())

		slow, fast, middle := after(3*time.Second, 3, nil), after(time.Second, 1, errors.New("failed")), after(2*time.Second, 2, nil)
		done, pending, err := WaitAny(t.Context(), 2, slow, fast, middle)
		require.NoError(t, err, "a failed one counts as done")
		assert.Equal(t, []*Future[int]{fast, middle}, done)
		assert.Equal(t, []*Future[int]{slow}, pending)

		done, pending, err = WaitAny(t.Context(), 9, slow, fast, middle)
		require.NoError(t, err)
		assert.Len(t, done, 3)
		assert.Empty(t, pending)
	})
	inBubble(t, "L-163", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		fast, slow := after(time.Second, 1, nil), after(time.Minute, 2, nil)
		done, pending, err := WaitAny(ctx, 2, slow, fast)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, []*Future[int]{fast}, done)
		assert.Equal(t, []*Future[int]{slow}, pending)
		slow.Wait()
	})
	inBubble(t, "surplus ones stay pending", func(t *testing.T) {
		a, b := finished(1, nil), finished(2, nil)
		done, pending, err := WaitAny(t.Context(), 1, a, b)
		require.NoError(t, err)
		assert.Equal(t, []*Future[int]{a}, done)
		assert.Equal(t, []*Future[int]{b}, pending)
	})
}

func TestCollect(t *testing.T) {
	bad := errors.New("bad")
	got, err := Collect(func(yield func(int, error) bool) {
		_ = yield(1, nil) && yield(2, nil) && yield(0, bad) && yield(3, nil)
	})
	require.ErrorIs(t, err, bad)
	assert.Equal(t, []int{1, 2}, got)
}
