package localserver

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/quantity"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// Options configure a Server. Only Runtime is required.
type Options struct {
	// Runtime runs the containers. The server owns it from a successful New on, and closes it.
	Runtime container.Runtime
	// Logger receives what a developer should know. Nil: nothing is logged.
	Logger *slog.Logger
	// Keys are the credentials that are accepted. None: any bearer token that is not blank.
	Keys []Key
	// Clock is where time comes from. Nil: package time.
	Clock Clock

	// PendingDelay is how long a sandbox is PENDING before it is CREATING. Zero: it never is PENDING.
	PendingDelay time.Duration
	// StartupSettle is how long the main process must have been alive before the sandbox is RUNNING.
	StartupSettle time.Duration
	// Retention is how long an ended sandbox can still be read. Zero: an hour.
	Retention time.Duration
	// RestartPolicy says what follows when a container's process fails.
	RestartPolicy RestartPolicy
	// RestartDelay is the pause before the first restart; it doubles up to 2 s. Zero: 100 ms.
	RestartDelay time.Duration
	// LifetimeEndsIn is the state of a sandbox whose lifetime ran out: FAILED, COMPLETED or TERMINATED.
	// Unspecified: FAILED.
	LifetimeEndsIn sandboxv1.State
	// DeleteEndsIn is the state of a deleted sandbox: COMPLETED or TERMINATED. Unspecified: COMPLETED.
	DeleteEndsIn sandboxv1.State
	// OmitExitCodeOnDelete leaves out the exit code of sandboxes that were deleted.
	OmitExitCodeOnDelete bool
	// ExitCodeLag is how long after the end of a sandbox its exit code becomes visible.
	ExitCodeLag time.Duration
	// MaxActiveSandboxes bounds the sandboxes that have not ended. Zero: no bound.
	MaxActiveSandboxes int
	// ResourceCeiling bounds the summed requests of one sandbox. Empty fields: 128 cores, 1Ti.
	ResourceCeiling Ceiling

	// MaxFileBytes is the largest file of the file rpcs. Zero: 32 MiB.
	MaxFileBytes int64
	// StrictParents makes a write to a missing directory fail instead of making the directory.
	StrictParents bool
	// MaxExec bounds the time of a command that runs without a stream. Zero: no bound.
	MaxExec time.Duration
	// PipeDrain is how long the streams of an ended process may stay open. Zero: 2 s.
	PipeDrain time.Duration
	// StdinCloseGrace ends an exec stream whose input was closed and which then is silent for so long. Zero: never.
	StdinCloseGrace time.Duration
	// ExecStallTimeout ends an exec stream whose reader takes nothing for so long. Zero: never.
	ExecStallTimeout time.Duration

	// ShutdownGrace is what Close leaves the sandboxes between SIGTERM and SIGKILL. Zero: 2 s.
	ShutdownGrace time.Duration
	// MaxConcurrentStreams bounds the open calls of one connection. Zero: no bound.
	MaxConcurrentStreams uint32
	// DisabledMethods names rpcs, such as "StreamLogs", that are answered as not implemented.
	DisabledMethods []string
	// UnaryInterceptors and StreamInterceptors run first, before authentication. A response that they see may share
	// parts with the server's records: to change one they must clone it.
	UnaryInterceptors  []grpc.UnaryServerInterceptor
	StreamInterceptors []grpc.StreamServerInterceptor
	// ServerOptions are added to the gRPC server's own.
	ServerOptions []grpc.ServerOption
}

// A Key is a bearer token and whose it is.
type Key struct {
	Token        string
	User         string // empty: "local-user"
	Organization string // empty: "local-org"
	Admin        bool
}

// Ceiling is an upper bound of resources, as quantities.
type Ceiling struct{ CPU, Memory string }

// RestartPolicy says whether the process of a container is started again after it failed.
type RestartPolicy int

const (
	// RestartOnFailure starts it again, six times at most.
	RestartOnFailure RestartPolicy = iota
	// RestartNever takes the exit code as the end.
	RestartNever
)

const (
	defaultRetention     = time.Hour
	defaultRestartDelay  = 100 * time.Millisecond
	maxRestartDelay      = 2 * time.Second
	defaultMaxFileBytes  = 32 << 20
	defaultPipeDrain     = 2 * time.Second
	defaultShutdownGrace = 2 * time.Second
	maxMessageBytes      = 100 << 20
)

// settings are options that were checked and completed.
type settings struct {
	Options
	ceilingCPU    quantity.Value
	ceilingMemory quantity.Value
	disabled      map[string]bool
}

func (o Options) settle() (*settings, error) {
	if o.Runtime == nil {
		return nil, errors.New("local server: no runtime given")
	}
	s := &settings{Options: o, disabled: make(map[string]bool)}
	s.Logger = orDefault(o.Logger, slog.New(slog.DiscardHandler))
	s.Retention = orDefault(o.Retention, defaultRetention)
	s.RestartDelay = orDefault(o.RestartDelay, defaultRestartDelay)
	s.LifetimeEndsIn = orDefault(o.LifetimeEndsIn, sandboxv1.State_STATE_FAILED)
	s.DeleteEndsIn = orDefault(o.DeleteEndsIn, sandboxv1.State_STATE_COMPLETED)
	s.MaxFileBytes = orDefault(o.MaxFileBytes, defaultMaxFileBytes)
	s.PipeDrain = orDefault(o.PipeDrain, defaultPipeDrain)
	s.ShutdownGrace = orDefault(o.ShutdownGrace, defaultShutdownGrace)
	if s.Clock == nil {
		s.Clock = systemClock{}
	}
	for _, m := range o.DisabledMethods {
		s.disabled[m] = true
	}
	return s, s.check()
}

func (s *settings) check() error {
	if !terminal(s.LifetimeEndsIn) {
		return fmt.Errorf("local server: a lifetime cannot end in %v", s.LifetimeEndsIn)
	}
	if s.DeleteEndsIn != sandboxv1.State_STATE_COMPLETED && s.DeleteEndsIn != sandboxv1.State_STATE_TERMINATED {
		return fmt.Errorf("local server: a delete cannot end in %v", s.DeleteEndsIn)
	}
	for _, k := range s.Keys {
		if k.Token == "" {
			return errors.New("local server: a key has no token")
		}
	}
	var err error
	if s.ceilingCPU, err = quantity.Parse(orDefault(s.ResourceCeiling.CPU, "128")); err != nil {
		return fmt.Errorf("local server: processor ceiling: %w", err)
	}
	if s.ceilingMemory, err = quantity.Parse(orDefault(s.ResourceCeiling.Memory, "1Ti")); err != nil {
		return fmt.Errorf("local server: memory ceiling: %w", err)
	}
	return nil
}

func orDefault[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}
