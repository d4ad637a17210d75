//go:build linux || darwin

package cwsandbox_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/cwsandboxtest"
)

var (
	errOdd    = errors.New("the number is odd")
	errUnused = errors.New("unused")
)

type sentence struct {
	Words []string
	Times int
}

// These run in sandboxes: this test binary is what is uploaded.
var (
	repeat = cwsandbox.NewFunc("repeat", func(_ context.Context, s sentence) ([]string, error) {
		return slices.Repeat(s.Words, s.Times), nil
	})
	half = cwsandbox.NewFunc("half", func(_ context.Context, n int) (int, error) {
		switch {
		case n < 0:
			panic(fmt.Errorf("half of %d: %w", n, errOdd))
		case n%2 == 1:
			return 0, fmt.Errorf("half of %d: %w", n, errOdd)
		}
		return n / 2, nil
	}, errUnused, errOdd)
	misbehave = cwsandbox.NewFunc("misbehave", func(ctx context.Context, how string) (any, error) {
		switch how {
		case "index":
			var list []int
			return list[len(how)], nil
		case "goexit":
			runtime.Goexit()
		case "exit":
			fmt.Println("about to exit")
			os.Exit(3)
		case "crash":
			go func() { panic("in another goroutine") }()
			select {}
		case "killed":
			p, _ := os.FindProcess(os.Getpid())
			p.Kill()
			select {}
		case "channel":
			return make(chan int), nil
		}
		return nil, errors.New("no such misbehaviour")
	})
	loud = cwsandbox.NewFunc("loud", func(context.Context, struct{}) (string, error) {
		fmt.Println("on standard output")
		fmt.Fprintln(os.Stderr, "on standard error")
		child := exec.Command("sh", "-c", "cat; echo from a child; env | grep -c CWSANDBOX_SERVE")
		child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
		child.Run()
		dir, err := os.Getwd()
		return os.Getenv("GIVEN") + " in " + dir, err
	})
	hang = cwsandbox.NewFunc("hang", func(ctx context.Context, _ struct{}) (struct{}, error) {
		fmt.Println(os.Getpid())
		<-ctx.Done()
		return struct{}{}, context.Cause(ctx)
	})
	length   = cwsandbox.NewFunc("length", func(_ context.Context, b []byte) (int, error) { return len(b), nil })
	whereAmI = cwsandbox.NewFunc("where", func(context.Context, int) (string, error) { return os.Getenv("WHERE"), nil })
)

// promptExit spares a program with the race detector the second that it waits at its end.
var promptExit = cwsandbox.WithEnv("GORACE", "atexit_sleep_ms=0")

