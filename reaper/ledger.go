//go:build unix

package reaper

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// A ledger is what the helper process knows: what it has to undo when the program ends, and how.
type ledger struct {
	timeout     time.Duration
	connections map[uint64]*connection
	debts       map[uint64]*debt
}

// debt is a create whose outcome is not known, or a sandbox to stop.
type debt struct {
	connection uint64
	request    []byte // of the create; nil once the id is known
	id         string
	grace      time.Duration
}

func newLedger() *ledger {
	return &ledger{connections: make(map[uint64]*connection), debts: make(map[uint64]*debt)}
}

var errOtherVersion = errors.New("the program's executable has been replaced by another version, which cannot help it")

// carryOut enters an order.
func (l *ledger) carryOut(o *order) error {
	switch o.Do {
	case doHello:
		return l.greet(o.Hello)
	case doConnect:
		l.connections[o.Connection] = o.Details
	case doForget:
		delete(l.connections, o.Connection)
	case doCreate:
		l.debts[o.Item] = &debt{connection: o.Connection, request: o.body}
	case doTrack:
		l.debts[o.Item] = &debt{connection: o.Connection, id: o.ID, grace: o.Grace}
	case doSettle:
		delete(l.debts, o.Item)
	default:
		return fmt.Errorf("there is no order %q", o.Do)
	}
	return nil
}

func (l *ledger) greet(h *hello) error {
	if h == nil || h.Protocol != protocol {
		return errOtherVersion
	}
	l.timeout = h.Timeout
	for _, pair := range h.Environ {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
	}
	return nil
}
