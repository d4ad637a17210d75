package cwsandbox

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// twice takes as many seconds as its input says, in fake time.
var twice = NewFunc("twice", func(ctx context.Context, n int) (int, error) {
	select {
	case <-time.After(time.Duration(n) * time.Second):
		return 2 * n, nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
})

// leading returns the first of a list, halved the half of a number.
var (
	leading = NewFunc("leading", func(_ context.Context, list []int) (int, error) { return list[0], nil })
	halved  = NewFunc("halved", func(_ context.Context, n float64) (float64, error) { return n / 2, nil })
)

// elfFile writes the beginning of an executable for Linux.
func elfFile(t *testing.T, machine elf.Machine, order elf.Data, interpreter string) string {
	t.Helper()
	var put binary.AppendByteOrder = binary.LittleEndian
	if order == elf.ELFDATA2MSB {
		put = binary.BigEndian
	}
	b := []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(order), byte(elf.EV_CURRENT), 15: 0}
	b = put.AppendUint16(b, uint16(elf.ET_EXEC))
	b = put.AppendUint16(b, uint16(machine))
	b = put.AppendUint32(b, uint32(elf.EV_CURRENT))
	for _, v := range []uint64{0, 64, 0} { // entry, program headers, section headers
		b = put.AppendUint64(b, v)
	}
	b = put.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 64, 0, 0} {
		b = put.AppendUint16(b, v)
	}
	kind := elf.PT_NOTE
	if interpreter != "" {
		kind = elf.PT_INTERP
	}
	b = put.AppendUint32(b, uint32(kind))
	b = put.AppendUint32(b, 4)
	size := uint64(len(interpreter) + 1)
	for _, v := range []uint64{120, 0, 0, size, size, 1} {
		b = put.AppendUint64(b, v)
	}
	b = append(append(b, interpreter...), 0)
	name := filepath.Join(t.TempDir(), "program")
	require.NoError(t, os.WriteFile(name, b, 0o700))
	return name
}

// machine is where functions run in a test: it has the platform that it says it has, and this program.
type machine struct {
	platform string
	uploads  atomic.Int32
	calls    atomic.Int32
	serve    func(d *dialog, n int32) (served bool, err error) // instead of the function; may be nil
}

func (m *machine) exec(stream sandboxv1.SandboxService_StreamExecServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	d := &dialog{stream, first.GetInit()}
	switch argv := d.init.GetCommand(); {
	case slices.Contains(argv, "cwsandbox-platform"):
		return errors.Join(d.out(m.platform), d.exit(0))
	case argv[0] == "/bin/sh":
		m.uploads.Add(1)
		return errors.Join(d.ready(), d.exit(0))
	}
	if n := m.calls.Add(1); m.serve != nil {
		if served, err := m.serve(d, n); served {
			return err
		}
	}
	return serveDialog(d)
}

// serveDialog does what a process does that serves a call.
func serveDialog(d *dialog) error {
	if err := errors.Join(d.ready(), d.out(greeting)); err != nil {
		return err
	}
	in := &stdinReader{d: d}
	head, err := readPart(in, maxHead)
	if err != nil {
		return err
	}
	input, err := readPart(in, maxPayload)
	if err != nil {
		return err
	}
	var answered bytes.Buffer
	name := d.init.GetCommand()[2]
	output, failed := runServable(d.stream.Context(), name, request{Name: name, Signature: signatureIn(head)}, input)
	if err := writeAnswer(&answered, answerHead{failed}, output); err != nil {
		return err
	}
	return errors.Join(d.out(answered.String()), d.exit(0))
}

func signatureIn(head []byte) string {
	_, rest, _ := strings.Cut(string(head), `"Signature":"`)
	signature, _, _ := strings.Cut(rest, `"`)
	return signature
}

// stdinReader is what the client sends.
type stdinReader struct {
	d    *dialog
	rest []byte
}

