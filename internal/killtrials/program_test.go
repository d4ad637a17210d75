//go:build linux

package killtrials

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
	_ "github.com/cwsandbox/cwsandbox-go/reaper"
)

// Variables that make this binary the program, and say what it does.
const (
	roleVariable = "KILLTRIALS_ROLE"
	seedVariable = "KILLTRIALS_SEED"
)

// What looks after the sandboxes when the program is killed.
const (
	guarded = "reaper"
	leased  = "lease"
	alone   = "nothing"
)

const (
	// lease is the shortest one.
	lease = time.Second
	// actors is how many there are at most, and most how many sandboxes each has at a time.
	actors, most = 2, 3
)

// program has some goroutines do what they like with sandboxes until it is killed, or whoever started it has gone.
func program(role string) error {
	seed, err := strconv.ParseUint(os.Getenv(seedVariable), 10, 64)
	if err != nil {
		return err
	}
	if role != guarded { // as if package reaper had not been imported
		hook.Guard = nil
	}
	defaults := cwsandbox.Defaults(cwsandbox.WithGrace(time.Second))
	pause := 3 * time.Millisecond
	if role == leased {
		defaults = cwsandbox.Defaults(defaults, cwsandbox.WithLease(lease))
		pause = 100 * time.Millisecond // real processes take real time
	}
	client, err := cwsandbox.NewClient()
	if err != nil {
		return err
	}
	for n := range 1 + chance(seed, 0).Uint64N(actors) {
		a := &actor{Rand: chance(seed, 1+n), client: client, defaults: defaults}
		go a.act(pause)
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return fmt.Errorf("nobody has killed this: %w", err)
}

// actor is a part of the program. It takes no notice of errors: a server in trouble is part of the trial.
type actor struct {
	*rand.Rand
	client   *cwsandbox.Client
	defaults cwsandbox.Option

	session *cwsandbox.Session
	made    []*cwsandbox.Sandbox
}

func (a *actor) act(pause time.Duration) {
	for {
		a.step()
		time.Sleep(rand.N(pause))
	}
}

// step does one thing.
func (a *actor) step() {
	ctx := context.Background()
	if len(a.made) == 0 {
		a.create(ctx)
		return
	}
	switch n := a.IntN(100); {
	case n < 40 && len(a.made) < most:
		a.create(ctx)
	case n < 50 && len(a.made) < most:
		ctx, cancel := context.WithTimeout(ctx, a.upTo(10*time.Millisecond))
		a.create(ctx) // may be given up, before or after it has an effect
		cancel()
	case n < 75:
		a.any().Exec(ctx, []string{"sleep", "0.01"})
	case n < 85:
		a.take().Stop().Wait()
	case n < 95:
		a.take().Stop(cwsandbox.WithGrace(0)).Start()
	case a.session != nil:
		a.session.Close()
		a.session, a.made = nil, nil // those outside of the session stay
	}
}

// create makes a sandbox, in a session or not.
func (a *actor) create(ctx context.Context) {
	var sb *cwsandbox.Sandbox
	var err error
	switch a.IntN(3) {
	case 0:
		sb, err = a.client.Create(ctx, a.defaults)
	case 1:
		sb, err = a.client.Run(ctx, a.defaults)
	default:
		if a.session == nil {
			if a.session, err = a.client.NewSession(a.defaults); err != nil {
				return
			}
		}
		sb, err = a.session.Create(ctx)
	}
	if err == nil {
		a.made = append(a.made, sb)
	}
}

func (a *actor) upTo(d time.Duration) time.Duration { return time.Duration(a.Int64N(int64(d))) }

func (a *actor) any() *cwsandbox.Sandbox { return a.made[a.IntN(len(a.made))] }

// take forgets a sandbox.
func (a *actor) take() *cwsandbox.Sandbox {
	i := a.IntN(len(a.made))
	sb := a.made[i]
	a.made = append(a.made[:i], a.made[i+1:]...)
	return sb
}
