package cwsandbox

import (
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	// lookInterval is the shortest time between two looks at the goroutines of the program.
	lookInterval = time.Second
	// lookShare: all looks together cost at most one part in so many of the time.
	lookShare = 1000
	// notifyDepth is how many frames the goroutine of signal.NotifyContext has at most.
	notifyDepth = 8
)

// maxKept is how many stacks are kept room for between two looks.
const maxKept = 4096

// notifyWatch counts for how many signals, or sets of them, the program waits by signal.NotifyContext. Go cannot be asked
// who listens, so it looks for that function's goroutines: one ends when its signal has come. It may do so before the hook
// gets its turn, which is why they are also counted from time to time. Used by one goroutine.
type notifyWatch struct {
	known  int // at the last look
	next   *time.Timer
	stack  []runtime.StackRecord
	places map[uintptr]bool
}

// newNotifyWatch has counted once. The next look is due at once, for a goroutine that was about to begin.
func newNotifyWatch() *notifyWatch {
	w := &notifyWatch{next: time.NewTimer(0), places: make(map[uintptr]bool)}
	w.known = w.count()
	return w
}

// due fires when it is time for another look.
func (w *notifyWatch) due() <-chan time.Time { return w.next.C }

func (w *notifyWatch) stop() { w.next.Stop() }

// look counts, and schedules the next look, later the more this one has cost.
func (w *notifyWatch) look() int {
	began := time.Now()
	w.known = w.count()
	w.next.Reset(max(lookInterval, lookShare*time.Since(began)))
	return w.known
}

// count returns how many goroutines of signal.NotifyContext there are.
func (w *notifyWatch) count() int {
	n, ok := runtime.GoroutineProfile(w.stack)
	for ; !ok; n, ok = runtime.GoroutineProfile(w.stack) {
		w.stack = make([]runtime.StackRecord, n+n/8+16)
	}
	found := 0
	for i := range n {
		if pcs := w.stack[i].Stack(); len(pcs) <= notifyDepth && slices.ContainsFunc(pcs, w.isNotify) {
			found++
		}
	}
	if len(w.stack) > maxKept {
		w.stack = nil
	}
	return found
}

// isNotify reports whether pc is in signal.NotifyContext or in a function of it. Few places of a program are ever waited
// at, so each is resolved once.
func (w *notifyWatch) isNotify(pc uintptr) bool {
	is, known := w.places[pc]
	if !known {
		frame, _ := runtime.CallersFrames([]uintptr{pc}).Next()
		is = strings.HasPrefix(frame.Function, "os/signal.NotifyContext")
		w.places[pc] = is
	}
	return is
}