func (r *stdinReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		frame, err := r.d.stream.Recv()
		if err != nil {
			return 0, err
		}
		r.rest = frame.GetStdin()
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// funcStory runs a test in fake time, with sandboxes that run at once, and an executable for their platform.
func funcStory(t *testing.T, name string, test func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		program := WithExecutable(elfFile(t, elf.EM_X86_64, elf.ELFDATA2LSB, ""))
		synctest.Test(t, func(t *testing.T) {
			f, c := fakeClient(t)
			m := &machine{platform: "Linux\nx86_64\n"}
			f.exec = m.exec
			f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
				return record(fmt.Sprintf("sb-%d", n), runningV), nil
			}
			f.get = func(_ context.Context, _ int, id string) (*sandboxv1.Sandbox, error) {
				return record(id, runningV), nil
			}
			s, err := c.NewSession()
			require.NoError(t, err)
			test(t, f, s, m, []FuncOption{program})
			require.NoError(t, s.Close())
			assert.Zero(t, s.Len())
			assert.Equal(t, f.count("CreateSandbox"), f.count("DeleteSandbox"))
		})
	})
}

func TestMap(t *testing.T) {
	funcStory(t, "order and bound", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		start := time.Now()
		out, err := Collect(twice.Map(t.Context(), s, slices.Values([]int{3, 1, 2, 2, 1, 3}), append(opts, WithWorkers(2))...))
		require.NoError(t, err)
		assert.Equal(t, []int{6, 2, 4, 4, 2, 6}, out)
		assert.Equal(t, 2, f.count("CreateSandbox"))
		assert.EqualValues(t, 2, m.uploads.Load())
		assert.Equal(t, 7*time.Second, time.Since(start).Truncate(time.Second)) // 12 seconds of work
	})
	funcStory(t, "no more sandboxes than inputs, and none without", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		out, err := Collect(twice.Map(t.Context(), s, slices.Values([]int{}), opts...))
		require.NoError(t, err)
		assert.Empty(t, out)
		assert.Zero(t, f.count("CreateSandbox"))
		_, err = Collect(twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3}), opts...))
		require.NoError(t, err)
		assert.Equal(t, 3, f.count("CreateSandbox"))
		_, err = Collect(twice.Map(t.Context(), s, slices.Values([]int{1, 2}), opts...))
		require.NoError(t, err)
		assert.Equal(t, 3, f.count("CreateSandbox"), "warm")
	})
	funcStory(t, "as many as there are to be had", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		f.create = func(_ context.Context, n int, _ *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			if n != 1 {
				return nil, failure(codes.ResourceExhausted, "")
			}
			return record("sb-1", runningV), nil
		}
		out, err := Collect(twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3, 1, 2, 3}), append(opts, WithWorkers(3))...))
		require.NoError(t, err)
		assert.Equal(t, []int{2, 4, 6, 2, 4, 6}, out)
		assert.EqualValues(t, 6, m.calls.Load(), "each once")
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return record("sb-1", runningV), nil
		}
		f.counts["CreateSandbox"] = 0
		f.calls = f.calls[:0]
		f.note(t.Context(), "CreateSandbox", &sandboxv1.CreateSandboxRequest{}) // the one that was made, for the balance
	})
	funcStory(t, "none to be had", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		f.create = func(context.Context, int, *sandboxv1.CreateSandboxRequest) (*sandboxv1.Sandbox, error) {
			return nil, failure(codes.ResourceExhausted, "")
		}
		results := 0
		for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3, 4}), append(opts, WithWorkers(2))...) {
			require.ErrorIs(t, err, ErrResourceExhausted)
			results++
		}
		assert.Equal(t, 1, results)
		assert.LessOrEqual(t, f.count("CreateSandbox"), 2)
		f.calls = nil
	})
	funcStory(t, "the wrong platform ends it", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.platform = "Linux\naarch64\n"
		results := 0
		for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3, 4}), append(opts, WithWorkers(1))...) {
			require.ErrorIs(t, err, errors.ErrUnsupported)
			assert.ErrorContains(t, err, "linux/amd64")
			assert.ErrorContains(t, err, "linux/arm64")
			assert.ErrorContains(t, err, "WithExecutable")
			results++
		}
		assert.Equal(t, 1, results)
		assert.Equal(t, 1, f.count("CreateSandbox"))
		assert.Zero(t, m.uploads.Load())
	})
	funcStory(t, "an executable that is not there makes no sandbox", func(t *testing.T, f *fake, s *Session, m *machine, _ []FuncOption) {
		results := 0
		for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2}), WithExecutable("/nowhere/at/all")) {
			require.ErrorIs(t, err, fs.ErrNotExist)
			require.ErrorIs(t, err, ErrInvalidArgument)
			assert.ErrorContains(t, err, "executable")
			results++
		}
		assert.Equal(t, 1, results)
		assert.Zero(t, f.count("CreateSandbox"))
	})
	funcStory(t, "a program that does not serve makes no sandbox", func(t *testing.T, f *fake, s *Session, m *machine, _ []FuncOption) {
		functions.served = false
		defer func() { functions.served = true }()
		_, err := Collect(twice.Map(t.Context(), s, slices.Values([]int{1, 2})))
		require.ErrorIs(t, err, ErrPrecondition)
		assert.Zero(t, f.count("CreateSandbox"))
	})
	for code, want := range map[int32]int{1: 1, 126: 1, 127: 4, 143: 4} {
		funcStory(t, fmt.Sprintf("a program that ends with %d before it serves", code), func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
			m.serve = func(d *dialog, _ int32) (bool, error) { return true, errors.Join(d.ready(), d.exit(code)) }
			results := 0
			for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3, 4}), append(opts, WithWorkers(1))...) {
				require.Error(t, err)
				assert.Equal(t, want == 1, errors.Is(err, errors.ErrUnsupported))
				results++
			}
			assert.Equal(t, want, results, "an executable that cannot run ends it")
		})
	}
	funcStory(t, "another build of the program ends it, and is told once", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) {
			var b bytes.Buffer
			b.WriteString(greeting)
			writeAnswer(&b, answerHead{&funcFailure{Kind: failedUnknown, Message: "no such function"}}, nil)
			return true, errors.Join(d.ready(), d.out(b.String()), d.exit(0))
		}
		for range 50 {
			results := 0
			for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3, 4}), append(opts, WithWorkers(1))...) {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				results++
			}
			require.Equal(t, 1, results)
		}
	})
	funcStory(t, "one that is cancelled leaves warm sandboxes alone", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		_, err := Collect(twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3}), opts...))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 20 {
			_, err := Collect(twice.Map(ctx, s, slices.Values([]int{1, 2, 3}), opts...))
			require.ErrorIs(t, err, context.Canceled)
		}
		synctest.Wait()
		assert.Zero(t, f.count("DeleteSandbox"))
		assert.Equal(t, 3, s.Len())
	})
	funcStory(t, "a broken sandbox is replaced, and its call is not repeated", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, n int32) (bool, error) { return n == 2, failure(codes.Unavailable, "") }
		var out []int
		var failed []error
		for n, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2, 3}), append(opts, WithWorkers(1))...) {
			out, failed = append(out, n), append(failed, err)
		}
		assert.Equal(t, []int{2, 0, 6}, out)
		require.Len(t, failed, 3)
		assert.ErrorIs(t, failed[1], ErrUnavailable)
		assert.NoError(t, errors.Join(failed[0], failed[2]))
		assert.EqualValues(t, 3, m.calls.Load())
		assert.Equal(t, 2, f.count("CreateSandbox"))
	})
	funcStory(t, "the end of the context", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		var out []int
		var last error
		for n, err := range twice.Map(ctx, s, slices.Values([]int{60, 60, 60, 60}), append(opts, WithWorkers(1))...) {
			out, last = append(out, n), err
		}
		assert.Equal(t, []int{120, 0}, out)
		assert.ErrorIs(t, last, context.DeadlineExceeded)
	})
	funcStory(t, "the end of the session", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		time.AfterFunc(90*time.Second, func() { s.Close() })
		var all []error
		for _, err := range twice.Map(t.Context(), s, slices.Values([]int{60, 60, 60, 60}), append(opts, WithWorkers(1))...) {
			all = append(all, err)
		}
		require.Len(t, all, 3)
		assert.NoError(t, all[0])
		assert.ErrorIs(t, all[1], ErrNotRunning)
		assert.ErrorIs(t, all[2], ErrClosed)
	})
	funcStory(t, "a break", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		start := time.Now()
		for n, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 1000, 1000}), append(opts, WithWorkers(2))...) {
			require.NoError(t, err)
			assert.Equal(t, 2, n)
			break
		}
		assert.Less(t, time.Since(start), time.Minute)
	})
	funcStory(t, "a slow source of inputs", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		start := time.Now()
		source := func(yield func(int) bool) {
			for range 3 {
				time.Sleep(time.Minute)
				if !yield(1) {
					return
				}
			}
		}
		var seen []time.Duration
		for _, err := range twice.Map(t.Context(), s, source, opts...) {
			require.NoError(t, err)
			seen = append(seen, time.Since(start).Truncate(time.Minute))
		}
		assert.Equal(t, []time.Duration{2 * time.Minute, 3 * time.Minute, 3 * time.Minute}, seen)
	})
	funcStory(t, "a source that uses its value again", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		source := func(yield func([]int) bool) {
			value := make([]int, 1)
			for value[0] = 1; value[0] < 5 && yield(value); value[0]++ {
			}
		}
		out, err := Collect(leading.Map(t.Context(), s, source, opts...))
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2, 3, 4}, out)
	})
	funcStory(t, "an input that cannot be encoded", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		var all []error
		for _, err := range halved.Map(t.Context(), s, slices.Values([]float64{4, math.NaN(), 8}), opts...) {
			all = append(all, err)
		}
		require.Len(t, all, 3)
		assert.NoError(t, errors.Join(all[0], all[2]))
		assert.ErrorIs(t, all[1], ErrInvalidArgument)
		assert.Equal(t, 2, f.count("CreateSandbox"), "none for that")
	})
	funcStory(t, "bad options", func(t *testing.T, f *fake, s *Session, m *machine, _ []FuncOption) {
		for name, bad := range map[string]FuncOption{
			"workers": WithWorkers(0), "executable": WithExecutable(""), "temp dir": WithTempDir("tmp"), "timeout": WithTimeout(-1),
			"env": WithEnv("A=B", ""), "dir": WithDir("relative"), "container": WithContainer("a\x00"),
			"WithWorkers": WithWorkers(math.MaxInt),
		} {
			results := 0
			for _, err := range twice.Map(t.Context(), s, slices.Values([]int{1, 2}), bad) {
				require.ErrorIs(t, err, ErrInvalidArgument, name)
				assert.ErrorContains(t, err, name)
				results++
			}
			assert.Equal(t, 1, results, name)
		}
		sb, err := s.Run(t.Context())
		require.NoError(t, err)
		_, err = twice.Call(t.Context(), sb, 1, WithWorkers(2))
		require.ErrorIs(t, err, ErrInvalidArgument)
		assert.Zero(t, f.count("StreamExec"))
	})
}

