package localserver

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
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
	// Keys are the bearer tokens that are accepted. None: any that is not blank.
	Keys []Key
	// OnlyListed has W&B keys be on the list as well. Else any that is not blank is accepted, as the contract has it.
	OnlyListed bool
	// Clock is where time comes from. Nil: package time.
	Clock Clock

	// PendingDelay is how long a sandbox is PENDING before it is CREATING. Zero: it never is PENDING.
	PendingDelay time.Duration
	// PrepareDelay is how long a sandbox of a file is PREPARING, without a spec, before anything else. Zero: it never is.
	PrepareDelay time.Duration
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
	// NoServerless refuses sandboxes that do not ask for the caller's own clusters.
	NoServerless bool

	// PrivateNetwork gives every sandbox what DenyEgress gives to one: a network of its own that leads nowhere.
	PrivateNetwork bool
	// UnenforcedEgress accepts and reports rules about what may be reached, which are enforced nowhere here. Without it
	// they are refused.
	UnenforcedEgress bool

	// Secrets are what is in the secret stores. A store that is named here is there without being set up through the API,
	// but for "wandb", which callers with a W&B key have.
	Secrets []Secret
	// ObjectStorageEnv are the environment variables with the credentials that sandboxes with access to object storage get.
	// None: they get no credentials.
	ObjectStorageEnv map[string]string
	// RuntimeClasses and InstanceTypes can be named by a spec, without any effect but that it is echoed.
	RuntimeClasses, InstanceTypes []string

	// TranslateFile makes the spec of a sandbox from the contents of a file. Nil: a part of Docker Compose is understood.
	TranslateFile func(contents []byte) (*sandboxv1.SandboxSpec, error)

	// Claims are the persistent volume claims that can be registered as volumes.
	Claims []Claim
	// MaxVolumes bounds the registered volumes of an organization. Zero: no bound.
	MaxVolumes int

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

	// DisableSnapshots refuses to take and to restore snapshots, as for an organization that may not.
	DisableSnapshots bool
	// SnapshotDelay is how long a snapshot stays CREATING once its content is copied.
	SnapshotDelay time.Duration
	// SnapshotTimeout is how long a snapshot may be CREATING. Zero: 600 s.
	SnapshotTimeout time.Duration
	// MaxSnapshotBytes bounds what a snapshot may hold. Zero: no bound.
	MaxSnapshotBytes int64
	// MaxSnapshots bounds the snapshots that an organization has. Zero: no bound.
	MaxSnapshots int
	// MaxSnapshotsInFlight bounds the snapshots that are CREATING, of all organizations. Zero: no bound.
	MaxSnapshotsInFlight int
	// EnforceBucket refuses to restore snapshots that lie in another bucket than the present one.
	EnforceBucket bool

	// CertLifetime is how long a certificate for direct connections lives. Zero: 15 minutes.
	CertLifetime time.Duration
	// DeniedDataPermissions are never granted to a direct connection.
	DeniedDataPermissions []sandboxv1.SandboxDataPermission

	// PublishOn returns listeners of this machine for one service of a sandbox, and their port. Nil: a free port of
	// 127.0.0.1 and ::1.
	PublishOn func() ([]net.Listener, int, error)
	// PlainEdge serves HTTPS endpoints as plain http, for clients that cannot trust the server's authority.
	PlainEdge bool
	// NoShareTokens refuses endpoints that ask for a share token, as a service does that has no runner for them.
	NoShareTokens bool

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
	defaultRetention       = time.Hour
	defaultRestartDelay    = 100 * time.Millisecond
	maxRestartDelay        = 2 * time.Second
	defaultMaxFileBytes    = 32 << 20
	defaultPipeDrain       = 2 * time.Second
	defaultShutdownGrace   = 2 * time.Second
	defaultCertLifetime    = 15 * time.Minute
	defaultSnapshotTimeout = 600 * time.Second
	maxMessageBytes        = 100 << 20
)

// settings are options that were checked and completed.
type settings struct {
	Options
	ceilingCPU    quantity.Value
	ceilingMemory quantity.Value
	disabled      map[string]bool
	vault         vault
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
	s.CertLifetime = orDefault(o.CertLifetime, defaultCertLifetime)
	s.SnapshotTimeout = orDefault(o.SnapshotTimeout, defaultSnapshotTimeout)
	if s.Clock == nil {
		s.Clock = systemClock{}
	}
	if s.PublishOn == nil {
		s.PublishOn = publishOnLoopback
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
	if s.PrivateNetwork && s.Runtime.Isolation() == plainIsolation {
		return errors.New("local server: without isolation there are no private networks")
	}
	for _, k := range s.Keys {
		if k.Token == "" {
			return errors.New("local server: a key has no token")
		}
	}
	for _, c := range s.Claims {
		if err := c.check(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.ObjectStorageEnv)) {
		if !validVariable(name) || hasNUL(s.ObjectStorageEnv[name]) {
			return fmt.Errorf("local server: object storage has a variable %q that no process can have", name)
		}
	}
	var err error
	if s.vault, err = newVault(s.Secrets); err != nil {
		return err
	}
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
