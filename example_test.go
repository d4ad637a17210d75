package cwsandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
)

func Example() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithImage("python:3.11"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	out, err := sb.Output(ctx, "python", "-c", "print(6 * 7)")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", out)
	// Output: 42
}

func ExampleNewClient() {
	client, err := cwsandbox.NewClient(cwsandbox.WithAPIKey("key"), cwsandbox.WithBaseURL("http://sandboxes.example.com"))
	if err != nil {
		fmt.Println(errors.Is(err, cwsandbox.ErrInvalidArgument))
		fmt.Println(err)
		return
	}
	defer client.Close()
	// Output:
	// true
	// cwsandbox: new client: WithBaseURL: http to sandboxes.example.com would send the credential in the clear: use https, or WithInsecureTransport
}

func ExampleNewSession() {
	ctx := context.Background()
	session, err := cwsandbox.NewSession(cwsandbox.WithTags("job-42"), cwsandbox.WithMaxLifetime(10*time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close() // stops both

	for _, name := range []string{"first", "second"} {
		sb, err := session.Run(ctx, cwsandbox.WithDisplayName(name))
		if err != nil {
			fmt.Println(err)
			return
		}
		info := sb.Info()
		fmt.Println(info.DisplayName, info.Tags, info.MaxLifetime)
	}
	fmt.Println(session.Len(), "sandboxes")
	// Output:
	// first [job-42] 10m0s
	// second [job-42] 10m0s
	// 2 sandboxes
}

func ExampleDefaults() {
	ctx := context.Background()
	builders := cwsandbox.Defaults(
		cwsandbox.WithImage("golang:1.26"),
		cwsandbox.WithMaxLifetime(2*time.Hour),
		cwsandbox.WithTags("builder"),
	)
	sb, err := cwsandbox.Run(ctx, builders, cwsandbox.WithMaxLifetime(10*time.Minute), cwsandbox.WithTags("nightly"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	info := sb.Info()
	fmt.Println(info.Image)
	fmt.Println(info.MaxLifetime) // the call replaces the bundle's
	fmt.Println(info.Tags)        // tags add up
	// Output:
	// golang:1.26
	// 10m0s
	// [builder nightly]
}

func ExampleList() {
	ctx := context.Background()
	session, err := cwsandbox.NewSession(cwsandbox.WithTags("fleet"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer session.Close()
	for _, name := range []string{"a", "b", "c"} {
		if _, err := session.Run(ctx, cwsandbox.WithDisplayName(name)); err != nil {
			fmt.Println(err)
			return
		}
	}

	var names []string
	for sb, err := range cwsandbox.List(ctx, cwsandbox.WithTags("fleet"), cwsandbox.WithPageSize(2)) {
		if err != nil {
			fmt.Println(err)
			return
		}
		names = append(names, sb.Info().DisplayName)
	}
	slices.Sort(names) // the order is the service's
	fmt.Println(names)
	// Output: [a b c]
}

func ExampleWaitAll() {
	ctx := context.Background()
	var stops []*cwsandbox.Future[cwsandbox.StopResult]
	for range 3 {
		sb, err := cwsandbox.Run(ctx)
		if err != nil {
			fmt.Println(err)
			break
		}
		stops = append(stops, sb.Stop()) // sends nothing yet
	}

	results, err := cwsandbox.WaitAll(ctx, stops...) // all at once
	if err != nil {
		fmt.Println(err)
	}
	for _, result := range results {
		fmt.Println(result.Accepted, result.Info.State.Terminal())
	}
	// Output:
	// true true
	// true true
	// true true
}

func ExampleSandbox_Exec() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	res, err := sb.Exec(ctx, []string{"sh", "-c", "echo built; echo '1 test failed' >&2; exit 3"},
		cwsandbox.WithTimeout(time.Minute))
	if err != nil {
		fmt.Println(err) // how the command ended is not known
		return
	}
	fmt.Println("exit code:", res.ExitCode)
	fmt.Printf("stdout: %q\n", res.Stdout)
	fmt.Printf("stderr: %q\n", res.Stderr)
	// Output:
	// exit code: 3
	// stdout: "built\n"
	// stderr: "1 test failed\n"
}

func ExampleSandbox_Exec_streams() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	res, err := sb.Exec(ctx, []string{"cat"},
		cwsandbox.WithStdin(strings.NewReader("from the program to the sandbox and back\n")),
		cwsandbox.WithStdout(os.Stdout), cwsandbox.WithStderr(os.Stderr))
	if err := errors.Join(err, res.Err()); err != nil { // any exit code but 0 is an error here
		fmt.Println(err)
	}
	// Output: from the program to the sandbox and back
}

func ExampleSandbox_Output_exitError() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	_, err = sb.Output(ctx, "sh", "-c", "echo no such target >&2; exit 2")
	var exit *cwsandbox.ExitError
	if errors.As(err, &exit) {
		fmt.Printf("exit code %d: %s", exit.Code, exit.Result.Stderr)
	}
	// Output: exit code 2: no such target
}

func ExampleSandbox_StartProcess() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	p, err := sb.StartProcess(ctx, []string{"cat"}, cwsandbox.WithStdinPipe())
	if err != nil {
		fmt.Println(err)
		return
	}
	answers := bufio.NewScanner(p.Stdout())
	for _, question := range []string{"ping", "still there?"} {
		fmt.Fprintln(p.Stdin(), question)
		if answers.Scan() {
			fmt.Println(answers.Text())
		}
	}
	p.Stdin().Close()
	res, err := p.Wait()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("exit code:", res.ExitCode)
	// Output:
	// ping
	// still there?
	// exit code: 0
}

func ExampleSandbox_ReadFile() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	config, err := sb.ReadFile(ctx, "/tmp/config.json")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		config = []byte("{}")
	case err != nil:
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", config)
	// Output: {}
}

func ExampleSandbox_WriteFile() {
	ctx := context.Background()
	sb, err := cwsandbox.Run(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sb.Stop().Wait()

	if err := sb.WriteFile(ctx, "/tmp/greeting", []byte("hello\n")); err != nil {
		fmt.Println(err)
		return
	}
	out, err := sb.Output(ctx, "cat", "/tmp/greeting")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", out)
	// Output: hello
}

// The functions below are those of the README, word for word.

func run(ctx context.Context) error {
	sb, err := cwsandbox.Run(ctx, cwsandbox.WithImage("python:3.11"))
	if err != nil {
		return err
	}
	defer sb.Stop().Wait()
	out, err := sb.Output(ctx, "python", "-c", "print(6 * 7)")
	if err != nil {
		return err
	}
	fmt.Printf("%s", out)
	return nil
}

func handle(ctx context.Context, client *cwsandbox.Client, program []byte, w io.Writer) (err error) {
	session, err := client.NewSession(cwsandbox.WithTags("playground"), cwsandbox.WithMaxLifetime(10*time.Minute))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }() // stops what the session made
	sb, err := session.Run(ctx, cwsandbox.WithFile("/input/main.py", program))
	if err != nil {
		return err
	}
	res, err := sb.Exec(ctx, []string{"python", "/input/main.py"},
		cwsandbox.WithStdout(w), cwsandbox.WithStderr(w), cwsandbox.WithTimeout(time.Minute))
	if errors.Is(err, cwsandbox.ErrCommandTimeout) {
		return nil
	}
	return errors.Join(err, res.Err()) // a non-zero exit is a result; Err makes it an error
}

func sweep(ctx context.Context, client *cwsandbox.Client) error {
	_, err := cwsandbox.StopAll(ctx, client.Orphans(ctx, cwsandbox.WithOlderThan(10*time.Minute)))
	return err
}

func Example_script() {
	if err := run(context.Background()); err != nil {
		fmt.Println(err)
	}
	// Output: 42
}

func TestReadmeService(t *testing.T) {
	client, err := cwsandbox.DefaultClient()
	require.NoError(t, err)

	var out bytes.Buffer
	require.NoError(t, handle(t.Context(), client, []byte("print(6 * 7)"), &out))
	assert.Equal(t, "42\n", out.String())

	out.Reset()
	var exit *cwsandbox.ExitError
	require.ErrorAs(t, handle(t.Context(), client, []byte("print("), &out), &exit)
	assert.Equal(t, 1, exit.Code)
	assert.Equal(t, "SyntaxError: invalid syntax\n", out.String())
}

func TestReadmeSweep(t *testing.T) {
	client, err := cwsandbox.DefaultClient()
	require.NoError(t, err)
	sb, err := client.Create(t.Context())
	require.NoError(t, err)
	defer sb.Stop().Wait()

	require.NoError(t, sweep(t.Context(), client))
	info, err := sb.Refresh(t.Context())
	require.NoError(t, err)
	assert.False(t, info.State.Terminal(), "its owner lives: %v", info.State)
}

func TestReadmeShowsWhatIsTested(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	source, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	for _, name := range []string{"run", "handle", "sweep"} {
		_, program, found := strings.Cut(string(readme), "\nfunc "+name+"(")
		require.True(t, found, name)
		program, _, _ = strings.Cut(program, "```")
		assert.Contains(t, string(source), "func "+name+"("+program)
	}
}