func TestCallTrouble(t *testing.T) {
	run := func(t *testing.T, s *Session) *Sandbox {
		sb, err := s.Run(t.Context())
		require.NoError(t, err)
		return sb
	}
	funcStory(t, "a program that is silent is ended", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) { return true, errors.Join(d.ready(), d.hang()) }
		start := time.Now()
		_, err := twice.Call(t.Context(), run(t, s), 1, opts...)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "ServeFuncs")
		assert.Equal(t, serveLimit, time.Since(start))
	})
	funcStory(t, "a program that does something else is ended", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) {
			return true, errors.Join(d.ready(), d.out("hello\n"), d.hang())
		}
		start := time.Now()
		_, err := twice.Call(t.Context(), run(t, s), 1, opts...)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "ServeFuncs")
		assert.Zero(t, time.Since(start))
	})
	funcStory(t, "a program that cannot start says why", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) {
			return true, errors.Join(d.ready(), d.err("program: /lib/libc.so.6: version `GLIBC_2.99' not found\n"), d.exit(1))
		}
		_, err := twice.Call(t.Context(), run(t, s), 1, opts...)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "GLIBC_2.99")
		m.serve = func(d *dialog, _ int32) (bool, error) { return true, errors.Join(d.ready(), d.exit(126)) }
		_, err = twice.Call(t.Context(), run(t, s), 1, opts...)
		assert.ErrorContains(t, err, "WithTempDir")
	})
	funcStory(t, "an answer counts even when the stream fails after it", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) {
			var b bytes.Buffer
			b.WriteString(greeting)
			writeAnswer(&b, answerHead{}, []byte("14"))
			return true, errors.Join(d.ready(), d.out(b.String()), failure(codes.Unavailable, ""))
		}
		n, err := twice.Call(t.Context(), run(t, s), 7, opts...)
		require.NoError(t, err)
		assert.Equal(t, 14, n)
	})
	funcStory(t, "a result of another type", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		m.serve = func(d *dialog, _ int32) (bool, error) {
			var b bytes.Buffer
			b.WriteString(greeting)
			writeAnswer(&b, answerHead{}, []byte(`"text"`))
			return true, errors.Join(d.ready(), d.out(b.String()), d.exit(0))
		}
		_, err := twice.Call(t.Context(), run(t, s), 7, opts...)
		assert.ErrorContains(t, err, "decode the result")
	})
	funcStory(t, "another build of the program", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		_, failed := runServable(t.Context(), "twice", request{"twice", "func(string) error"}, nil)
		require.NotNil(t, failed)
		assert.Equal(t, failedUnknown, failed.Kind)
		err := twice.failed(call{}, failed)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, "func(context.Context, int) (int, error)")
		_, failed = runServable(t.Context(), "thrice", request{Name: "thrice"}, nil)
		require.NotNil(t, failed)
		assert.ErrorContains(t, twice.failed(call{}, failed), "no function thrice")
	})
	funcStory(t, "an upload that fails is tried again by the next call", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		sb := run(t, s)
		f.exec = func(sandboxv1.SandboxService_StreamExecServer) error { return failure(codes.Unavailable, "") }
		_, err := twice.Call(t.Context(), sb, 1, opts...)
		require.ErrorIs(t, err, ErrUnavailable)
		f.exec = m.exec
		n, err := twice.Call(t.Context(), sb, 1, opts...)
		require.NoError(t, err)
		assert.Equal(t, 2, n)
	})
	funcStory(t, "calls count as commands, uploads do not", func(t *testing.T, f *fake, s *Session, m *machine, opts []FuncOption) {
		sb := run(t, s)
		_, err := twice.Call(t.Context(), sb, 1, opts...)
		require.NoError(t, err)
		assert.Equal(t, Stats{Commands: 1, OK: 1}, sb.Stats())
	})
}

