package cwsandbox

import (
	"os"
	"os/signal"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestNotifyWatch looks at real goroutines: it cannot run in a bubble, nor beside itself.
func TestNotifyWatch(t *testing.T) {
	w := newNotifyWatch()
	defer w.stop()
	assert.Zero(t, w.look())
	ctx, stop := signal.NotifyContext(t.Context(), os.Interrupt)
	for w.count() == 0 { // its goroutine has to begin first
		runtime.Gosched()
	}
	later := newNotifyWatch()
	later.stop()
	assert.Equal(t, 1, later.known, "before the first look")
	_, stopOther := signal.NotifyContext(t.Context(), os.Kill)
	for w.count() == 1 {
		runtime.Gosched()
	}
	assert.Equal(t, 2, w.look())
	stop()
	<-ctx.Done()
	for w.count() == 2 {
		runtime.Gosched()
	}
	assert.Equal(t, 2, w.known, "a moment ago")
	assert.Equal(t, 1, w.look())
	stopOther()
}

func BenchmarkNotifyWatch(b *testing.B) {
	end := make(chan struct{})
	defer close(end)
	for range 1000 {
		go func() { <-end }()
	}
	w := newNotifyWatch()
	defer w.stop()
	for b.Loop() {
		w.count()
	}
}
