package localserver

import (
	"bytes"
	"sort"
	"sync"
	"time"
)

const (
	// keptLog is how much of a log is kept. What is beyond it is dropped in larger pieces, logSlack at a time, because
	// dropping moves the rest.
	keptLog  = 16 << 20
	logSlack = 4 << 20
)

// A logStore holds the output of a container's main processes, in order of arrival, and when each piece of it came.
type logStore struct {
	clock Clock

	mu       sync.Mutex
	start    int64  // offset of the first byte that is kept
	data     []byte // from start on
	marks    []mark // ascending; the first one is at start
	lines    int64  // begun so far
	midLine  bool   // the last byte did not end a line
	closed   bool
	changed  chan struct{} // closed and replaced with every change
	sessions map[string]*logSession
}

// A mark is where a line or a piece of output begins.
type mark struct {
	offset int64
	at     int64 // arrival of the bytes from here on, in Unix nanoseconds
	line   int64 // lines begun before this mark
	begins bool  // a line begins here
}

func newLogStore(c Clock) *logStore {
	return &logStore{clock: c, changed: make(chan struct{}), sessions: make(map[string]*logSession)}
}

// Write adds output. It never fails.
func (l *logStore) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(p) == 0 {
		return 0, nil
	}
	at, offset := l.clock.Now().UnixNano(), l.end()
	l.data = append(l.data, p...)
	for rest := p; len(rest) > 0; {
		l.marks = append(l.marks, mark{offset: offset, at: at, line: l.lines, begins: !l.midLine})
		if !l.midLine {
			l.lines++
		}
		n := bytes.IndexByte(rest, '\n') + 1
		l.midLine = n == 0
		if n == 0 {
			n = len(rest)
		}
		offset += int64(n)
		rest = rest[n:]
	}
	if len(l.data) > keptLog+logSlack {
		l.trim(l.end() - keptLog)
	}
	l.notify()
	return len(p), nil
}

// trim drops whole lines up to an offset, and part of a line only where there is no other way.
func (l *logStore) trim(to int64) {
	i := l.nextLine(sort.Search(len(l.marks), func(i int) bool { return l.marks[i].offset >= to }))
	if i == len(l.marks) { // one line is larger than what is kept
		i = l.markAt(to)
		l.marks[i].offset, l.marks[i].begins = to, false
		l.marks[i].line = l.lines
	}
	from := l.marks[i].offset
	l.marks = append(l.marks[:0], l.marks[i:]...)
	l.data = append(l.data[:0], l.data[from-l.start:]...)
	l.start = from
}

// markAt is the last mark that is not behind the offset.
func (l *logStore) markAt(offset int64) int {
	return sort.Search(len(l.marks), func(i int) bool { return l.marks[i].offset > offset }) - 1
}

// nextLine is the first mark from the given one on where a line begins.
func (l *logStore) nextLine(i int) int {
	for i < len(l.marks) && !l.marks[i].begins {
		i++
	}
	return i
}

func (l *logStore) end() int64 { return l.start + int64(len(l.data)) }

// close says that nothing will be added.
func (l *logStore) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.notify()
}

func (l *logStore) notify() {
	close(l.changed)
	l.changed = make(chan struct{})
}

// selectFrom is the first of the lines that a request wants: those since a time, and of these the last ones. A zero
// time and a zero count do not choose. It returns the offset, and how many lines begin before it. It is not found while no
// line has begun since the time.
func (l *logStore) selectFrom(since time.Time, tail int64) (offset, line int64, found bool) {
	i := 0
	if !since.IsZero() {
		if i = l.lineSince(since, 0); i == len(l.marks) {
			return l.end(), l.lines, false
		}
	}
	if tail > 0 {
		i = max(i, l.lastLines(tail))
	}
	if i == len(l.marks) {
		return l.end(), l.lines, true
	}
	return l.marks[i].offset, l.marks[i].line, true
}

// lineSince is the first mark from the given one on where a line begins at a time or later.
func (l *logStore) lineSince(since time.Time, first int) int {
	i := sort.Search(len(l.marks), func(i int) bool { return !time.Unix(0, l.marks[i].at).Before(since) })
	return l.nextLine(max(i, first))
}

// lastLines is the mark where the last lines begin. The rest of a line whose beginning was dropped counts as one.
func (l *logStore) lastLines(n int64) int {
	wanted := l.lines - n
	if len(l.marks) > 0 && !l.marks[0].begins && wanted < l.marks[0].line {
		return 0
	}
	return l.nextLine(sort.Search(len(l.marks), func(i int) bool { return l.marks[i].line >= wanted }))
}
