//go:build unix

package reaper

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// protocol is the version of the orders. Where an executable can be replaced while it runs, the helper may be another
// version of the program.
const protocol = 1

// What an order asks for.
const (
	doHello   = "hello"   // the first one
	doConnect = "connect" // make a connection known, or describe it anew
	doForget  = "forget"  // a connection that nothing needs any more
	doCreate  = "create"  // a create is about to be sent; its request is the order's body
	doTrack   = "track"   // a sandbox with an id
	doSettle  = "settle"  // an item that needs nothing any more
)

// An order is what the program tells the helper. It is sent as the lengths of head and body, four bytes each, the head in
// JSON, and the body as it is.
type order struct {
	Number uint64 // counts the orders of a helper from 1; confirmations name it
	Do     string

	Hello      *hello      `json:",omitempty"`
	Connection uint64      `json:",omitempty"` // which one
	Details    *connection `json:",omitempty"` // of doConnect
	Item       uint64      `json:",omitempty"` // which one
	ID         string      `json:",omitempty"` // of doTrack
	Grace      time.Duration

	body []byte
}

// hello is what the helper has to know first.
type hello struct {
	Protocol int
	Timeout  time.Duration
	Environ  []string
}

// connection is what a client is made from.
type connection struct {
	BaseURL      string
	Insecure     bool
	Integration  string
	PrivateRoots bool
	Headers      map[string]string // the newest ones that authenticate; none as long as nothing was sent
	Roots        [][]byte          // those that have vouched for the service so far
}

// maxHead is far above the size of any head: a greater length is a mistake.
const maxHead = 16 << 20

func (o *order) write(w io.Writer) error {
	head, err := json.Marshal(o)
	if err != nil {
		return err
	}
	frame := binary.BigEndian.AppendUint32(make([]byte, 0, 8+len(head)), uint32(len(head)))
	frame = binary.BigEndian.AppendUint32(frame, uint32(len(o.body)))
	if _, err := w.Write(append(frame, head...)); err != nil {
		return err
	}
	_, err = w.Write(o.body)
	return err
}

// readOrder returns io.EOF or io.ErrUnexpectedEOF when there is no whole order left.
func readOrder(r io.Reader) (*order, error) {
	var lengths [8]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(lengths[:4])
	if n > maxHead {
		return nil, fmt.Errorf("an order has a head of %d bytes", n)
	}
	head := make([]byte, n)
	if err := readWhole(r, head); err != nil {
		return nil, err
	}
	o := new(order)
	if err := json.Unmarshal(head, o); err != nil {
		return nil, fmt.Errorf("an order cannot be read: %w", err)
	}
	o.body = make([]byte, binary.BigEndian.Uint32(lengths[4:]))
	return o, readWhole(r, o.body)
}

// readWhole fills b, of whose order something has been read already.
func readWhole(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// A confirmation is the number of the last order that was carried out.
func writeConfirmation(w io.Writer, number uint64) error {
	_, err := w.Write(binary.BigEndian.AppendUint64(nil, number))
	return err
}

func readConfirmation(r io.Reader) (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(r, b[:])
	return binary.BigEndian.Uint64(b[:]), err
}
