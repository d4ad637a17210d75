package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// In a bubble, whatever is left behind fails the test.
func TestLogsLeaveNothingBehind(t *testing.T) {
	printing := func(gone chan<- error) func(d *logDialog) error {
		return func(d *logDialog) error {
			for n := 1; ; n++ {
				if err := d.show("line\n", uint64(5*n)); err != nil {
					gone <- err
					return err
				}
			}
		}
	}
	story(t, "a loop that is left", func(t *testing.T, s *script, sb *Sandbox) {
		gone := make(chan error, 1)
		s.answerLogs(printing(gone))
		n := 0
		for line, err := range sb.Logs(t.Context(), WithFollow()) {
			require.NoError(t, err)
			require.Equal(t, "line", line.Text)
			if n++; n == 1000 {
				break
			}
		}
		assert.Error(t, <-gone, "the service has noticed")
	})
	story(t, "a loop that panics", func(t *testing.T, s *script, sb *Sandbox) {
		gone := make(chan error, 1)
		s.answerLogs(printing(gone))
		assert.Panics(t, func() {
			for range sb.Logs(t.Context(), WithFollow()) {
				panic("in the body")
			}
		})
		assert.Error(t, <-gone)
	})
	story(t, "a reader that is closed early", func(t *testing.T, s *script, sb *Sandbox) {
		gone := make(chan error, 1)
		s.answerLogs(printing(gone))
		r, err := sb.OpenLogs(t.Context(), WithFollow())
		require.NoError(t, err)
		_, err = io.ReadFull(r, make([]byte, 7))
		require.NoError(t, err)
		require.NoError(t, r.Close())
		require.NoError(t, r.Close())
		assert.Error(t, <-gone)
		_, err = r.Read(make([]byte, 1))
		assert.ErrorIs(t, err, ErrClosed)
	})
	story(t, "a close while a read waits", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs((*logDialog).hang)
		r, err := sb.OpenLogs(t.Context(), WithFollow())
		require.NoError(t, err)
		end := make(chan error, 1)
		go func() {
			_, err := r.Read(make([]byte, 1))
			end <- err
		}()
		synctest.Wait()
		require.NoError(t, r.Close())
		all(t, <-end, ErrClosed)
	})
	story(t, "a close before an attempt", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs(func(*logDialog) error { return status.Error(codes.Unavailable, "away") })
		r, err := sb.OpenLogs(t.Context(), WithFollow())
		require.NoError(t, err)
		end := make(chan error, 1)
		go func() {
			_, err := r.Read(make([]byte, 1))
			end <- err
		}()
		synctest.Wait()
		require.NoError(t, r.Close())
		assert.ErrorIs(t, <-end, ErrClosed)
		assert.Len(t, book.seen(), 1)
	})
	story(t, "a context that ends", func(t *testing.T, s *script, sb *Sandbox) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		why := errors.New("enough")
		s.answerLogs(func(d *logDialog) error {
			assert.NoError(t, d.show("line\n", 5))
			return d.hang()
		})
		var lines int
		for _, err := range sb.Logs(ctx, WithFollow()) {
			if err != nil {
				all(t, err, context.Canceled, why)
				none(t, err, ErrTimeout, ErrClosed)
				continue
			}
			lines++
			cancel(why)
		}
		assert.Equal(t, 1, lines)
	})
	story(t, "a deadline before an attempt", func(t *testing.T, s *script, sb *Sandbox) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		s.answerLogs(func(*logDialog) error { return status.Error(codes.Unavailable, "away") })
		begin := time.Now()
		_, err := Collect(sb.Logs(ctx, WithFollow()))
		all(t, err, context.DeadlineExceeded, ErrTimeout, ErrUnavailable)
		assert.ErrorContains(t, err, "away")
		assert.Equal(t, 100*time.Millisecond, time.Since(begin))
	})
	story(t, "a context that has ended", func(t *testing.T, s *script, sb *Sandbox) {
		book := s.answerLogs((*logDialog).hang)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := Collect(sb.Logs(ctx, WithFollow()))
		assert.ErrorIs(t, err, context.Canceled)
		_, err = sb.OpenLogs(ctx)
		assert.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, book.seen())
	})
	story(t, "a client that is closed", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs((*logDialog).hang)
		end := make(chan error, 1)
		go func() {
			_, err := Collect(sb.Logs(t.Context(), WithFollow()))
			end <- err
		}()
		synctest.Wait()
		require.NoError(t, sb.s.client.Close())
		assert.ErrorIs(t, <-end, ErrClosed)
	})
	story(t, "a client that is closed before an attempt", func(t *testing.T, s *script, sb *Sandbox) {
		s.answerLogs(func(*logDialog) error { return status.Error(codes.Unavailable, "away") })
		end := make(chan error, 1)
		go func() {
			_, err := Collect(sb.Logs(t.Context(), WithFollow()))
			end <- err
		}()
		synctest.Wait()
		require.NoError(t, sb.s.client.Close())
		begin := time.Now()
		assert.ErrorIs(t, <-end, ErrClosed)
		assert.Equal(t, begin, time.Now(), "at once")
	})
	story(t, "a sandbox that is stopped", func(t *testing.T, s *script, sb *Sandbox) {
		tail := make(chan struct{})
		s.answerLogs(func(d *logDialog) error {
			<-tail
			if d.n == 1 {
				return d.show("last words\n", 11)
			}
			return d.hang()
		})
		var ends [2]chan error
		for i := range ends {
			ends[i] = make(chan error, 1)
			go func() {
				lines, err := Collect(sb.Logs(t.Context(), WithFollow()))
				ends[i] <- errors.Join(err, errors.New(fmt.Sprint(len(lines), " lines")))
			}()
			synctest.Wait()
		}
		sb.s.endLife(errStopped)
		synctest.Wait()
		begin := time.Now()
		close(tail)
		assert.EqualError(t, <-ends[0], "1 lines", "the service ends the stream by itself")
		all(t, <-ends[1], ErrNotRunning, ErrTerminated)
		assert.Equal(t, tailLimit, time.Since(begin))
	})
	story(t, "a slow reader holds the service back", func(t *testing.T, s *script, sb *Sandbox) {
		sent := 0
		frame := strings.Repeat("x", 32<<10-1) + "\n"
		s.answerLogs(func(d *logDialog) error {
			for ; sent < 1000; sent++ {
				if err := d.show(frame, uint64(len(frame)*(sent+1))); err != nil {
					return err
				}
			}
			return nil
		})
		n := 0
		for line, err := range sb.Logs(t.Context(), WithFollow()) {
			require.NoError(t, err)
			if n++; n == 1 {
				synctest.Wait()
				assert.Less(t, sent, 200, "what is under way is bounded")
			}
			require.Equal(t, int64(n*len(frame)), line.Cursor.Offset)
		}
		assert.Equal(t, 1000, n)
	})
}
