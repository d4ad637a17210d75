//go:build unix

package reaper

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/cwsandbox/cwsandbox-go"
	"github.com/cwsandbox/cwsandbox-go/internal/hook"
)

const (
	// maxGrace is what a main process gets whose program has died.
	maxGrace = 5 * time.Second
	// atOnce is how many debts are settled at a time.
	atOnce = 1000
	// A debt that cannot be settled is tried again after firstPause, and then after pauses that double up to longestPause.
	firstPause   = time.Second
	longestPause = 10 * time.Second
	// looks is how often a create is asked for that the service refuses, before it counts as never made: the program's
	// own request may arrive after ours. With the pauses above that is for 15 seconds.
	looks = 5
)

// settlement is the work after the program's end.
type settlement struct {
	logger  *slog.Logger
	clients map[uint64]*cwsandbox.Client
	slots   chan struct{}
}

// settle undoes everything in the ledger that can be undone before the timeout. Debts are independent of each other.
func (l *ledger) settle(logger *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	s := &settlement{logger: logger, clients: make(map[uint64]*cwsandbox.Client), slots: make(chan struct{}, atOnce)}
	for number, c := range l.connections {
		client, err := c.client(logger)
		if err != nil {
			logger.Error("a client cannot be made", "error", err)
			continue
		}
		s.clients[number] = client
	}
	var work sync.WaitGroup
	for _, d := range l.debts {
		if client := s.clients[d.connection]; client != nil {
			work.Go(func() { s.settle(ctx, client, d) })
		}
	}
	work.Wait()
	for _, client := range s.clients {
		_ = hook.CloseWhole(client) // the process ends here
	}
}

var errUnused = errors.New("nothing was sent on it")

// client makes a client like the program's.
func (c *connection) client(logger *slog.Logger) (*cwsandbox.Client, error) {
	if len(c.Headers) == 0 || c.PrivateRoots && len(c.Roots) == 0 {
		return nil, errUnused
	}
	opts := []cwsandbox.ClientOption{
		hook.PrivateRegistry().(cwsandbox.ClientOption),
		cwsandbox.WithBaseURL(c.BaseURL), hook.Headers(c.Headers).(cwsandbox.ClientOption),
		cwsandbox.WithIntegration(c.Integration), cwsandbox.WithLogger(logger),
	}
	if c.Insecure {
		opts = append(opts, cwsandbox.WithInsecureTransport())
	}
	if c.PrivateRoots {
		roots := x509.NewCertPool()
		for _, der := range c.Roots {
			root, err := x509.ParseCertificate(der)
			if err != nil {
				return nil, err
			}
			roots.AddCert(root)
		}
		opts = append(opts, cwsandbox.WithRootCAs(roots))
	}
	return cwsandbox.NewClient(opts...)
}

// settle tries until a debt is settled or ctx ends.
func (s *settlement) settle(ctx context.Context, client *cwsandbox.Client, d *debt) {
	refusals := 0
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		refused, err := s.try(ctx, client, d)
		if refused {
			refusals++
		}
		if err == nil && (!refused || refusals == looks) {
			return
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			s.logger.Error("a sandbox may be left behind", "sandbox", d.id, "error", err)
			return
		}
	}
}

// try makes one attempt, with the repetitions of the client. Refused says that the service has not made what it was asked
// for.
func (s *settlement) try(ctx context.Context, client *cwsandbox.Client, d *debt) (refused bool, err error) {
	s.slots <- struct{}{}
	defer func() { <-s.slots }()
	if d.id == "" {
		made, err := hook.Undo(ctx, client, d.request)
		s.report("a create was undone", err, "made", made)
		return err == nil && !made, err
	}
	err = hook.Stop(ctx, client, d.id, min(d.grace, maxGrace))
	s.report("a sandbox was stopped", err, "sandbox", d.id)
	return false, err
}

func (s *settlement) report(text string, err error, attrs ...any) {
	if err != nil {
		s.logger.Warn("an attempt has failed", append(attrs, "error", err)...)
		return
	}
	s.logger.Info(text, attrs...)
}
