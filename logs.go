package cwsandbox

import (
	"context"
	"errors"
	"io"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// LogLine is one line of a log.
type LogLine struct {
	// Text is the line as it was printed, without the newline that ends it.
	Text string

	// Time is when the line was begun, in UTC. Without [WithTimestamps] it is that of the newest byte which the service
	// has sent together with the beginning of the line: for what was in the log already, a little late.
	Time time.Time

	// Partial says that no newline follows: the log ends here or goes on with a gap, or the line is longer than 1 MiB and
	// comes in pieces.
	Partial bool

	// Cursor is the place behind this line, for [WithCursor]. Its session changes where the service has begun another
	// one, and something may be missing. The zero cursor says that the service gives none.
	Cursor LogCursor
}

// LogCursor is a place in a log.
type LogCursor struct {
	Session string // the service's name for the stream that showed the log
	Offset  int64  // bytes of that stream before this place
}

// Logs yields the lines of the log: what the main process of a container has printed, on standard output and standard
// error, restarts included. What commands print, those of [Sandbox.Exec] and of shells, is not in it. By default it ends
// where the log ends now; with [WithFollow] it goes on until the main process has ended for good. Each range over the
// result is a stream of its own, and nothing is sent before.
//
// The context is the life of the stream; without a deadline there is no limit. In a sandbox that is still starting it
// waits until there is a log. The service shows the log of a running sandbox only: once that is ending it refuses, with
// [ErrNotRunning], while a stream that follows the log shows what is printed up to the end.
//
// A stream that follows the log and is lost on the way, or that the service interrupts, is resumed where it was, without
// duplicates or gaps, after half a second, one, and two. When three attempts in a row have brought nothing, the error
// matches [ErrUnavailable]. Where the service has lost the place, too, the log goes on with the lines that were begun
// since the loss; a new session of [LogLine.Cursor] tells. Other failures, with [WithoutResume] all of them, end the
// stream at once.
//
// An error comes once, last, beside a zero line, after an unfinished one that had arrived. To leave the loop early
// releases everything. While the loop's body takes its time nothing piles up in this program: the service waits, and for a
// reader that is too slow for too long drops what it cannot keep, which is such a loss of the place.
func (sb *Sandbox) Logs(ctx context.Context, opts ...LogOption) iter.Seq2[LogLine, error] {
	return func(yield func(LogLine, error) bool) {
		err := sb.s.lines(ctx, opts, func(line LogLine) bool { return yield(line, nil) })
		if err != nil {
			yield(LogLine{}, err)
		}
	}
}

// lines calls yield with each line until it says stop.
func (s *shared) lines(ctx context.Context, opts []LogOption, yield func(LogLine) bool) error {
	l, err := s.openLog(ctx, opts)
	if err != nil {
		return err
	}
	defer l.release()
	split := lineSplitter{limit: maxLine, stamps: l.cfg.timestamps}
	for {
		f, err := l.next()
		if (err != nil || f.gap) && !split.flush(yield) {
			return nil
		}
		switch {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case !split.split(f, yield):
			return nil
		}
	}
}

// OpenLogs is [Sandbox.Logs] for the bytes of the log, as they were printed, with timestamps where they were asked for.
// The error says that the log could not be asked for; what the service refuses comes from Read, as every later failure
// does. A place where the service has lost something cannot be seen in the bytes: who must know reads lines, or uses
// [WithoutResume].
//
// Close ends the stream, also while a Read waits; Read is [ErrClosed] then. A reader that is read to its end, that is
// dropped, or whose context ends holds nothing either. Its methods are safe for concurrent use.
func (sb *Sandbox) OpenLogs(ctx context.Context, opts ...LogOption) (io.ReadCloser, error) {
	l, err := sb.s.openLog(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := l.connect(); err != nil {
		return nil, l.finish(err)
	}
	r := &logReader{log: l}
	runtime.AddCleanup(r, func(release func()) { release() }, l.release)
	return r, nil
}

// openLog returns a stream that is about to be opened. It must be released.
func (s *shared) openLog(ctx context.Context, opts []LogOption) (*logStream, error) {
	c := call{op: "logs", sandbox: s.id}
	cfg, err := newLogConfig(c, opts)
	if err != nil {
		return nil, err
	}
	err = s.ready(ctx, c.op)
	if !cfg.follow && errors.Is(err, ErrNotRunning) {
		err = nil // for the service to decide: it may keep the log for longer
	}
	if err != nil {
		return nil, err
	}
	return newLogStream(ctx, s, c, cfg), nil
}

// logReader is a log stream as a file.
type logReader struct {
	closed atomic.Bool

	mu   sync.Mutex // one Read at a time
	log  *logStream
	rest []byte // of the newest piece
	err  error
}

func (r *logReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer runtime.KeepAlive(r) // else the cleanup might end a stream that is being read for the last time
	if r.closed.Load() {
		return 0, r.log.closedError()
	}
	if len(r.rest) == 0 && r.err == nil {
		var f logFrame
		f, r.err = r.log.next()
		r.rest = f.data
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *logReader) Close() error {
	if !r.closed.Swap(true) {
		r.log.close()
	}
	return nil
}
