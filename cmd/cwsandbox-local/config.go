package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
)

const (
	defaultListen = "127.0.0.1:7643"

	hostNetwork    = "host"
	privateNetwork = "private"
)

// config is what the command line says.
type config struct {
	host, port  string
	keys        []localserver.Key
	tls         bool
	certFile    string
	keyFile     string
	isolation   string
	logLevel    slog.Level
	allowRemote bool
	direct      bool
	plainEdge   bool
	readyFile   string
	dataDir     string
	claims      []localserver.Claim
	network     string
	unenforced  bool
	serverless  bool
	shareTokens bool

	prepareDelay         time.Duration
	maxSnapshots         int
	maxSnapshotBytes     int64
	maxSnapshotsInFlight int

	secrets          []localserver.Secret
	objectStorageEnv map[string]string
	runtimeClasses   []string
	instanceTypes    []string
}

// parse reads the command line. Its errors never contain a key.
func parse(args []string, stderr io.Writer) (*config, error) {
	c := &config{}
	fs := flag.NewFlagSet("cwsandbox-local", flag.ContinueOnError)
	fs.SetOutput(stderr)
	listen := fs.String("listen", defaultListen, "`address` to listen on; port 0 picks one; 127.0.0.1 stands for ::1 as well")
	keys := fs.String("keys", "", "API `keys` to accept, separated by commas; other users of this machine may see them, see -key-file")
	keyFile := fs.String("key-file", "", "`file` with API keys to accept, one per line: KEY [user=NAME] [organization=NAME] [admin=false]")
	fs.BoolVar(&c.tls, "tls", false, "serve TLS, with a certificate of an own authority unless -tls-cert is given")
	fs.StringVar(&c.certFile, "tls-cert", "", "certificate `file` in PEM; implies -tls")
	fs.StringVar(&c.keyFile, "tls-key", "", "private key `file` of -tls-cert in PEM")
	fs.StringVar(&c.isolation, "isolation", process.Auto, "`level`: auto, strict (auto, but not plain), isolated, rootless or plain")
	fs.TextVar(&c.logLevel, "log-level", slog.LevelWarn, "`level` of what is logged to standard error: debug, info, warn or error")
	fs.BoolVar(&c.allowRemote, "allow-remote", false, "allow an address that other machines can reach; needs TLS and keys")
	fs.BoolVar(&c.direct, "direct", true, "serve direct connections to sandboxes, on a port of their own; never to other machines")
	fs.BoolVar(&c.plainEdge, "plain-edge", false, "serve HTTPS endpoints of sandboxes as plain http, for clients that cannot trust the own authority")
	fs.StringVar(&c.readyFile, "ready-file", "", "`file` that receives the base URL once the server accepts connections")
	fs.StringVar(&c.dataDir, "data-dir", "", "`directory` for what sandboxes write and for the certificates of the own authorities (default: below the user's state directory)")
	fs.Func("claim", "`NAMESPACE/NAME=DIRECTORY` that can be registered as a volume, for runner local-runner; may be repeated", func(text string) error {
		claim, err := parseClaim(text)
		c.claims = append(c.claims, claim)
		return err
	})
	fs.StringVar(&c.network, "network", hostNetwork, "`network` of the sandboxes: host, which is this machine's, or private, which leads nowhere")
	fs.BoolVar(&c.unenforced, "unenforced-egress", false, "accept rules about what a sandbox may reach although nobody enforces them here")
	fs.BoolVar(&c.serverless, "serverless", true, "accept sandboxes that do not ask for the caller's own clusters")
	fs.BoolVar(&c.shareTokens, "share-tokens", true, "accept endpoints that ask for a share token")
	fs.DurationVar(&c.prepareDelay, "prepare-delay", 0, "`time` that sandboxes of a file are PREPARING before anything else")
	fs.IntVar(&c.maxSnapshots, "max-snapshots", 0, "`number` of snapshots that an organization can have; 0 is no bound")
	fs.Int64Var(&c.maxSnapshotBytes, "max-snapshot-bytes", 0, "`number` of bytes that a snapshot can hold; 0 is no bound")
	fs.IntVar(&c.maxSnapshotsInFlight, "max-snapshots-in-flight", 0, "`number` of snapshots that can be taken at a time; 0 is no bound")
	secrets := fs.String("secrets-file", "", "JSON `file` with what is in secret stores: {\"store\": {\"name\": \"value\", \"other\": {\"field\": \"value\"}}}")
	storage := fs.String("object-storage-env-file", "", "`file` with the environment variables, NAME=VALUE, of sandboxes with access to object storage")
	classes := fs.String("runtime-classes", "", "`names` of the runtime classes that sandboxes may ask for, separated by commas; they have no effect")
	types := fs.String("instance-types", "", "`names` of the instance types that sandboxes may ask for, separated by commas; they have no effect")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, errors.New("unexpected argument: there are only flags") // it may be a key behind a blank in -keys
	}
	var err error
	if c.host, c.port, err = net.SplitHostPort(*listen); err != nil {
		return nil, fmt.Errorf("-listen: %w", err)
	}
	if c.keys, err = readKeys(*keys, *keyFile); err != nil {
		return nil, err
	}
	if c.secrets, err = readSecrets(*secrets); err != nil {
		return nil, fmt.Errorf("-secrets-file: %w", err)
	}
	if c.objectStorageEnv, err = readEnv(*storage); err != nil {
		return nil, fmt.Errorf("-object-storage-env-file: %w", err)
	}
	c.runtimeClasses, c.instanceTypes = splitList(*classes), splitList(*types)
	return c, c.check()
}

func (c *config) check() error {
	if (c.certFile == "") != (c.keyFile == "") {
		return errors.New("-tls-cert and -tls-key need each other")
	}
	c.tls = c.tls || c.certFile != ""
	c.direct = c.direct && isLoopback(c.host) // other machines would be led to themselves
	switch c.isolation {
	case process.Auto, process.Strict, process.Isolated, process.Rootless, process.Plain:
	default:
		return fmt.Errorf("-isolation: unknown level %q", c.isolation)
	}
	if c.network != hostNetwork && c.network != privateNetwork {
		return fmt.Errorf("-network: must be %s or %s, is %q", hostNetwork, privateNetwork, c.network)
	}
	if c.prepareDelay < 0 || c.maxSnapshots < 0 || c.maxSnapshotBytes < 0 || c.maxSnapshotsInFlight < 0 {
		return errors.New("-prepare-delay, -max-snapshots, -max-snapshot-bytes and -max-snapshots-in-flight must not be negative")
	}
	if isLoopback(c.host) || c.tls && len(c.keys) > 0 && c.allowRemote {
		return nil
	}
	return fmt.Errorf("-listen: other machines can reach %q and could run commands here: "+
		"that needs -tls, -keys or -key-file, and -allow-remote", c.host)
}

// isLoopback says whether only this machine reaches the host. Names other than localhost are not looked up.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
