//go:build linux || darwin

package cwsandbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

// The function of an example runs where the test binary is uploaded to: TestMain calls cwsandboxtest.Init, which does what
// cwsandbox.ServeFuncs does.
var countWords = cwsandbox.NewFunc("count words", func(_ context.Context, text string) (int, error) {
	if text == "" {
		return 0, errNoText
	}
	return len(strings.Fields(text)), nil
}, errNoText)

var errNoText = errors.New("no text")

// clientOfProcesses returns a client of a server that runs real processes.
func clientOfProcesses() (client *cwsandbox.Client, stop func()) {
	server, err := cwsandboxtest.Start(context.Background(), cwsandboxtest.Processes())
	if err != nil {
		panic(err)
	}
	return server.Client(), func() { server.Close() }
}

func ExampleFunc_Call() {
	ctx := context.Background()
	client, stop := clientOfProcesses()
	defer stop()
	sb, err := client.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	n, err := countWords.Call(ctx, sb, "it runs in a sandbox")
	fmt.Println(n, err)
	_, err = countWords.Call(ctx, sb, "")
	var remote *cwsandbox.RemoteError
	fmt.Println(errors.As(err, &remote), errors.Is(err, errNoText))
	// Output:
	// 5 <nil>
	// true true
}

func ExampleFunc_Map() {
	ctx := context.Background()
	client, stop := clientOfProcesses()
	defer stop()
	session, err := client.NewSession()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close() // stops the sandboxes, which stay warm until then

	texts := slices.Values([]string{"one", "one two", "", "one two three"})
	for n, err := range countWords.Map(ctx, session, texts, cwsandbox.WithWorkers(2)) {
		if errors.Is(err, errNoText) {
			fmt.Println("nothing to count")
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(n)
	}
	// Output:
	// 1
	// 2
	// nothing to count
	// 3
}

func ExampleSession_Stats() {
	ctx := context.Background()
	session, err := cwsandbox.NewSession()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	for range 2 {
		sb, err := session.Run(ctx)
		if err != nil {
			fmt.Println(err)
			return
		}
		for _, code := range []string{"0", "3"} {
			if _, err := sb.Exec(ctx, []string{"sh", "-c", "exit " + code}); err != nil {
				fmt.Println(err)
				return
			}
		}
	}
	stats := session.Stats()
	fmt.Println(stats.Created, "sandboxes,", stats.Started, "of them seen to run")
	fmt.Println(stats.Commands, "commands:", stats.OK, "ok,", stats.NonZero, "with another exit code")
	fmt.Println(stats.CommandsPerSandbox(), "in each")
	// Output:
	// 2 sandboxes, 2 of them seen to run
	// 4 commands: 2 ok, 2 with another exit code
	// 2 in each
}
