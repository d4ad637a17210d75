package localserver

import (
	"crypto/rand"
	"math"
	"sort"
	"time"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	replayWindow = 1 << 20
	sessionLife  = time.Minute
	// stampLayout renders the time of a line, with the blank that separates it from the line.
	stampLayout = "2006-01-02T15:04:05.000000000Z "
)

// A logSession is one way to see a log: from one line on, with or without timestamps. What it shows is a function of
// the log alone, so it can be resumed at any byte without having been kept.
type logSession struct {
	id     string
	caller identity
	stamps bool
	since  time.Time

	// Guarded by the log's mutex.
	from      int64 // offset in the log
	line      int64 // lines that begin before that
	found     bool  // the line to begin with; until then from is where to look for it
	produced  int64 // bytes shown so far
	forgotten int64 // of these, those that a test has dropped from the replay window
	readers   int
	idleSince time.Time // with no readers
}

// A logCursor is a reader's place in a session.
type logCursor struct {
	log     *logStore
	session *logSession
	next    int64 // bytes of the session that the reader has
	until   int64 // offset in the log where it ends
}

// open begins a session.
func (l *logStore) open(who identity, req *sandboxv1.StreamLogsRequest) *logCursor {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireSessions()
	var since time.Time
	if req.GetSinceTime() != nil {
		since = req.GetSinceTime().AsTime()
	}
	s := &logSession{id: rand.Text(), caller: who, stamps: req.GetTimestamps(), since: since, readers: 1}
	s.from, s.line, s.found = l.selectFrom(since, int64(req.GetTailLines()))
	l.sessions[s.id] = s
	c := &logCursor{log: l, session: s, until: l.end()}
	if req.GetFollow() {
		c.until = math.MaxInt64
	}
	return c
}

// resume continues a session. The error code, when there is one, is for the client.
func (l *logStore) resume(who identity, id string, offset uint64) (*logCursor, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expireSessions()
	s := l.sessions[id]
	switch {
	case s == nil || s.caller != who:
		return nil, "SESSION_NOT_FOUND"
	case offset > uint64(s.produced):
		return nil, "INVALID_RESUME_OFFSET"
	case s.produced-int64(offset) > replayWindow, int64(offset) < s.forgotten:
		return nil, "REPLAY_GAP"
	}
	s.readers++
	return &logCursor{log: l, session: s, next: int64(offset), until: math.MaxInt64}, ""
}

// close gives the place up. The session can be resumed for a while.
func (c *logCursor) close() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	if c.session.readers--; c.session.readers == 0 {
		c.session.idleSince = c.log.clock.Now()
	}
}

func (l *logStore) expireSessions() {
	now := l.clock.Now()
	for id, s := range l.sessions {
		if s.readers == 0 && now.Sub(s.idleSince) >= sessionLife {
			delete(l.sessions, id)
		}
	}
}

// A logPiece is what a reader gets next. Without data there is nothing now: done says that nothing will follow, lost
// that the log has dropped what should follow, and otherwise changed is closed when it is worth another look.
type logPiece struct {
	data       []byte
	at         time.Time
	done, lost bool
	changed    <-chan struct{}
}

// read returns the next bytes of the session and moves on.
func (c *logCursor) read() logPiece {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if !c.session.find(l) {
		return logPiece{done: l.closed || c.until <= l.end(), changed: l.changed}
	}
	i := sort.Search(len(l.marks), func(i int) bool { return c.session.place(l.marks[i]) > c.next }) - 1
	if i < 0 {
		return logPiece{lost: len(l.marks) > 0, done: l.closed || c.until <= l.end(), changed: l.changed}
	}
	var p logPiece
	for ; i < len(l.marks) && l.marks[i].offset < c.until && len(p.data) < frameBytes; i++ {
		before := len(p.data)
		p.data = c.render(p.data, i)
		if len(p.data) > before {
			p.at = time.Unix(0, l.marks[i].at)
		}
	}
	c.next += int64(len(p.data))
	c.session.produced = max(c.session.produced, c.next)
	p.done = len(p.data) == 0 && (l.closed || c.until <= l.end())
	p.changed = l.changed
	return p
}

// find looks for the line that the session begins with: one that has begun at its time or later, and since it was opened.
func (s *logSession) find(l *logStore) bool {
	if s.found {
		return true
	}
	behind := sort.Search(len(l.marks), func(i int) bool { return l.marks[i].offset >= s.from })
	if i := l.lineSince(s.since, behind); i < len(l.marks) {
		s.from, s.line, s.found = l.marks[i].offset, l.marks[i].line, true
	}
	return s.found
}

// place is where the piece of a mark, with its timestamp, begins in the session.
func (s *logSession) place(m mark) int64 {
	at := m.offset - s.from
	if s.stamps {
		at += int64(len(stampLayout)) * (m.line - s.line)
	}
	return at
}

// render appends what belongs to a mark, as much as fits into a frame and from the reader's place on.
func (c *logCursor) render(dst []byte, i int) []byte {
	l, m := c.log, c.log.marks[i]
	skip := c.next + int64(len(dst)) - c.session.place(m)
	if m.begins && c.session.stamps {
		stamp := time.Unix(0, m.at).UTC().Format(stampLayout)
		if skip < int64(len(stamp)) {
			dst = appendFrame(dst, []byte(stamp[skip:]))
			skip = int64(len(stamp))
		}
		skip -= int64(len(stamp))
	}
	end := l.end()
	if i+1 < len(l.marks) {
		end = l.marks[i+1].offset
	}
	if from, end := m.offset+skip, min(end, c.until); from < end {
		dst = appendFrame(dst, l.data[from-l.start:end-l.start])
	}
	return dst
}

// appendFrame appends as much as a frame can hold.
func appendFrame(dst, src []byte) []byte {
	return append(dst, src[:min(len(src), frameBytes-len(dst))]...)
}
