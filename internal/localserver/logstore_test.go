package localserver

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// contents reads the whole log.
func (l *logStore) contents(stamps bool) string {
	c := l.open(identity{}, &sandboxv1.StreamLogsRequest{Timestamps: stamps})
	defer c.close()
	var all strings.Builder
	for {
		p := c.read()
		if len(p.data) == 0 {
			return all.String()
		}
		all.Write(p.data)
	}
}

func TestLogStoreDropsWholeLines(t *testing.T) {
	l := newLogStore(systemClock{})
	line := strings.Repeat("x", 999_999) + "\n"
	for range 100 {
		_, _ = l.Write([]byte(line))
	}
	got := l.contents(false)
	assert.LessOrEqual(t, len(got), keptLog+logSlack)
	assert.Greater(t, len(got), keptLog-2*len(line))
	assert.Zero(t, len(got)%len(line))
	assert.Equal(t, len(got)/len(line), strings.Count(l.contents(true), "Z "))
}

func TestLogStoreCutsAnEndlessLine(t *testing.T) {
	l := newLogStore(systemClock{})
	_, _ = l.Write([]byte("the first line\n"))
	piece := []byte(strings.Repeat("x", 1<<20))
	for range 40 {
		_, _ = l.Write(piece)
	}
	_, _ = l.Write([]byte("\nthe last line\n"))
	got := l.contents(false)
	assert.LessOrEqual(t, len(got), keptLog+logSlack+100)
	assert.Equal(t, "\nthe last line\n", strings.TrimLeft(got, "x"))
	assert.Equal(t, 1, strings.Count(l.contents(true), "Z "), "only the last line has its beginning")
	assert.True(t, strings.HasPrefix(l.contents(true), "x"))
	assert.EqualValues(t, 3, l.lines)
}

func TestLogStoreSinceAnyTime(t *testing.T) {
	l := newLogStore(systemClock{})
	_, _ = l.Write([]byte("line\n"))
	for year, found := range map[int]bool{1: true, 1000: true, 9999: false} { // what a Timestamp can hold
		_, _, got := l.selectFrom(time.Date(year, 2, 3, 0, 0, 0, 0, time.UTC), 0)
		assert.Equal(t, found, got, year)
	}
}

func TestLogStoreTrimsAtTheLineAfterwards(t *testing.T) {
	l := newLogStore(systemClock{})
	_, _ = l.Write([]byte(strings.Repeat("x", keptLog)))
	_, _ = l.Write([]byte("\n" + strings.Repeat("y", logSlack)))
	assert.Equal(t, strings.Repeat("y", 10), l.contents(false)[:10])
}
