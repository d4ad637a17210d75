package cwsandbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Func is a function of this program that can run in a sandbox: [Func.Call] uploads the program's own executable, once for
// each sandbox, and starts it there, a process for each call, to run this one function. Input and output travel as JSON.
//
//	var square = cwsandbox.NewFunc("square", func(ctx context.Context, n int) (int, error) { return n * n, nil })
//
//	func main() {
//		cwsandbox.ServeFuncs() // in a sandbox this runs the function and does not return; Main does it too
//		...
//		n, err := square.Call(ctx, sb, 7)
//
// The function sees the file system, the network and the environment of the sandbox, and no variable that this program has
// set: of the program's state only what the initialization of its packages makes is there. What it prints is shown by
// [WithFuncOutput].
//
// The executable must be one for the platform of the sandbox, which is Linux as a rule, and a statically linked one where
// the image lacks the C library: build with CGO_ENABLED=0. Elsewhere [WithExecutable] names another build of the program.
//
// Beside the function decorator of the Python SDK: there the function's source travels, with the variables that it captures,
// and the image has to have Python; here it is the program, which needs nothing of the image, and of captured variables the
// function sees what initialization gave them. There each call makes a sandbox; here it takes one that runs already, and
// Map keeps a bounded number of them. What a function returns is JSON in both.
//
// All methods are safe for concurrent use.
type Func[In, Out any] struct {
	name string
	fn   func(context.Context, In) (Out, error)
	errs []error
}

// functions are those that this program can serve.
var functions struct {
	mu     sync.Mutex
	byName map[string]servable
	served bool // ServeFuncs was called
}

// servable is a Func of any types.
type servable interface {
	// serve runs the function on encoded input.
	serve(ctx context.Context, input []byte) (output []byte, f *funcFailure)
	signature() string
}

// NewFunc makes a function known under a name, for a variable at the package level: both this process and the one in the
// sandbox have to come by here before [ServeFuncs]. It panics when there is a function of this name already, or a part
// is missing.
//
// When the function returns an error that matches one of errs, or panics with one, the error of the call matches it too, by
// [errors.Is]. Of other errors only texts and types survive the way: see [RemoteError].
func NewFunc[In, Out any](name string, fn func(ctx context.Context, in In) (Out, error), errs ...error) *Func[In, Out] {
	f := &Func[In, Out]{name, fn, slices.Clone(errs)}
	functions.mu.Lock()
	defer functions.mu.Unlock()
	switch {
	case name == "" || strings.Contains(name, "\x00") || !utf8.ValidString(name):
		panic("cwsandbox: NewFunc: a name must be UTF-8, not empty and without NUL")
	case fn == nil:
		panic("cwsandbox: NewFunc: the function " + name + " is nil")
	case functions.byName[name] != nil:
		panic("cwsandbox: NewFunc: there are two functions with the name " + name)
	case functions.byName == nil:
		functions.byName = make(map[string]servable)
	}
	functions.byName[name] = f
	return f
}

// Name returns the name of the function.
func (f *Func[In, Out]) Name() string { return f.name }

// Local calls the function in this process, without JSON in between.
func (f *Func[In, Out]) Local(ctx context.Context, in In) (Out, error) { return f.fn(ctx, in) }

// Call runs the function in the sandbox and returns its result. In a sandbox that is still starting it waits until
// commands can run. The first call for a sandbox uploads the executable, by the image's /bin/sh and a few of its tools, and
// others that come meanwhile wait for that. A call costs the start of a process, some ten milliseconds beside the way to the
// service: work for many small inputs takes them as one.
//
// The context is the life of the call: when it ends, the context of the function ends too, or the process is killed,
// whichever the service does first, and a function that does not heed its context is killed after five seconds.
// A call is never repeated: after an error that matches [ErrUnavailable] the function may or may not have run.
//
// A [*RemoteError] is in the chain when the function has returned an error or panicked; an [*ExitError] when its process
// has ended without an answer, by os.Exit or a crash, with the end of what it had printed as the Stderr of its Result; and
// an error of encoding/json when a value could not be encoded or decoded here. [errors.ErrUnsupported] says that the
// executable cannot run in this sandbox or does not serve this function, and [ErrPrecondition], before anything is sent,
// that this program has not called [ServeFuncs]. All others are those of [Sandbox.Exec] and [Sandbox.Upload]: after them
// the function may or may not have run.
func (f *Func[In, Out]) Call(ctx context.Context, sb *Sandbox, in In, opts ...FuncOption) (Out, error) {
	var none Out
	c := call{op: f.op(), sandbox: sb.s.id}
	cfg := newFuncConfig(opts)
	if cfg.workers != 0 {
		cfg.faults.add("workers", "is for Map")
	}
	if err := cfg.faults.err(c); err != nil {
		return none, err
	}
	input, err := f.encode(c, in)
	if err != nil {
		return none, err
	}
	out, _, err := f.call(ctx, c, sb, input, cfg)
	return out, err
}

func (f *Func[In, Out]) op() string { return "call " + f.name }

func (f *Func[In, Out]) encode(c call, in In) ([]byte, error) {
	input, err := json.Marshal(in)
	if err == nil && len(input) > maxPayload {
		err = fmt.Errorf("%d bytes are more than %d", len(input), maxPayload)
	}
	if err != nil {
		return nil, c.refuse("encode the input: "+err.Error(), err, ErrInvalidArgument)
	}
	return input, nil
}

// call is Call with encoded input, and tells what becomes of the sandbox.
func (f *Func[In, Out]) call(ctx context.Context, c call, sb *Sandbox, input []byte, cfg *funcConfig) (out Out, after aftermath, err error) {
	header := request{Name: f.name, Signature: f.signature()}
	a, after, err := sb.s.callFunc(ctx, c, cfg, header, input)
	if err != nil {
		return out, after, err
	}
	if a.failure != nil {
		return out, after, f.failed(c, a.failure)
	}
	if err := json.Unmarshal(a.output, &out); err != nil {
		var none Out
		return none, after, c.refuse("decode the result: "+err.Error(), err)
	}
	return out, after, nil
}

// signature tells builds of a program apart that do not agree on the function.
func (f *Func[In, Out]) signature() string { return fmt.Sprintf("%T", f.fn) }

// serve runs the function on a goroutine of its own, so that runtime.Goexit ends just that.
func (f *Func[In, Out]) serve(ctx context.Context, input []byte) (output []byte, failed *funcFailure) {
	var in In
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, failureOf(failedError, fmt.Errorf("decode the input: %w", err), nil)
	}
	var (
		out  Out
		done sync.WaitGroup
	)
	done.Go(func() {
		returned := false
		defer func() {
			if !returned {
				failed = panicked(recover(), f.errs)
			}
		}()
		var err error
		if out, err = f.fn(ctx, in); err != nil {
			failed = failureOf(failedError, err, f.errs)
		}
		returned = true
	})
	done.Wait()
	if failed != nil {
		return nil, failed
	}
	output, err := json.Marshal(out)
	if err == nil && len(output) > maxPayload {
		err = fmt.Errorf("%d bytes are more than %d", len(output), maxPayload)
	}
	if err != nil {
		return nil, failureOf(failedError, fmt.Errorf("encode the result: %w", err), nil)
	}
	return output, nil
}
