package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	// maxResumes is how many attempts in a row may bring nothing. The first one waits for firstResume, each further one
	// twice as long, or as long as the service asks for, up to largestResume.
	maxResumes    = 3
	firstResume   = 500 * time.Millisecond
	largestResume = 10 * time.Second

	// steadyStream is how long a stream must have stood to count as an attempt that was good for something, although
	// nothing was printed: else a silent log would end with the fourth idle connection that some proxy cuts.
	steadyStream = time.Minute

	// tailLimit is how long a stream may go on after a stop has seen the end of the sandbox: the service ends it, once
	// it has shown the last line.
	tailLimit = 5 * time.Second
)

// logStream is a log as it comes, over as many streams of the service's as it takes. It has no goroutine: everything
// happens in next, which, as connect, is for one goroutine at a time.
type logStream struct {
	call  call
	state *shared // also keeps alive what is known of the sandbox, so that a stop finds the stream
	cfg   *logConfig

	caller  context.Context
	life    context.Context // ends with caller, by close and release, and some time after a stop
	cancel  context.CancelCauseFunc
	release func() // lets go of everything; may be called at any time, and again

	stream sandboxv1.SandboxService_StreamLogsClient // nil: to be opened
	drop   context.CancelFunc
	opened time.Time
	failed error // came beside the newest data

	at       LogCursor // where to resume; without a session the service does not say
	begun    bool      // something has arrived
	lost     time.Time // since when nothing arrives, although something did before; zero: it does
	gap      bool      // what arrives next does not follow what did before
	attempts int       // to resume, since something has arrived
}

// logFrame is a piece of a log, cut anywhere.
type logFrame struct {
	data []byte
	at   time.Time // when the newest byte was printed
	end  LogCursor // the place behind it
	gap  bool      // it does not follow the one before
}

func newLogStream(ctx context.Context, s *shared, c call, cfg *logConfig) *logStream {
	l := &logStream{call: c, state: s, cfg: cfg, at: cfg.cursor, caller: ctx, drop: func() {}}
	l.life, l.cancel = context.WithCancelCause(ctx)
	cancel := l.cancel
	if s.life.Err() != nil { // the log of what has ended: ready has let nobody through who follows one
		l.release = func() { cancel(nil) }
		return l
	}
	life := l.life
	unlink := context.AfterFunc(s.life, func() {
		select {
		case <-time.After(tailLimit):
			cancel(errStopped)
		case <-life.Done():
		}
	})
	l.release = func() {
		unlink()
		cancel(nil)
	}
	return l
}

// close ends the stream; next then says that it is closed. It may be called while next waits.
func (l *logStream) close() {
	l.cancel(l.closedError())
	l.release()
}

func (l *logStream) closedError() error { return l.call.refuse("the log was closed", ErrClosed) }

// next returns the next piece, which is not empty. An error, io.EOF at the end of the log, releases everything.
func (l *logStream) next() (logFrame, error) {
	for {
		if err := l.connect(); err != nil {
			return logFrame{}, l.finish(err)
		}
		entry, err := l.receive()
		if err == io.EOF {
			return logFrame{}, l.finish(err)
		}
		if err != nil {
			if err = l.resume(err); err != nil {
				return logFrame{}, l.finish(err)
			}
			continue
		}
		if len(entry.GetData()) > 0 {
			return l.take(entry), nil
		}
	}
}

