//go:build linux

package endings

import (
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// atOnce is how many cells are under way together.
	atOnce = 8
	// leasesAtOnce is that for cells that spend their time waiting for the end of a lease.
	leasesAtOnce = 16
	// aMoment is longer than equal signals count as one, and shorter than a cleanup.
	aMoment = 150 * time.Millisecond
)

// result is what came of a cell.
type result struct {
	status   syscall.WaitStatus
	survived bool
	left     int
	deletes  int // that have happened
	stderr   string
}

// results are those of the cells that have run without a problem.
type results struct {
	mu sync.Mutex
	of map[Cell]result
}

func TestMatrix(t *testing.T) {
	if err := withoutNamespaces(); err != nil {
		t.Logf("no cells with %q: there are no pid namespaces here: %v", FirstProcess, err)
	}
	cells := selected()
	all := &results{of: make(map[Cell]result)}
	t.Run("cells", func(t *testing.T) {
		var quick, slow []Cell
		for _, c := range cells {
			if c.Help == WithLease {
				slow = append(slow, c)
			} else {
				quick = append(quick, c)
			}
		}
		var both sync.WaitGroup
		both.Go(func() { each(t, slow, leasesAtOnce, all.check) })
		both.Go(func() { each(t, quick, atOnce, all.check) })
		both.Wait()
	})
	t.Run("README", func(t *testing.T) { checkTable(t, all.of, len(cells)) })
}

// selected returns the cells to run. Leases end in real time, so that only some of theirs are among the usual ones: two
// settings, and phases that take turns.
func selected() []Cell {
	var cells []Cell
	for i, ending := range Endings {
		for j, setting := range Settings {
			for k, phase := range Phases {
				for _, help := range []Help{Alone, WithReaper, WithLease} {
					c := Cell{ending, setting, phase, help}
					usual := help != WithLease || (setting == Plain || setting == FirstProcess) && (i+j)%len(Phases) == k
					if c.exists() && (usual || *matrix == "full") {
						cells = append(cells, c)
					}
				}
			}
		}
	}
	return cells
}

// exists reports whether there is such a cell here.
func (c Cell) exists() bool {
	return c.impossible() == "" && (c.Help == Alone || c.needsHelp()) &&
		(c.Setting != FirstProcess || withoutNamespaces() == nil)
}

// each runs a test for each cell, some at a time.
func each(t *testing.T, cells []Cell, atOnce int, test func(*testing.T, Cell)) {
	queue := make(chan Cell, len(cells))
	for _, c := range cells {
		queue <- c
	}
	close(queue)
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for c := range queue {
				t.Run(c.name(), func(t *testing.T) { test(t, c) })
			}
		})
	}
	workers.Wait()
}

func (c Cell) name() string {
	return fmt.Sprintf("%s/%s/%s/%s", c.Ending, c.Setting, c.Phase, c.Help)
}

// check runs a cell, and expects of it what the rule says.
func (r *results) check(t *testing.T, c Cell) {
	got := run(t, c)
	if problems := c.problems(got, control(t, c)); len(problems) > 0 {
		t.Errorf("%s\nstandard error:\n%s", strings.Join(problems, "\n"), got.stderr)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[c] = got
}

// problems says in what a result is not as it should be.
func (c Cell) problems(got, control result) (problems []string) {
	complain := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if got.survived != c.survives() || control.survived != c.survives() {
		complain("survived: %v, without the SDK: %v", got.survived, control.survived)
	}
	if least, most := c.left(); got.left < least || got.left > most {
		complain("%d sandboxes are left, not %d to %d", got.left, least, most)
	}
	switch interrupted := 128 + int(syscall.SIGINT); {
	case c.forced(): // whatever the program would have done
		if shell(got.status) != interrupted {
			complain("%s, not %d", describe(got.status), interrupted)
		}
	case c.Ending == Quit && shell(got.status) == 128+int(syscall.SIGSEGV) && strings.Contains(got.stderr, "SIGQUIT: quit"):
		// Go itself dies so, on a busy machine now and then, while it prints the stacks of goroutines that still run.
	case c.Setting == InPipeline: // bash may exit with the status of a signal, or die of it, as its timing has it
		if shell(got.status) != shell(control.status) {
			complain("%d, without the SDK: %d", shell(got.status), shell(control.status))
		}
	case describe(got.status) != describe(control.status):
		complain("%s, without the SDK: %s", describe(got.status), describe(control.status))
	}
	made := c.Phase == Running || c.Phase == Stopping // else the undo of a create may meet the cleanup
	if c.covered() && made && got.deletes != c.sandboxes() {
		complain("%d deletes, not %d", got.deletes, c.sandboxes())
	}
	if c.covered() && strings.Contains(got.stderr, "may still be running") {
		complain("it complains")
	}
	return problems
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "signal: " + s.Signal().String()
	}
	return fmt.Sprintf("exit status %d", s.ExitStatus())
}

