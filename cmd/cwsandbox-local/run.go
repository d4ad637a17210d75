package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver"
	"github.com/cwsandbox/cwsandbox-go/internal/localserver/process"
)

// startupSettle is how long a main process must live before its sandbox counts as running: a client that then reads
// its log finds what a command prints first, as it would on the service.
const startupSettle = 200 * time.Millisecond

// run serves until the context ends, and then stops every sandbox.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	c, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := removeFile(c.readyFile); err != nil {
		return err
	}
	listeners, err := listen(ctx, c.host, c.port)
	if err != nil {
		return err
	}
	p, err := newProgram(ctx, c, listeners, stderr)
	if err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	defer func() { err = errors.Join(err, p.close()) }()
	return p.serve(ctx, stdout)
}

// program is a server and what belongs to it.
type program struct {
	*config
	url       string
	authority string // file of the certificates that clients have to trust
	listeners []net.Listener
	runtime   *process.Runtime
	server    *localserver.Server
}

func newProgram(ctx context.Context, c *config, listeners []net.Listener, stderr io.Writer) (*program, error) {
	p := &program{config: c, listeners: listeners}
	var err error
	if p.url, err = baseURL(listeners[0], c.host, c.tls); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	options := c.options()
	options.Logger = logger
	var authorities []byte
	if c.tls {
		conf, authority, err := serverTLS(c)
		if err != nil {
			return nil, err
		}
		authorities = authority
		options.ServerOptions = append(options.ServerOptions, grpc.Creds(credentials.NewTLS(conf)))
	}
	p.runtime, err = process.New(process.Options{Isolation: c.isolation, DataDir: c.dataDir, Logger: logger})
	if err != nil {
		return nil, err
	}
	options.Runtime = p.runtime
	if p.server, err = localserver.New(options); err != nil {
		return nil, errors.Join(err, p.runtime.Close())
	}
	if err := p.writeAuthorities(authorities); err != nil {
		return nil, errors.Join(err, p.server.Close())
	}
	if c.direct {
		if err := p.serveDirect(ctx); err != nil {
			return nil, errors.Join(err, p.server.Close())
		}
	}
	return p, nil
}

// options are what the command line says about the server itself.
func (c *config) options() localserver.Options {
	return localserver.Options{
		Keys:                 c.keys,
		OnlyListed:           c.allowRemote, // a W&B key that anybody may make up would let other machines in
		Claims:               c.claims,
		StartupSettle:        startupSettle,
		PrivateNetwork:       c.network == privateNetwork,
		UnenforcedEgress:     c.unenforced,
		NoServerless:         !c.serverless,
		NoShareTokens:        !c.shareTokens,
		PlainEdge:            c.plainEdge,
		PrepareDelay:         c.prepareDelay,
		MaxSnapshots:         c.maxSnapshots,
		MaxSnapshotBytes:     c.maxSnapshotBytes,
		MaxSnapshotsInFlight: c.maxSnapshotsInFlight,
		Secrets:              c.secrets,
		ObjectStorageEnv:     c.objectStorageEnv,
		RuntimeClasses:       c.runtimeClasses,
		InstanceTypes:        c.instanceTypes,
	}
}

// writeAuthorities tells clients whom to trust: the given authorities, and that of the HTTPS endpoints of sandboxes.
func (p *program) writeAuthorities(own []byte) error {
	edge, err := p.server.EdgeCA()
	if err != nil {
		return err
	}
	p.authority, err = writeAuthorities(p.dataDir, append(own, edge...))
	return err
}

// serveDirect serves direct connections on a free port, whose address clients learn from the server.
func (p *program) serveDirect(ctx context.Context) error {
	listeners, err := listen(ctx, "localhost", "0")
	if err != nil {
		return err
	}
	if err := p.server.ServeDirect(listeners...); err != nil {
		return errors.Join(err, closeAll(listeners))
	}
	return nil
}

// serve answers until the context ends or a listener fails.
func (p *program) serve(ctx context.Context, stdout io.Writer) error {
	failed := make(chan error, len(p.listeners))
	for _, lis := range p.listeners {
		go func() { failed <- p.server.Serve(lis) }() // ends with the server
	}
	if _, err := io.WriteString(stdout, p.greeting()); err != nil {
		return err
	}
	if p.readyFile != "" {
		if err := replaceFile(p.readyFile, []byte(p.url+"\n")); err != nil {
			return err
		}
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

func (p *program) close() error {
	return errors.Join(removeFile(p.readyFile), p.server.Close())
}

// greeting is what the program says at its start.
func (p *program) greeting() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Serving the sandbox API at %s\n", p.url)
	fmt.Fprintf(&b, "Isolation: %s\n", p.runtime.Isolation())
	for _, w := range p.warnings() {
		fmt.Fprintf(&b, "Warning: %s\n", w)
	}
	who := "Clients of HTTPS endpoints of sandboxes must"
	if p.tls && p.certFile == "" {
		who = "Clients must"
	}
	fmt.Fprintf(&b, "\n%s trust the certificates in %s, for example by one of:\nexport SSL_CERT_FILE=%[3]s\n"+
		"export NODE_EXTRA_CA_CERTS=%[3]s\nexport GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=%[3]s\n", who, p.authority, quote(p.authority))
	key := developmentKey()
	if len(p.keys) > 0 {
		key = p.keys[0].Token
	}
	fmt.Fprintf(&b, "\nexport CWSANDBOX_BASE_URL=%s\nexport CWSANDBOX_API_KEY=%s\n", quote(p.url), quote(key))
	return b.String()
}

func (p *program) warnings() []string {
	warnings := slices.Clone(p.runtime.Warnings())
	if len(p.keys) == 0 {
		warnings = append(warnings, "every key is accepted, so that every user of this machine can run commands as you; "+
			"-key-file names the keys that are")
	}
	return warnings
}

// quote makes a text one word for a shell.
func quote(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/[]", r)
	}
	if strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

func closeAll(listeners []net.Listener) error {
	var errs []error
	for _, lis := range listeners {
		errs = append(errs, lis.Close())
	}
	return errors.Join(errs...)
}
