//go:build linux

// Package program is what the tests of package endings end: a program in any of its settings, with or without the SDK.
package program

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cwsandbox/cwsandbox-go/internal/endings"
)

// Lost is with what the program exits when something goes wrong that no test is about.
const Lost = 99

// handled are the signals that a program with a handler handles.
var handled = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP}

// Library is the SDK, or what a program has in its place.
type Library interface {
	// Work brings the program into the phase of a cell, calls ready, and goes on. The channel is closed when that is over.
	Work(ctx context.Context, c endings.Cell, ready func()) <-chan struct{}
	Main(fn func(context.Context) error)
	Exit(code int)
	DisableSignalHandling()
	Cleanup()
}

type program struct {
	endings.Role
	library Library
	order   chan struct{} // closed when the program is to end
	answers *os.File
}

// Run is all that main does.
func Run(l Library) {
	p := &program{library: l, order: make(chan struct{}), answers: os.NewFile(endings.AnswerFD, "answers")}
	Must(json.Unmarshal([]byte(os.Getenv(endings.RoleVariable)), &p.Role))
	fmt.Println("a line for head")
	go p.listen()
	if p.Noisy {
		go p.complain()
	}
	if status := p.run(); status != 0 {
		os.Exit(status)
	}
}

// Must ends the program if there is an error.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(Lost)
	}
}

// ready says that the phase is reached, or will be without anything that the program has to do.
func (p *program) ready() { fmt.Fprintln(p.answers, os.Getpid()) }

// listen waits for the order to end. It ends with it: Go notices a deadlock only where nobody else is left.
func (p *program) listen() {
	if _, err := bufio.NewReader(os.NewFile(endings.OrderFD, "orders")).ReadString('\n'); err != nil {
		os.Exit(Lost)
	}
	close(p.order)
}

func (p *program) complain() {
	for {
		fmt.Fprintln(os.Stderr, "a complaint")
	}
}

// run is the main function of the setting. It returns the exit status.
func (p *program) run() int {
	background := context.Background()
	work := func(ctx context.Context) <-chan struct{} { return p.library.Work(ctx, p.Cell, p.ready) }
	switch p.Setting {
	case endings.OwnNotify:
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, handled...)
		worked := work(background)
		select {
		case <-signals:
			<-worked
			return endings.OwnStatus
		case <-p.order:
			return p.end()
		}
	case endings.ContextDeferred, endings.ContextAtOnce:
		ctx, stop := signal.NotifyContext(background, handled...)
		defer stop()
		worked := work(background)
		select {
		case <-ctx.Done():
			if p.Setting == endings.ContextAtOnce {
				stop()
			}
			<-worked
			return endings.OwnStatus
		case <-p.order:
			return p.end()
		}
	case endings.InMain:
		status := 0
		p.library.Main(func(ctx context.Context) error {
			worked := work(ctx)
			select {
			case <-ctx.Done():
				<-worked
				return context.Cause(ctx)
			case <-p.order:
				status = p.end()
				return nil
			}
		})
		return status
	case endings.OwnCleanup:
		p.library.DisableSignalHandling()
		ctx, stop := signal.NotifyContext(background, handled...)
		defer stop()
		defer p.library.Cleanup()
		work(ctx)
		select {
		case <-ctx.Done():
			return endings.OwnStatus
		case <-p.order:
			return p.end()
		}
	}
	work(background)
	<-p.order
	return p.end()
}