func TestFunctions(t *testing.T) {
	server := cwsandboxtest.NewServer(t, cwsandboxtest.Processes())
	w := world{server, server.Client()}
	sb := w.run(t, promptExit)
	dir := "/tmp/cwsandbox-test-funcs-" + strconv.Itoa(os.Getpid())
	t.Cleanup(func() { assert.NoError(t, sb.RemoveAll(context.WithoutCancel(t.Context()), dir)) })
	temp := cwsandbox.WithTempDir(dir)

	t.Run("call", func(t *testing.T) {
		out, err := repeat.Call(limited(t), sb, sentence{[]string{"a", "b"}, 2}, temp)
		require.NoError(t, err)
		assert.Equal(t, []string{"a", "b", "a", "b"}, out)
	})
	t.Run("one upload for all calls", func(t *testing.T) {
		var together sync.WaitGroup
		for i := range 4 {
			together.Go(func() {
				n, err := half.Call(limited(t), sb, 2*i, temp)
				assert.NoError(t, err)
				assert.Equal(t, i, n)
			})
		}
		together.Wait()
		files, err := sb.ReadDir(limited(t), dir)
		require.NoError(t, err)
		assert.Len(t, files, 1)
	})
	t.Run("an error", func(t *testing.T) {
		_, err := half.Call(limited(t), sb, 3, temp)
		require.ErrorIs(t, err, errOdd)
		assert.NotErrorIs(t, err, errUnused)
		assert.ErrorContains(t, err, "call half "+sb.ID()+": half of 3: the number is odd")
		var remote *cwsandbox.RemoteError
		require.ErrorAs(t, err, &remote)
		assert.Equal(t, "*fmt.wrapError", remote.Type)
		assert.Equal(t, "half", remote.Func)
		assert.False(t, remote.Panic)
		assert.Empty(t, remote.Stack)
	})
	t.Run("a panic", func(t *testing.T) {
		_, err := half.Call(limited(t), sb, -3, temp)
		require.ErrorIs(t, err, errOdd)
		assert.ErrorContains(t, err, "panic: half of -3")
		_, err = misbehave.Call(limited(t), sb, "index", temp)
		var remote *cwsandbox.RemoteError
		require.ErrorAs(t, err, &remote)
		assert.True(t, remote.Panic)
		assert.Equal(t, "runtime.boundsError", remote.Type)
		assert.Contains(t, remote.Stack, "func_e2e_test.go")
	})
	t.Run("runtime.Goexit", func(t *testing.T) {
		_, err := misbehave.Call(limited(t), sb, "goexit", temp)
		var remote *cwsandbox.RemoteError
		require.ErrorAs(t, err, &remote)
		assert.True(t, remote.Panic)
		assert.Contains(t, remote.Message, "Goexit")
	})
	for how, want := range map[string]struct {
		code          int
		text, printed string
	}{
		"exit":   {3, "exit code 3", "about to exit\n"},
		"crash":  {2, "panic: in another goroutine", "goroutine "},
		"killed": {137, "memory", ""},
	} {
		t.Run("no answer: "+how, func(t *testing.T) {
			_, err := misbehave.Call(limited(t), sb, how, temp)
			var exit *cwsandbox.ExitError
			require.ErrorAs(t, err, &exit)
			assert.Equal(t, want.code, exit.Code)
			assert.ErrorContains(t, err, want.text)
			assert.Contains(t, string(exit.Result.Stderr), want.printed)
			var remote *cwsandbox.RemoteError
			assert.False(t, errors.As(err, &remote))
		})
	}
	t.Run("values that are no JSON", func(t *testing.T) {
		_, err := misbehave.Call(limited(t), sb, "channel", temp)
		var remote *cwsandbox.RemoteError
		require.ErrorAs(t, err, &remote)
		assert.ErrorContains(t, err, "encode the result: json: unsupported type: chan int")

		before := len(server.Calls("StreamExec"))
		_, err = infinite.Call(limited(t), sb, notJSON{}, temp)
		require.ErrorIs(t, err, cwsandbox.ErrInvalidArgument)
		assert.Len(t, server.Calls("StreamExec"), before, "nothing is sent")
	})
	t.Run("output, environment, directory", func(t *testing.T) {
		var printed bytes.Buffer
		out, err := loud.Call(limited(t), sb, struct{}{}, temp, cwsandbox.WithFuncOutput(&printed),
			cwsandbox.WithEnv("GIVEN", "a value"), cwsandbox.WithDir("/"))
		require.NoError(t, err)
		assert.Equal(t, "a value in /", out)
		assert.Equal(t, "on standard output\non standard error\nfrom a child\n0\n", printed.String())
	})
	t.Run("an input of some megabytes", func(t *testing.T) {
		n, err := length.Call(limited(t), sb, make([]byte, 5<<20), temp)
		require.NoError(t, err)
		assert.Equal(t, 5<<20, n)
	})
	t.Run("the end of the context ends the process", func(t *testing.T) {
		ctx, cancel := context.WithCancel(limited(t))
		r, output := io.Pipe()
		defer r.Close()
		ended := make(chan error, 1)
		go func() {
			_, err := hang.Call(ctx, sb, struct{}{}, temp, cwsandbox.WithFuncOutput(output))
			ended <- err
		}()
		pid, err := bufio.NewReader(r).ReadString('\n')
		require.NoError(t, err)
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		_, err = sb.Output(limited(t), "sh", "-c", `while kill -0 "$0" 2>/dev/null; do sleep 0.02; done`, strings.TrimSpace(pid))
		require.NoError(t, err)
	})
	t.Run("an executable that is gone is uploaded again", func(t *testing.T) {
		other := cwsandbox.WithTempDir(dir + "/other")
		_, err := half.Call(limited(t), sb, 2, other)
		require.NoError(t, err)
		require.NoError(t, sb.RemoveAll(limited(t), dir+"/other"))
		_, err = half.Call(limited(t), sb, 2, other)
		require.ErrorContains(t, err, "uploads it again")
		_, err = half.Call(limited(t), sb, 2, other)
		require.NoError(t, err)
	})
	t.Run("an executable that does not serve", func(t *testing.T) {
		_, err := half.Call(limited(t), sb, 2, temp, cwsandbox.WithExecutable(lookPath(t, "echo")))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "ServeFuncs")
		_, err = half.Call(limited(t), sb, 2, temp, cwsandbox.WithExecutable(lookPath(t, "false")))
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "ServeFuncs")
	})
	t.Run("Map", func(t *testing.T) { testMap(t, w) })
}

