package cwsandbox

import (
	"bytes"
	"strings"
	"time"
)

// maxLine is how much of a line is gathered. A longer one comes in pieces of that size.
const maxLine = 1 << 20

// keptLine is how large a buffer may be that stays for the next unfinished line.
const keptLine = 64 << 10

// lineSplitter makes lines of pieces that are cut anywhere.
type lineSplitter struct {
	limit  int  // of a line
	stamps bool // lines begin with their time

	rest   []byte    // of a line that has not ended yet
	inside bool      // of a line; rest is empty at the beginning of a piece of it
	later  bool      // a piece of that line was yielded
	begun  time.Time // when that line was
	end    LogCursor // of what came so far
}

// split calls yield with each line that a frame completes, and returns false when that does.
func (s *lineSplitter) split(f logFrame, yield func(LogLine) bool) bool {
	s.end = f.end
	for data := f.data; len(data) > 0; {
		if !s.inside {
			s.inside, s.later, s.begun = true, false, f.at
		}
		n, whole := bytes.IndexByte(data, '\n'), true
		if n < 0 {
			n, whole = len(data), false
		}
		if room := s.limit - len(s.rest); n > room {
			n, whole = room, false
		} else if !whole {
			s.rest = append(s.rest, data...)
			return true
		}
		text := s.text(data[:n])
		if whole {
			n++
		}
		data = data[n:]
		s.inside = !whole
		if !yield(s.line(text, !whole, f.end.before(len(data)))) {
			return false
		}
	}
	return true
}

// flush calls yield with a line that will not be completed, if there is one.
func (s *lineSplitter) flush(yield func(LogLine) bool) bool {
	if !s.inside {
		return true
	}
	text := s.text(nil)
	s.inside = false
	return text == "" || yield(s.line(text, true, s.end))
}

// text is what was gathered, and more.
func (s *lineSplitter) text(more []byte) string {
	if len(s.rest) == 0 {
		return string(more)
	}
	s.rest = append(s.rest, more...)
	text := string(s.rest)
	if s.rest = s.rest[:0]; cap(s.rest) > keptLine {
		s.rest = nil
	}
	return text
}

func (s *lineSplitter) line(text string, partial bool, at LogCursor) LogLine {
	if s.stamps && !s.later {
		stamp, _, _ := strings.Cut(text, " ")
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			s.begun = t.UTC()
		}
	}
	s.later = true
	return LogLine{Text: text, Time: s.begun, Partial: partial, Cursor: at}
}

// before is the place n bytes before c.
func (c LogCursor) before(n int) LogCursor {
	if c.Session == "" || c.Offset < int64(n) {
		return LogCursor{}
	}
	return LogCursor{c.Session, c.Offset - int64(n)}
}
