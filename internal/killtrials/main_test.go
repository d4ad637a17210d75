//go:build linux

package killtrials

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
	"github.com/cwsandbox/cwsandbox-go/internal/signaltest"
)

var (
	trials = flag.Int("trials", defaultTrials, "how many programs to kill, with the reaper and with leases each")
	seed   = flag.Uint64("seed", rand.Uint64(), "what chance begins with")
)

// TestMain makes this binary the program that is killed, where its environment says so.
func TestMain(m *testing.M) {
	if role, ok := os.LookupEnv(roleVariable); ok {
		fmt.Fprintln(os.Stderr, program(role))
		os.Exit(1)
	}
	signaltest.Defaults()
	cwsandboxtest.Main(m)
}

// chance returns a source of random numbers for one purpose. It always begins with the same ones.
func chance(seed, purpose uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, purpose)) }

// inParallel runs trials as subtests with their numbers as names. What each worker needs is made by prepare.
func inParallel(t *testing.T, workers, trials int, prepare func(t *testing.T) (try func(t *testing.T, p *plan))) {
	t.Logf("%d trials with -seed=%d", trials, *seed)
	numbers := make(chan int)
	var work sync.WaitGroup
	for range workers {
		try := prepare(t)
		work.Go(func() {
			for n := range numbers {
				t.Run(strconv.Itoa(n), func(t *testing.T) { try(t, newPlan(*seed, n)) })
			}
		})
	}
	for n := range trials {
		numbers <- n
	}
	close(numbers)
	work.Wait()
}
