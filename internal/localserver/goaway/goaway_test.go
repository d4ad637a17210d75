package goaway

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// GOAWAY must never come in the middle of another frame, however the frames are cut into writes.
func TestGoAwayKeepsFramesWhole(t *testing.T) {
	settings := []byte{0, 0, 0, 4, 0, 0, 0, 0, 0}
	data := append([]byte{0, 0, 3, 0, 0, 0, 0, 0, 1}, "abc"...)
	sent := append(append([]byte{}, settings...), data...)
	for split := 1; split <= len(sent); split++ {
		var dst sink
		w := New(&dst)

		n, err := w.Write(sent[:split])
		require.NoError(t, err)
		assert.Equal(t, split, n)
		ok, err := w.GoAway()
		require.NoError(t, err)
		assert.True(t, ok)
		_, err = w.Write(sent[split:])
		require.NoError(t, err)
		want := append(append([]byte{}, sent...), frame...)
		if split == len(settings) {
			want = append(append(append([]byte{}, settings...), frame...), data...)
		}
		assert.Equal(t, want, dst.written, "split at %d", split)
	}
}

// sink is a destination that remembers what was written to it.
type sink struct {
	written []byte
}

func (s *sink) Write(p []byte) (int, error) {
	s.written = append(s.written, p...)
	return len(p), nil
}
