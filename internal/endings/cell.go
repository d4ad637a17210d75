package endings

import "time"

// Ending is how a program ends.
type Ending string

const (
	Returns          Ending = "return from main"
	Exits            Ending = "Exit(3)"
	OSExits          Ending = "os.Exit(3)"
	Fatal            Ending = "log.Fatal"
	Panics           Ending = "panic in main"
	PanicsBeside     Ending = "panic in a goroutine"
	NilDereference   Ending = "nil dereference"
	Goexits          Ending = "Goexit inside Main"
	Interrupted      Ending = "SIGINT"
	Terminated       Ending = "SIGTERM"
	HungUp           Ending = "SIGHUP"
	InterruptedTwice Ending = "SIGINT twice"
	TimedOut         Ending = "SIGTERM under timeout"
	Quit             Ending = "SIGQUIT"
	BrokenPipe       Ending = "SIGPIPE by a closed standard output"
	Killed           Ending = "SIGKILL"
	GroupKilled      Ending = "SIGKILL of the group"
	OutOfMemory      Ending = "out of memory"
)

// Endings are all of them.
var Endings = []Ending{
	Returns, Exits, OSExits, Fatal, Panics, PanicsBeside, NilDereference, Goexits, Interrupted, Terminated, HungUp,
	InterruptedTwice, TimedOut, Quit, BrokenPipe, Killed, GroupKilled, OutOfMemory,
}

// Setting is what a program does about its end, or what it was started by.
type Setting string

const (
	Plain           Setting = "plain"
	OwnNotify       Setting = "signal.Notify" // it reads one signal, and then shuts down
	ContextDeferred Setting = "signal.NotifyContext, stop deferred"
	ContextAtOnce   Setting = "signal.NotifyContext, stop at once" // it gives the handler back before it shuts down
	InMain          Setting = "Main"
	OwnCleanup      Setting = "DisableSignalHandling, own Cleanup" // deferred, with a NotifyContext
	FirstProcess    Setting = "pid 1"                              // of a pid namespace
	UnderBash       Setting = "bash -c"
	InPipeline      Setting = "in a pipeline to head -1"
	Background      Setting = "nohup" // and &
	OnTerminal      Setting = "closing pty"
)

// Settings are all of them.
var Settings = []Setting{
	Plain, OwnNotify, ContextDeferred, ContextAtOnce, InMain, OwnCleanup, FirstProcess, UnderBash, InPipeline, Background,
	OnTerminal,
}

// Phase is what the program is doing when it ends.
type Phase string

const (
	Creating Phase = "create in flight" // the sandbox is made, the answer is not there yet
	Starting Phase = "starting"
	Running  Phase = "running"  // with an exec stream open
	Stopping Phase = "stopping" // one sandbox has been told to end and has not, another one runs
)

// Phases are all of them.
var Phases = []Phase{Creating, Starting, Running, Stopping}

// Help is what the program has taken in against endings at which it can do nothing.
type Help string

const (
	Alone      Help = "alone"
	WithReaper Help = "reaper"
	WithLease  Help = "lease"
)

// Lease is that of [WithLease].
const Lease = 5 * time.Second

// Cell is one cell of the matrix.
type Cell struct {
	Ending  Ending
	Setting Setting
	Phase   Phase
	Help    Help
}

// Role is what the program is told to be.
type Role struct {
	Cell
	Noisy bool // it writes to standard error without end
}

// The program gets its role in a variable, as JSON, and has two more files than the standard ones. When a line comes on the
// one it ends; on the other one it says its pid when its phase is reached.
const (
	RoleVariable = "ENDINGS_ROLE"
	OrderFD      = 3
	AnswerFD     = 4
)

const (
	// OwnStatus is with what a program exits that handles a signal itself.
	OwnStatus = 7
	// HeldTag marks the sandbox that the server holds in the state of the phase.
	HeldTag = "held"
)
