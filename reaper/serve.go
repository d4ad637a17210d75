//go:build unix

package reaper

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"os"
)

// serve is the life of the helper process: it keeps the ledger as long as the program lives, and then settles it. It
// returns the exit status.
func serve(orders io.Reader, confirmations io.Writer) int {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("helper", os.Getpid(), "program", os.Getppid())
	logger.Info("the helper runs")
	l := newLedger()
	if err := l.keep(orders, confirmations); err != nil {
		// The program lives, so that nothing may be stopped. It sees the end of this process.
		logger.Error("the helper cannot go on", "error", err)
		return 1
	}
	logger.Info("the program has ended", "left", len(l.debts))
	l.settle(logger)
	return 0
}

// keep carries out orders until the program has ended. An error means that it may still live.
func (l *ledger) keep(orders io.Reader, confirmations io.Writer) error {
	r := bufio.NewReader(orders)
	for {
		o, err := readOrder(r)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) { // an order that was cut had no effect yet
			return nil
		}
		if err == nil {
			err = l.carryOut(o)
		}
		if err != nil {
			return err
		}
		if r.Buffered() == 0 { // else the next order is here already, and its confirmation covers this one
			_ = writeConfirmation(confirmations, o.Number) // fails when the program has ended, which the orders tell too
		}
	}
}