// connect opens a stream if there is none.
func (l *logStream) connect() error {
	for l.stream == nil {
		if err := l.open(); err != nil {
			if err = l.resume(err); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *logStream) open() error {
	ctx, drop := context.WithCancel(l.life)
	stream, err := l.state.data.StreamLogs(ctx, l.request())
	if err != nil {
		drop()
		return l.call.wrap(err)
	}
	l.stream, l.drop, l.opened = stream, drop, time.Now()
	return nil
}

// request asks for what has not arrived yet. Without a place to go on from, that is what was printed since the loss.
func (l *logStream) request() *sandboxv1.StreamLogsRequest {
	switch {
	case l.at.Session != "":
		return l.cfg.requestFrom(l.state.id, l.at)
	case l.begun:
		l.gap = true
		l.state.client.config.logger.Warn("a log stream was begun again, and lines may be missing", "sandbox", l.state.id)
		return l.cfg.requestSince(l.state.id, l.lost)
	}
	return l.cfg.request(l.state.id)
}

// receive returns the next entry, or the error that the stream has ended with.
func (l *logStream) receive() (*sandboxv1.LogEntry, error) {
	if l.failed != nil {
		return nil, l.failed
	}
	entry, err := l.stream.Recv()
	if err == io.EOF {
		return nil, err
	}
	if err != nil {
		return nil, l.call.wrap(err)
	}
	if fault := entry.GetError(); fault != nil {
		timer := time.AfterFunc(closingLimit, l.drop)
		defer timer.Stop()
		_, _ = l.stream.Recv() // whatever it says, the fault stands
		l.failed = l.call.inBand(fault.GetCode(), fault.GetMessage())
		if len(entry.GetData()) == 0 {
			return nil, l.failed
		}
	}
	return entry, nil
}

// take makes a piece of an entry, and remembers the place behind it.
func (l *logStream) take(entry *sandboxv1.LogEntry) logFrame {
	f := logFrame{data: entry.GetData(), gap: l.gap}
	if at := entry.GetTimestamp(); at != nil {
		f.at = at.AsTime()
	}
	if next := entry.GetNextLogOffset(); entry.GetLogSessionId() != "" && next <= math.MaxInt64 {
		f.end = LogCursor{entry.GetLogSessionId(), int64(next)}
	}
	l.at, l.begun, l.lost, l.gap, l.attempts = f.end, true, time.Time{}, false, 0
	return f
}

// finish is the end of the log, for good or ill.
func (l *logStream) finish(err error) error {
	l.release()
	l.state.client.registry.signals.afterSignal()
	return err
}

// resume decides about a failure. It returns nil when it is time for another attempt.
func (l *logStream) resume(err error) error {
	steady := l.stream != nil && time.Since(l.opened) >= steadyStream
	l.drop()
	l.stream, l.failed = nil, nil
	switch {
	case l.life.Err() != nil:
		return l.ended(err)
	case !l.resumable(err):
		return err
	case steady:
		l.attempts = 0
	case l.attempts == maxResumes:
		return spent(err)
	}
	if l.begun && l.lost.IsZero() {
		l.lost = time.Now()
	}
	if !l.exact() && logFaultOf(err) >= faultForgets {
		l.at = LogCursor{}
	}
	return l.pause(err)
}

// exact reports whether the stream has to go on from a place of the caller's choice: what it shows by itself would be
// another log.
func (l *logStream) exact() bool { return l.cfg.cursor.Session != "" }

// resumable reports whether a failure is one that another attempt may mend.
func (l *logStream) resumable(err error) bool {
	switch {
	case !l.cfg.follow, l.cfg.noResume, l.exact() && l.at.Session == "":
		return false
	case l.exact() && logFaultOf(err) == faultForgotten:
		return false
	case logFaultOf(err) != faultFinal:
		return true
	}
	rpc, ok := errors.AsType[*rpcerr.Error](err)
	switch {
	case !ok, rpc.Context != nil, rpc.Err != nil:
		return false
	case rpc.Decides():
		return rpcerr.Transient(rpc)
	}
	switch rpc.Status.Code() {
	case codes.Unavailable, codes.Internal, codes.Unknown:
		return true
	}
	return false
}

// pause waits before the next attempt.
func (l *logStream) pause(err error) error {
	delay := jitter(firstResume << l.attempts)
	if e, ok := errors.AsType[*Error](err); ok {
		delay = max(delay, min(e.RetryAfter, largestResume))
	}
	l.attempts++
	l.state.client.config.logger.Debug("a log stream is resumed", "sandbox", l.state.id, "attempt", l.attempts,
		"delay", delay, "error", err)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-l.state.client.closed: // as the next attempt finds out
	case <-l.life.Done():
		return l.ended(err)
	}
	return nil
}

// ended says why the stream's life is over. The newest failure stays in the error.
func (l *logStream) ended(last error) error {
	cause := context.Cause(l.life)
	switch {
	case l.caller.Err() == nil && cause == errStopped:
		return l.call.refuse("the sandbox was stopped", ErrNotRunning, ErrTerminated, last)
	case l.caller.Err() == nil:
		return cause
	case errors.Is(last, l.caller.Err()):
		return last
	}
	causes, text := []error{ctxError(l.caller), last}, l.caller.Err().Error()
	if errors.Is(l.caller.Err(), context.DeadlineExceeded) {
		causes = append(causes, ErrTimeout)
	}
	if e, ok := errors.AsType[*Error](last); ok {
		text += "; the last failure: " + e.text
	}
	return l.call.refuse(text, causes...)
}

// spent is the last of several failures in a row.
func spent(err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	last := *e
	last.text += fmt.Sprintf("; %d attempts to resume have failed", maxResumes)
	last.is = append(slices.Clone(e.is), ErrUnavailable)
	return &last
}

// logFault is what an error inside a log stream means for the session.
type logFault int

const (
	faultFinal       logFault = iota
	faultInterrupted          // the session is still there
	faultForgets              // it may be: whoever holds it is going away
	faultForgotten            // it is not, or not with what is missing
)

var logFaults = map[string]logFault{
	"STREAM_INTERRUPTED": faultInterrupted,
	"RUNNER_UNAVAILABLE": faultForgets,
	"RUNNER_DRAINING":    faultForgets,
	"SESSION_NOT_FOUND":  faultForgotten,
	"REPLAY_GAP":         faultForgotten,
}

func logFaultOf(err error) logFault {
	if e, ok := errors.AsType[*Error](err); ok {
		return logFaults[e.StreamCode]
	}
	return faultFinal
}
