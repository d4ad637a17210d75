// Remote-functions runs functions of this very program in sandboxes: one call first, then many on a few warm sandboxes.
//
//	CGO_ENABLED=0 go run ./examples/remote-functions
//
// The executable is uploaded, so it has to be one for Linux, and a statically linked one where the image has another C
// library, or none. Elsewhere build one and name it:
//
//	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -o /tmp/functions ./examples/remote-functions
//	go run ./examples/remote-functions -executable /tmp/functions
//
// Without CWSANDBOX_API_KEY it needs no account: it starts a local server in its own process.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"slices"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/examples/internal/demo"
)

var executable = flag.String("executable", "", "a build of this program for the sandboxes, instead of this one")

type factors struct {
	Number int64
	Primes []int64
	Host   string
}

var errTooSmall = errors.New("too small")

// Both are known by their names, here and in the sandbox.
var (
	factorize = cwsandbox.NewFunc("factorize", func(_ context.Context, n int64) (factors, error) {
		if n < 2 {
			return factors{}, fmt.Errorf("%d is %w", n, errTooSmall)
		}
		fmt.Println("factorizing", n) // shown by WithFuncOutput; the result travels apart
		host, err := os.Hostname()
		f := factors{Number: n, Host: host}
		for p := int64(2); n > 1; p++ {
			for ; n%p == 0; n /= p {
				f.Primes = append(f.Primes, p)
			}
		}
		return f, err
	}, errTooSmall)
	inverse = cwsandbox.NewFunc("inverse", func(_ context.Context, n int64) (*big.Rat, error) {
		return big.NewRat(1, n), nil // panics for zero
	})
)

func main() {
	cwsandbox.ServeFuncs() // in a sandbox the program ends here
	stop := demo.Serve()
	defer stop()
	flag.Parse()
	cwsandbox.Main(run)
}

func run(ctx context.Context) error {
	session, err := cwsandbox.NewSession(cwsandbox.WithTags("remote-functions"))
	if err != nil {
		return err
	}
	defer session.Close()
	var opts []cwsandbox.FuncOption
	if *executable != "" {
		opts = append(opts, cwsandbox.WithExecutable(*executable))
	}
	if err := one(ctx, session, opts); err != nil {
		return err
	}
	return many(ctx, session, opts)
}

// one shows a call, an error and a panic.
func one(ctx context.Context, session *cwsandbox.Session, opts []cwsandbox.FuncOption) error {
	sb, err := session.Run(ctx)
	if err != nil {
		return err
	}
	defer sb.Stop().Wait()
	f, err := factorize.Call(ctx, sb, 360, append(opts, cwsandbox.WithFuncOutput(os.Stdout))...)
	if err != nil {
		return err
	}
	fmt.Println(f.Number, "is", f.Primes)

	_, err = factorize.Call(ctx, sb, 1, opts...)
	fmt.Println("an error matches:", errors.Is(err, errTooSmall))
	_, err = inverse.Call(ctx, sb, 0, opts...)
	var remote *cwsandbox.RemoteError
	if !errors.As(err, &remote) {
		return err
	}
	fmt.Println("a panic:", remote.Panic, remote.Message)
	return nil
}

// many calls the function with each of the inputs. The results come in their order.
func many(ctx context.Context, session *cwsandbox.Session, opts []cwsandbox.FuncOption) error {
	hosts := make(map[string]int)
	numbers := slices.Values([]int64{12, 1, 97, 1001, 1 << 20})
	for f, err := range factorize.Map(ctx, session, numbers, append(opts, cwsandbox.WithWorkers(3))...) {
		if errors.Is(err, errTooSmall) {
			fmt.Println("one was too small")
			continue
		}
		if err != nil {
			return err
		}
		hosts[f.Host]++
		fmt.Println(f.Number, "has", len(f.Primes), "prime factors")
	}
	stats := session.Stats()
	fmt.Printf("%d sandboxes, %d calls, %.0f%% of them ended\n", stats.Created, stats.Commands, 100*stats.CompletedRate())
	return nil
}
