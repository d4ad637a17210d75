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
	p, err := newProgram(c, listeners, stderr)
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
	authority string // file of the own authority, if there is one
	listeners []net.Listener
	runtime   *process.Runtime
	server    *localserver.Server
}

func newProgram(c *config, listeners []net.Listener, stderr io.Writer) (*program, error) {
	p := &program{config: c, listeners: listeners}
	var err error
	if p.url, err = baseURL(listeners[0], c.host, c.tls); err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: c.logLevel}))
	options := localserver.Options{Logger: logger, Keys: c.keys, StartupSettle: startupSettle}
	if c.tls {
		conf, authority, err := serverTLS(c)
		if err != nil {
			return nil, err
		}
		p.authority = authority
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
	return p, nil
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
	key := developmentKey()
	if len(p.keys) > 0 {
		key = p.keys[0].Token
	}
	fmt.Fprintf(&b, "\nexport CWSANDBOX_BASE_URL=%s\nexport CWSANDBOX_API_KEY=%s\n", quote(p.url), quote(key))
	if p.authority != "" {
		fmt.Fprintf(&b, "\nClients must trust the certificate authority in %s, for example by one of:\n"+
			"export SSL_CERT_FILE=%[2]s\nexport GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=%[2]s\n", p.authority, quote(p.authority))
	}
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