func TestProgramsThatForgetToServe(t *testing.T) {
	t.Run("here", func(t *testing.T) {
		functions.served = false
		defer func() { functions.served = true }()
		bubble(t, "before anything is sent", func(t *testing.T, f *fake, c *Client) {
			_, err := twice.Call(t.Context(), running(t, f, c), 1)
			require.ErrorIs(t, err, ErrPrecondition)
			assert.ErrorContains(t, err, "ServeFuncs")
			assert.Zero(t, f.count("StreamExec"))
		})
	})
	t.Run("in the sandbox", func(t *testing.T) {
		args := os.Args
		defer func() { os.Args = args }()
		os.Args = []string{args[0], funcWord, "twice"}
		t.Setenv(funcVariable, "twice")
		_, err := NewClient(WithAPIKey("k"))
		require.ErrorIs(t, err, ErrPrecondition)
		assert.ErrorContains(t, err, "ServeFuncs")
		os.Args = []string{args[0], "something", "else"} // started by a function
		c, err := NewClient(WithAPIKey("k"))
		require.NoError(t, err)
		assert.NoError(t, c.Close())
	})
}

func TestNewFuncPanics(t *testing.T) {
	fn := func(context.Context, int) (int, error) { return 0, nil }
	assert.Panics(t, func() { NewFunc("", fn) })
	assert.Panics(t, func() { NewFunc("a\x00b", fn) })
	assert.Panics(t, func() { NewFunc("a\xffb", fn) }, "it could not be sent")
	assert.Panics(t, func() { NewFunc[int, int]("nil", nil) })
	assert.PanicsWithValue(t, "cwsandbox: NewFunc: there are two functions with the name twice", func() { NewFunc("twice", fn) })
}