// notJSON cannot be encoded.
type notJSON struct{}

func (notJSON) MarshalJSON() ([]byte, error) { return nil, errors.New("no JSON") }

var infinite = cwsandbox.NewFunc("infinite", func(context.Context, notJSON) (int, error) { return 0, nil })

func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err)
	return path
}

func testMap(t *testing.T, w world) {
	session, err := w.client.NewSession(promptExit, cwsandbox.WithEnv("WHERE", "in a sandbox"))
	require.NoError(t, err)
	defer func() { assert.NoError(t, session.Close()) }()
	created := func() int { return len(w.server.Calls("CreateSandbox")) }

	// Each new sandbox is sent this test binary, which with the race detector is large.
	ctx, cancel := context.WithTimeout(t.Context(), 10*patience)
	defer cancel()
	before := created()
	var halves []int
	var failed []int
	i := 0
	for n, err := range half.Map(ctx, session, slices.Values([]int{0, 2, 3, 6, 8, 10}), cwsandbox.WithWorkers(2)) {
		if err != nil {
			assert.ErrorIs(t, err, errOdd)
			failed = append(failed, i)
		} else {
			halves = append(halves, n)
		}
		i++
	}
	assert.Equal(t, []int{0, 1, 3, 4, 5}, halves)
	assert.Equal(t, []int{2}, failed)
	assert.Equal(t, before+2, created())

	// The next one finds them warm.
	places, err := cwsandbox.Collect(whereAmI.Map(ctx, session, slices.Values([]int{1, 2, 3}), cwsandbox.WithWorkers(2)))
	require.NoError(t, err)
	assert.Equal(t, []string{"in a sandbox", "in a sandbox", "in a sandbox"}, places)
	assert.Equal(t, before+2, created())
	assert.Equal(t, 2, session.Len())

	// Breaking off ends what is under way.
	for n, err := range half.Map(ctx, session, endless, cwsandbox.WithWorkers(1)) {
		require.NoError(t, err)
		if n == 5 {
			break
		}
	}
}

// endless is 0, 2, 4, ...
func endless(yield func(int) bool) {
	for n := 0; yield(n); n += 2 {
	}
}

// BenchmarkCall is a call in a sandbox that has the executable: a process each.
func BenchmarkCall(b *testing.B) {
	server := cwsandboxtest.NewServer(b, cwsandboxtest.Processes())
	sb, err := server.Client().Run(b.Context())
	require.NoError(b, err)
	defer sb.Stop().Wait()
	for b.Loop() {
		if _, err := half.Call(b.Context(), sb, 2); err != nil {
			b.Fatal(err)
		}
	}
}
