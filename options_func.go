package cwsandbox

import (
	"io"
	"path"
	"sync"
)

// FuncOption is an option of [Func.Call] and [Func.Map].
type FuncOption interface{ applyFunc(*funcConfig) }

// funcConfig is the configuration of calls of a function.
type funcConfig struct {
	execConfig
	executable string // empty: this program's
	tempDir    string
	output     io.Writer // nil: nobody wants it
	workers    int       // zero: not given
}

func newFuncConfig(opts []FuncOption) *funcConfig {
	c := &funcConfig{tempDir: "/tmp"}
	applyAll(&c.faults, opts, func(o FuncOption) { o.applyFunc(c) })
	return c
}

func (o envOption) applyFunc(c *funcConfig)       { o.applyExec(&c.execConfig) }
func (o dirOption) applyFunc(c *funcConfig)       { o.applyExec(&c.execConfig) }
func (o containerOption) applyFunc(c *funcConfig) { o.applyExec(&c.execConfig) }
func (o timeoutOption) applyFunc(c *funcConfig)   { o.applyExec(&c.execConfig) }

// maxWorkers is more than any organization may have of sandboxes.
const maxWorkers = 10_000

// funcOption is an option of calls of functions only.
type funcOption struct {
	call  string // that makes it, as it prints
	apply func(*funcConfig)
}

func (o funcOption) applyFunc(c *funcConfig) { o.apply(c) }
func (o funcOption) String() string          { return o.call }

// WithExecutable names the file that is uploaded, a build of this program for the platform of the sandbox, instead of the
// executable that runs: where that is for another system, or dynamically linked. One that cannot be read, or is no
// executable, is [ErrInvalidArgument].
//
//	CGO_ENABLED=0 GOOS=linux GOARCH=amd64 go build -o program.linux .
func WithExecutable(file string) FuncOption {
	return funcOption{printed("WithExecutable", file), func(c *funcConfig) {
		checkFilled(&c.faults, "executable", file)
		c.executable = file
	}}
}

// WithTempDir sets the directory in the sandbox that the executable is uploaded to, /tmp by default. It is made if it is not
// there.
func WithTempDir(dir string) FuncOption {
	return funcOption{printed("WithTempDir", dir), func(c *funcConfig) {
		checkDir(&c.faults, "temp dir", dir)
		c.tempDir = path.Clean(dir)
	}}
}

// WithFuncOutput has all that the function prints, on standard output and standard error, written to w as it appears. Calls
// with this same option that go on at the same time write in turns. While a Write takes its time, the function may have to
// wait; its error ends the call. By default what is printed is dropped, but for the end of it when the process crashes.
func WithFuncOutput(w io.Writer) FuncOption {
	var output io.Writer
	if w != nil {
		output = &turnWriter{w: w}
	}
	return funcOption{"WithFuncOutput(…)", func(c *funcConfig) { c.output = output }}
}

// turnWriter lets one write at a time.
type turnWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (t *turnWriter) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.w.Write(b)
}

// WithWorkers sets how many sandboxes [Func.Map] works with at the same time, one call in each: 8 by default, and 10,000 at
// most. It makes no more than there are inputs, and gets along with fewer where the service does not give as many.
func WithWorkers(n int) FuncOption {
	return funcOption{printed("WithWorkers", n), func(c *funcConfig) {
		if n < 1 || n > maxWorkers {
			c.faults.add("workers", "must be between 1 and %d, is %d", maxWorkers, n)
		}
		c.workers = n
	}}
}