func TestExecutables(t *testing.T) {
	for arch, kind := range map[string]struct {
		machine elf.Machine
		order   elf.Data
	}{
		"amd64": {elf.EM_X86_64, elf.ELFDATA2LSB}, "arm64": {elf.EM_AARCH64, elf.ELFDATA2LSB}, "arm": {elf.EM_ARM, elf.ELFDATA2LSB},
		"386": {elf.EM_386, elf.ELFDATA2LSB}, "riscv64": {elf.EM_RISCV, elf.ELFDATA2LSB}, "s390x": {elf.EM_S390, elf.ELFDATA2MSB},
		"ppc64": {elf.EM_PPC64, elf.ELFDATA2MSB}, "ppc64le": {elf.EM_PPC64, elf.ELFDATA2LSB}, "mips": {elf.EM_MIPS, elf.ELFDATA2MSB},
	} {
		t.Run(arch, func(t *testing.T) {
			e, err := openExecutable(elfFile(t, kind.machine, kind.order, "/lib/ld.so"))
			require.NoError(t, err)
			defer e.Close()
			assert.Equal(t, []string{"linux", arch, "/lib/ld.so"}, []string{e.os, e.arch, e.interpreter})
		})
	}
	t.Run("this one", func(t *testing.T) {
		e, err := openOwn()
		require.NoError(t, err)
		defer e.Close()
		assert.Equal(t, []string{runtime.GOOS, runtime.GOARCH}, []string{e.os, e.arch})
	})
	t.Run("this one, when its file is gone", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("only Linux has a way to it")
		}
		self, err := os.ReadFile("/proc/self/exe")
		require.NoError(t, err)
		copied := filepath.Join(t.TempDir(), "program")
		require.NoError(t, os.WriteFile(copied, self, 0o700))
		cmd := exec.CommandContext(t.Context(), copied, "-test.run=^TestOpenWithoutFile$")
		cmd.Env = append(os.Environ(), withoutFile+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), fmt.Sprintln("size", len(self)))
	})
	t.Run("none", func(t *testing.T) {
		text := filepath.Join(t.TempDir(), "text")
		require.NoError(t, os.WriteFile(text, []byte("#!/bin/sh\n"), 0o700))
		for _, name := range []string{text, t.TempDir(), "/nowhere/at/all"} {
			_, err := openExecutable(name)
			if name == text && runtime.GOOS != "linux" {
				continue // it may be one of this system
			}
			assert.Error(t, err, name)
		}
	})
	for name, test := range map[string]struct{ found, want string }{
		"the same":        {"Linux\nx86_64\n", ""},
		"unknown":         {"\n\n", ""},
		"nothing":         {"", ""},
		"machine":         {"Linux\naarch64\n", "GOARCH=arm64"},
		"machine unknown": {"Linux\nloongarch64\n", "loongarch64"},
		"system":          {"Darwin\nx86_64\n", "GOOS=darwin"},
		"no loader":       {"Linux\nx86_64\n/lib64/ld-linux-x86-64.so.2\n", "CGO_ENABLED=0"},
	} {
		t.Run("on "+name, func(t *testing.T) {
			err := (&executable{os: "linux", arch: "amd64"}).fits(test.found)
			if test.want == "" {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, test.want)
			}
		})
	}
}

