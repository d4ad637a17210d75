package process

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/container"
)

// A request goes from the server to a supervisor or an init. It asks for one thing, but
// that Root and Run come together, and everything but a signal is answered.
type request struct {
	ID      uint64 // chosen by the server; names the child that the request starts
	Sandbox *sandboxSetup
	Launch  bool // an init, whose control socket comes along
	Dial    int  // a port of the sandbox's network; the connection comes back
	Root    *rootSetup
	Run     *runCommand
	Signal  *signalChild
	Open    *openFile
	Copy    *copying // stops when the other side of the pipe that comes along is closed
}

// sandboxSetup is the first request to a supervisor.
type sandboxSetup struct {
	Hostname string
	Loopback bool // bring the loopback interface of the sandbox's own network up
	Memory   []memoryMount
}

// memoryMount is a directory of the host that is in memory for those in the sandbox.
type memoryMount struct {
	Dir  string
	Size int64 // bytes
}

// runCommand starts a process. For each of its standard streams but one that is /dev/null or a terminal, the
// descriptor comes along.
type runCommand struct {
	Argv  []string // empty: wait for a signal
	Env   map[string]string
	Dir   string
	Stdin bool
	TTY   *container.Size
}

// signalChild signals the child that request Target started and its process group.
type signalChild struct {
	Target uint64
	Signal int
	// Session extends the signal to whatever is left of the session.
	Session bool
}

type openFile struct {
	Path   string
	Write  bool
	Strict bool
}

// A reply answers a request, or reports the end of a child.
type reply struct {
	ID    uint64
	Ended bool // the child that request ID started has ended with Code
	Code  int
	Size  int64 // of a copy, in bytes

	Start *container.StartError
	File  *container.FileError
	Large *container.SizeError
	Error string
}

// err returns what the reply reports as failed.
func (r *reply) err() error {
	switch {
	case r.Start != nil:
		return r.Start
	case r.File != nil:
		return r.File
	case r.Large != nil:
		return r.Large
	case r.Error != "":
		return errors.New(r.Error)
	}
	return nil
}

// failed makes a reply out of an error.
func failed(err error) reply {
	var r reply
	switch {
	case err == nil:
	case errors.As(err, &r.Start):
	case errors.As(err, &r.File):
	case errors.As(err, &r.Large):
	default:
		r.Error = err.Error()
	}
	return r
}

const (
	headerSize     = 4
	maxDescriptors = 3
	maxMessage     = 64 << 20
)

// A conn carries messages with descriptors. One goroutine at a time may receive; any number may send.
type conn struct {
	socket *net.UnixConn

	mu  sync.Mutex // of sending
	out bytes.Buffer
	enc *gob.Encoder

	in  bytes.Buffer
	dec *gob.Decoder
}

// newConn takes over a socket.
func newConn(fd int) (*conn, error) {
	f := os.NewFile(uintptr(fd), "control")
	defer f.Close()
	generic, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	socket, ok := generic.(*net.UnixConn)
	if !ok {
		generic.Close()
		return nil, fmt.Errorf("control is a %T", generic)
	}
	c := &conn{socket: socket}
	c.enc = gob.NewEncoder(&c.out)
	c.dec = gob.NewDecoder(&c.in)
	return c, nil
}

// socketPair returns the server's side of a new connection, and the descriptor that its peer gets.
func socketPair() (c *conn, peer *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	peer = os.NewFile(uintptr(fds[1]), "control")
	if c, err = newConn(fds[0]); err != nil {
		peer.Close()
		return nil, nil, err
	}
	return c, peer, nil
}

func (c *conn) close() { c.socket.Close() }

// send sends a message with copies of descriptors, which stay the caller's.
func (c *conn) send(message any, fds ...int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Reset()
	if err := c.enc.Encode(message); err != nil {
		return err
	}
	header := binary.BigEndian.AppendUint32(nil, uint32(c.out.Len()))
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := c.socket.WriteMsgUnix(header, rights, nil)
	if err != nil {
		return err
	}
	if _, err := c.socket.Write(header[n:]); err != nil {
		return err
	}
	_, err = c.socket.Write(c.out.Bytes())
	return err
}

// receive waits for a message. The descriptors that come with it belong to the caller.
func (c *conn) receive(message any) (fds []int, err error) {
	header := make([]byte, headerSize)
	rights := make([]byte, unix.CmsgSpace(maxDescriptors*4))
	n, m, _, _, err := c.socket.ReadMsgUnix(header, rights)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	if fds, err = descriptors(rights[:m]); err != nil {
		return nil, err
	}
	if err := c.receiveBody(header, n, message); err != nil {
		closeFDs(fds)
		return nil, err
	}
	return fds, nil
}

func (c *conn) receiveBody(header []byte, have int, message any) error {
	if _, err := io.ReadFull(c.socket, header[have:]); err != nil {
		return err
	}
	size := binary.BigEndian.Uint32(header)
	if size > maxMessage {
		return fmt.Errorf("control message of %d bytes", size)
	}
	c.in.Reset()
	if _, err := io.CopyN(&c.in, c.socket, int64(size)); err != nil {
		return err
	}
	return c.dec.Decode(message)
}

func descriptors(rights []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, err
	}
	var fds []int
	for _, m := range messages {
		some, err := unix.ParseUnixRights(&m)
		if err != nil {
			closeFDs(fds)
			return nil, err
		}
		fds = append(fds, some...)
	}
	return fds, nil
}

func closeFDs(fds []int) {
	for _, fd := range fds {
		unix.Close(fd)
	}
}
