//go:build unix

package reaper

import (
	"bufio"
	"os"
)

// A helper is a helper process as the program knows it. It is alone at the other ends of the pipes: they are closed only
// when it is dead, because it takes the end of its orders for the end of the program.
type helper struct {
	process       *os.Process
	orders        *os.File
	confirmations *os.File
	wake          chan struct{} // something is queued; closed at the end

	// Guarded by the guard's mutex: the orders not yet taken by the writer, and the numbers of the last ones. Relied is that
	// of the last one without which the helper could not undo everything.
	queue                              []*order
	queued, written, confirmed, relied uint64
}

func newHelper(process *os.Process, orders, confirmations *os.File) *helper {
	return &helper{process: process, orders: orders, confirmations: confirmations, wake: make(chan struct{}, 1)}
}

// add queues an order. The guard's mutex is held.
func (h *helper) add(o *order) {
	h.queued++
	o.Number = h.queued
	h.queue = append(h.queue, o)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// writeAll writes orders.
func (h *helper) writeAll(orders []*order) error {
	w := bufio.NewWriter(h.orders)
	for _, o := range orders {
		if err := o.write(w); err != nil {
			return err
		}
	}
	return w.Flush()
}

// kill ends the process and waits until it has gone; what is written to its pipe meanwhile fails.
func (h *helper) kill() {
	h.process.Kill()
	h.process.Wait() // an error says that somebody else has waited for it
	h.orders.Close()
	h.confirmations.Close()
}