// withoutFile is set in a process whose executable may be removed.
const withoutFile = "CWSANDBOX_TEST_WITHOUT_FILE"

func TestOpenWithoutFile(t *testing.T) {
	if os.Getenv(withoutFile) == "" {
		t.Skip("it is run by TestExecutables")
	}
	name, err := os.Executable()
	require.NoError(t, err)
	require.NoError(t, os.Remove(name))
	e, err := openOwn()
	require.NoError(t, err)
	defer e.Close()
	info, err := e.Stat()
	require.NoError(t, err)
	fmt.Println("size", info.Size())
}

func TestAnswers(t *testing.T) {
	var whole bytes.Buffer
	whole.WriteString(greeting)
	require.NoError(t, writeAnswer(&whole, answerHead{}, []byte(`"result"`)))

	t.Run("byte by byte", func(t *testing.T) {
		a := &answer{greeted: make(chan struct{})}
		_, err := bytes.NewBuffer(nil).ReadFrom(iotest.OneByteReader(bytes.NewReader(whole.Bytes())))
		require.NoError(t, err)
		for i, b := range whole.Bytes() {
			assert.False(t, a.complete)
			_, err := a.Write([]byte{b})
			require.NoError(t, err)
			assert.Equal(t, i >= len(greeting)-1, a.heard())
		}
		require.True(t, a.complete)
		assert.Equal(t, `"result"`, string(a.output))
		_, err = a.Write([]byte("x"))
		assert.Error(t, err)
	})
	for name, bad := range map[string]string{
		"another greeting": "hello",
		"a large head":     greeting + "\x00\x00\x00\x00\xff\xff\xff\xff",
		"a large output":   greeting + "\x00\x00\x00\x00\x00\x00\x00\x02{}\x7f\xff\xff\xff\xff\xff\xff\xff",
		"no JSON":          greeting + "\x00\x00\x00\x00\x00\x00\x00\x01{\x00\x00\x00\x00\x00\x00\x00\x00",
		"more":             whole.String() + "x",
	} {
		t.Run(name, func(t *testing.T) {
			a := &answer{greeted: make(chan struct{})}
			_, err := a.Write([]byte(bad))
			assert.Error(t, err)
			assert.False(t, a.complete)
		})
	}
}