// shell is a status as a shell has it.
func shell(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}

// run runs a cell.
func run(t *testing.T, c Cell, env ...string) (got result) {
	t.Helper()
	s := serve(t, c)
	p := start(t, c, append(s.env(), env...)...)
	s.reached(t, p)
	got = p.die(t, s)
	if _, most := c.left(); c.Help != Alone && most == 0 {
		s.core.Release(HeldTag) // a sandbox that is held does not end by itself
		s.until(t, func() bool { return s.left() == 0 }, "sandboxes are left for good")
		got.left = 0
	}
	return got
}

// controls are the programs without the SDK. Each runs once.
var controls = struct {
	mu sync.Mutex
	of map[Cell]func(*testing.T) result
}{of: make(map[Cell]func(*testing.T) result)}

// control returns what a program without the SDK comes to. Nothing but the ending and the setting matters for that.
func control(t *testing.T, c Cell) result {
	t.Helper()
	c = Cell{Ending: c.Ending, Setting: c.Setting}
	controls.mu.Lock()
	once := controls.of[c]
	if once == nil {
		var got result
		var begin sync.Once
		once = func(t *testing.T) result {
			begin.Do(func() { got = launch(t, withoutSDK, Role{Cell: c}, nil, nil).die(t, nil) })
			return got
		}
		controls.of[c] = once
	}
	controls.mu.Unlock()
	return once(t)
}

// die has the program end, waits for that, and returns what it has left. Without the SDK there is no service.
func (c *child) die(t *testing.T, s *service) (got result) {
	t.Helper()
	if c.cell.survives() {
		sig := syscall.SIGINT
		if c.cell.Ending == HungUp {
			sig = syscall.SIGHUP
		}
		require.True(t, c.ignores(t, sig))
		c.end(t)
		c.wait(t, c.ended) // the shell, which ignores nothing
		got.survived = c.lives(t)
		if s != nil {
			got.left = s.left()
		}
		c.signal(t, syscall.SIGKILL)
	} else if c.cell.Ending == InterruptedTwice {
		c.endTwice(t, s)
	} else {
		c.end(t)
	}
	c.wait(t, c.gone)
	if s != nil && !got.survived {
		got.left = s.left()
	}
	if s != nil {
		_, _, got.deletes = s.numbers()
	}
	got.status, got.stderr = c.status(), c.stderr.String()
	return got
}

// endTwice sends the second signal in the middle of the cleanup.
func (c *child) endTwice(t *testing.T, s *service) {
	t.Helper()
	if s == nil {
		c.end(t)
		time.Sleep(aMoment)
		c.end(t)
		return
	}
	s.holdDeletes()
	_, before, _ := s.numbers()
	c.end(t)
	s.until(t, func() bool {
		_, arrived, _ := s.numbers()
		return arrived > before
	}, "there is no cleanup")
	time.Sleep(aMoment)
	if c.cell.forced() {
		s.passDeletes(false) // those of others
	}
	c.end(t)
	if !c.cell.forced() {
		time.Sleep(aMoment) // to be ignored in
		s.passDeletes(true)
	}
}

// TestMatrixSeesWhatIsMissing: without its signal hook the program leaves its sandbox, and the matrix says so.
func TestMatrixSeesWhatIsMissing(t *testing.T) {
	for _, ending := range []Ending{Interrupted, Terminated, HungUp} {
		t.Run(string(ending), func(t *testing.T) {
			c := Cell{ending, Plain, Running, Alone}
			require.Empty(t, c.problems(run(t, c), control(t, c)))
			got := run(t, c, "CWSANDBOX_DISABLE_SIGNAL_HANDLING=1")
			assert.Contains(t, c.problems(got, control(t, c)), "1 sandboxes are left, not 0 to 0")
		})
	}
}
