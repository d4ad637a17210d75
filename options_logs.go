package cwsandbox

import (
	"math"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// LogOption is an option of [Sandbox.Logs] and [Sandbox.OpenLogs].
type LogOption interface{ applyLog(*logConfig) }

// logConfig is the configuration of a log stream.
type logConfig struct {
	faults     faults
	container  string
	follow     bool
	tail       int32     // zero: everything
	since      time.Time // zero: from the beginning
	timestamps bool
	cursor     LogCursor // without a session: none
	noResume   bool
}

func newLogConfig(c call, opts []LogOption) (*logConfig, error) {
	cfg := &logConfig{}
	applyAll(&cfg.faults, opts, func(o LogOption) { o.applyLog(cfg) })
	if cfg.cursor.Session != "" {
		cfg.checkCursor()
	}
	return cfg, cfg.faults.err(c)
}

// checkCursor is the service's rule for what may stand beside a session.
func (c *logConfig) checkCursor() {
	if !c.follow {
		c.faults.add("cursor", "needs WithFollow")
	}
	if c.tail != 0 || !c.since.IsZero() || c.timestamps {
		c.faults.add("cursor", "must not be given together with a tail, a time or timestamps: the stream goes on as it began")
	}
}

// request asks for the log from the beginning of what the options choose.
func (c *logConfig) request(id string) *sandboxv1.StreamLogsRequest {
	req := &sandboxv1.StreamLogsRequest{
		SandboxId: id, Container: c.container, Follow: c.follow, TailLines: c.tail, Timestamps: c.timestamps,
	}
	if !c.since.IsZero() {
		req.SinceTime = timestamppb.New(c.since)
	}
	return req
}

// requestFrom asks for the log from the cursor on.
func (c *logConfig) requestFrom(id string, at LogCursor) *sandboxv1.StreamLogsRequest {
	return &sandboxv1.StreamLogsRequest{
		SandboxId: id, Container: c.container, Follow: true,
		ResumeLogSessionId: at.Session, ResumeLogOffset: uint64(at.Offset),
	}
}

// requestSince asks for what is new since a time.
func (c *logConfig) requestSince(id string, t time.Time) *sandboxv1.StreamLogsRequest {
	req := c.request(id)
	req.TailLines = 0
	if t.After(c.since) {
		req.SinceTime = timestamppb.New(t)
	}
	return req
}

type logOption func(*logConfig)

func (o logOption) applyLog(c *logConfig) { o(c) }

func (o containerOption) applyLog(c *logConfig) {
	checkText(&c.faults, "container", string(o))
	c.container = string(o)
}

// WithFollow waits for what the main process prints from now on, until it has ended for good, instead of ending where the
// log ends now. A stream that is lost meanwhile is resumed: see [Sandbox.Logs].
func WithFollow() LogOption { return logOption(func(c *logConfig) { c.follow = true }) }

// WithTail begins with the last lines of the log, at least one. By default it begins with the oldest line that the service
// has kept. An unfinished last line counts as a line.
func WithTail(lines int) LogOption {
	return logOption(func(c *logConfig) {
		if lines < 1 || lines > math.MaxInt32 {
			c.faults.add("tail", "must be between 1 and %d lines, is %d", math.MaxInt32, lines)
			return
		}
		c.tail = int32(lines)
	})
}

// WithSince leaves out lines that were printed before t. Together with [WithTail] the tail is taken of what is left. The
// zero time is the beginning.
func WithSince(t time.Time) LogOption {
	return logOption(func(c *logConfig) {
		if err := timestamppb.New(t).CheckValid(); err != nil {
			c.faults.add("since", "must be in the years 1 to 9999, is %v", t)
		}
		c.since = t
	})
}

// WithTimestamps has the service put the time of each line, in UTC by ISO 8601, and a space in front of it. It makes
// [LogLine.Time] exact, too.
func WithTimestamps() LogOption { return logOption(func(c *logConfig) { c.timestamps = true }) }

// WithCursor goes on behind a line that was seen before, byte by byte, perhaps by another process: see [LogLine.Cursor].
// It needs [WithFollow], and is not for use beside [WithTail], [WithSince] and [WithTimestamps]: whether lines have
// timestamps stays as it was. The zero cursor is the beginning, as without this option.
//
// The service keeps a session for a while only, and only the newest part of a long log. Where it cannot go on from there,
// the stream ends in an error whose StreamCode is SESSION_NOT_FOUND or REPLAY_GAP, whatever it has delivered by then.
func WithCursor(c LogCursor) LogOption {
	return logOption(func(cfg *logConfig) {
		checkText(&cfg.faults, "cursor", c.Session)
		switch {
		case c.Offset < 0:
			cfg.faults.add("cursor", "the offset must not be negative, is %d", c.Offset)
		case c.Session == "" && c.Offset != 0:
			cfg.faults.add("cursor", "needs the session that the offset is in")
		}
		cfg.cursor = c
	})
}

// WithoutResume ends a stream with the first failure. [WithCursor] can go on from there.
func WithoutResume() LogOption { return logOption(func(c *logConfig) { c.noResume = true }) }