// longError fails with a text of so many bytes, which JSON makes six times as long.
var longError = NewFunc("long error", func(_ context.Context, n int) (int, error) {
	return 0, errors.New(strings.Repeat("\x01", n))
})

func TestErrorsThatAreTooLongAreCut(t *testing.T) {
	_, failed := longError.serve(t.Context(), []byte("4000000"))
	var answered bytes.Buffer
	answered.WriteString(greeting)
	require.NoError(t, writeAnswer(&answered, answerHead{failed}, nil))
	a := &answer{greeted: make(chan struct{})}
	_, err := a.Write(answered.Bytes())
	require.NoError(t, err)
	require.True(t, a.complete)
	assert.Contains(t, a.failure.Message[maxMessage:], "4000000 bytes")
	_, failed = longError.serve(t.Context(), []byte("10"))
	assert.Equal(t, strings.Repeat("\x01", 10), failed.Message)
}

func TestCallsShareTheirOutput(t *testing.T) {
	opt := WithFuncOutput(io.Discard)
	first, second := newFuncConfig([]FuncOption{opt}), newFuncConfig([]FuncOption{opt})
	assert.Same(t, first.output, second.output, "else they would not write in turns")
	assert.Nil(t, newFuncConfig([]FuncOption{opt, WithFuncOutput(nil)}).output)
}

func TestTail(t *testing.T) {
	said := new(tail)
	for range 100 {
		said.Write(bytes.Repeat([]byte("x"), 10_000))
	}
	said.Write([]byte("\npanic: first\n\ngoroutine 1\n"))
	assert.LessOrEqual(t, len(said.kept), 2*outputTail+10_000)
	assert.GreaterOrEqual(t, len(said.kept), outputTail)
	assert.Equal(t, "panic: first", said.crash())
	assert.Equal(t, "goroutine 1", said.last())
	said.Write([]byte("fatal error: all goroutines are asleep\n"))
	assert.Equal(t, "fatal error: all goroutines are asleep", said.crash())
	assert.Empty(t, (&tail{kept: []byte("do not panic: it works")}).crash())
}
