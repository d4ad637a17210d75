package lease

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTicks(t *testing.T) {
	for _, length := range []time.Duration{
		Shortest, 1500 * time.Millisecond, 10 * time.Second, 30 * time.Second, 49 * time.Second, 50 * time.Second,
		98 * time.Second, 5 * time.Minute, time.Hour + time.Millisecond, Longest,
	} {
		tick, ticks := Lease{Length: length}.tick()
		counted := tick * time.Duration(ticks)
		assert.GreaterOrEqual(t, counted, length)
		// One tick until a change is seen, one between SIGTERM and SIGKILL.
		assert.LessOrEqual(t, counted+2*tick, length*11/10, length)
		if length >= least*time.Second {
			assert.Zero(t, tick%time.Second, "a sleep that takes only whole seconds cannot do this")
		}
	}
}

func TestWrapKeepsTheCommand(t *testing.T) {
	args := []string{"-c", "exit $0", ""}
	name, wrapped := Lease{ID: "a", Length: time.Minute}.Wrap("sh", args)
	assert.Equal(t, "/bin/sh", name)
	assert.Equal(t, append([]string{"sh"}, args...), wrapped[len(wrapped)-4:])
	assert.NotContains(t, wrapped[1], "\n#")
	assert.Less(t, len(wrapped[1]), 4<<10, "it travels with every create")
}

func TestUnwrap(t *testing.T) {
	name, args := Lease{ID: "a", Length: time.Minute}.Wrap("sh", []string{"-c", "true"})
	assert.Equal(t, []string{"sh", "-c", "true"}, Unwrap(append([]string{name}, args...)))
	other := []string{"/bin/sh", "-c", "true", "a", "b", "c", "d", "e", "f", "g"}
	assert.Equal(t, other, Unwrap(other))
}

func TestParse(t *testing.T) {
	want := Lease{ID: "0a1B-2", Length: 90 * time.Second}
	got, err := Parse(want.String())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	for _, s := range []string{
		"", "1m30s", "1m30s ", "1m30s ../../etc/passwd", "1m30s a b", "90 a", "-1m a", "10ms a", "25h a", "1m a\n",
		"1m " + strings.Repeat("a", 65),
	} {
		_, err := Parse(s)
		assert.ErrorContains(t, err, "no lease", s)
	}
}
