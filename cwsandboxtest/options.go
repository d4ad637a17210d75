package cwsandboxtest

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
)

// An Option configures a [Server].
type Option func(*config)

type config struct {
	inMemory       bool
	direct         bool
	processes      bool
	allowLeftovers bool
	unenforced     bool
	noServerless   bool
	noShareTokens  bool
	prepareDelay   time.Duration
	snapshots      SnapshotLimits
	logger         *slog.Logger
	commands       []scripted.Option

	secrets          []localserver.Secret
	objectStorageEnv map[string]string
	runtimeClasses   []string
	instanceTypes    []string
	claims           []localserver.Claim
}

// InMemory serves without a network: only clients made by [Server.Client] or with [Server.DialOptions] reach the server.
// Such a server may live inside a testing/synctest bubble, where no command, timeout or lifetime takes real time.
func InMemory() Option { return func(c *config) { c.inMemory = true } }

// Processes runs commands as real processes of this machine, as isolated as it allows: [Server.Isolation] tells how far.
// The test binary must call [Main], another program [Init]; without that the processes are not isolated at all. None of
// it is a security boundary against hostile code. Processes do not know the fake time of testing/synctest.
func Processes() Option { return func(c *config) { c.processes = true } }

// DirectConnections serves direct connections to the sandboxes too, as [cwsandbox.WithDataPlane] knows them: on a port of
// their own of the loopback interface, or in memory with [InMemory]. Clients made by [Server.Client] then use them by
// default. Rules and records are about the calls of either way. Without this option there are no direct connections.
func DirectConnections() Option { return func(c *config) { c.direct = true } }

// UnenforcedEgress accepts rules about what a sandbox may reach, [cwsandbox.EgressRule], and reports them, although nothing
// here enforces them. By default they are refused as no runner could offer them.
func UnenforcedEgress() Option { return func(c *config) { c.unenforced = true } }

// NoServerless refuses sandboxes that do not ask for [cwsandbox.PlacementCKS], as an organization's gate does.
func NoServerless() Option { return func(c *config) { c.noServerless = true } }

// NoShareTokens refuses endpoints with [cwsandbox.EndpointAuthShareToken], as a service does that has no runner for them.
func NoShareTokens() Option { return func(c *config) { c.noShareTokens = true } }

// WithPrepareDelay keeps sandboxes of a file, see [cwsandbox.WithCompose], in [cwsandbox.StatePreparing] for d before anything
// else, with nothing known about their containers. By default they never are in that state.
func WithPrepareDelay(d time.Duration) Option { return func(c *config) { c.prepareDelay = d } }

// SnapshotLimits bound the snapshots of a server. A field that is zero bounds nothing.
type SnapshotLimits struct {
	Bytes    int64 // that one snapshot may hold
	Count    int   // of the snapshots that there are
	InFlight int   // of those that are [cwsandbox.SnapshotStateCreating]
}

// WithSnapshotLimits refuses snapshots beyond the limits, or makes them fail where that shows later only. By default there
// are no limits.
func WithSnapshotLimits(l SnapshotLimits) Option { return func(c *config) { c.snapshots = l } }

// AllowLeftovers lets a test end with sandboxes that it has not stopped. The server stops them in any case.
func AllowLeftovers() Option { return func(c *config) { c.allowLeftovers = true } }

// WithLogger makes the server log to l what a developer should know. It is silent by default.
func WithLogger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

// WithClaim lets a directory of this machine, an absolute path, be registered as a volume: as the persistent volume claim of
// that namespace and name on the runner "local-runner". With [Processes] sandboxes that mount it work in the directory
// itself; without, it only has to exist, and its content is in memory and shared by the sandboxes of the server.
func WithClaim(namespace, name, dir string) Option {
	return func(c *config) {
		c.claims = append(c.claims, localserver.Claim{Namespace: namespace, Name: name, Dir: dir})
	}
}

// WithCommand answers a command with a function. The name is the first word of the command without its directory.
// Known without it are echo, cat, env, pwd, true, false and sleep, and sh -c and bash -c with a shell that can run a
// sequence of these commands and exit.
func WithCommand(name string, c Command) Option {
	return func(cfg *config) { cfg.commands = append(cfg.commands, scripted.WithCommand(name, c)) }
}

// WithScript answers "sh -c text" and "bash -c text" with a function.
func WithScript(text string, c Command) Option {
	return func(cfg *config) { cfg.commands = append(cfg.commands, scripted.WithScript(text, c)) }
}

func newConfig(opts []Option) (*config, error) {
	c := new(config)
	for _, o := range opts {
		if o != nil {
			o(c)
		}
	}
	if c.processes && len(c.commands) > 0 {
		return nil, errors.New("cwsandboxtest: with Processes, WithCommand and WithScript have no effect")
	}
	if c.prepareDelay < 0 {
		return nil, errors.New("cwsandboxtest: WithPrepareDelay: must not be negative")
	}
	if c.snapshots.Bytes < 0 || c.snapshots.Count < 0 || c.snapshots.InFlight < 0 {
		return nil, errors.New("cwsandboxtest: WithSnapshotLimits: must not be negative")
	}
	return c, nil
}

func (c *config) runtime() (container.Runtime, error) {
	if !c.processes {
		return scripted.New(c.commands...), nil
	}
	// Not returned as it is: a nil pointer would make an interface that is not nil.
	rt, err := process.New(process.Options{Logger: c.logger})
	if err != nil {
		return nil, err
	}
	return rt, nil
}
