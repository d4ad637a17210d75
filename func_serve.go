package cwsandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// A process that is to serve one call is started with these, both of them: an environment is inherited by programs that
// nobody has asked, and the words alone could be some program's own.
const (
	funcVariable = "CWSANDBOX_SERVE_FUNC" // the name of the function
	funcWord     = "cwsandbox-serve-func" // the first argument; the second is the name
)

// The conversation: the process says the greeting, reads a request and its input, and answers with an answer's head and
// its output. Each of these four is counted: eight bytes of length, the highest first, and JSON. The input of the process
// stays open: its end means that nobody waits any more.
const (
	greeting   = "cwsandbox-func/1\n"
	maxHead    = 1 << 20
	maxPayload = 256 << 20
	abandoned  = 5 * time.Second // what a function gets that nobody waits for any more
)

type request struct {
	Name      string
	Signature string
}

type answerHead struct {
	Failure *funcFailure `json:",omitempty"` // nil: there is an output
}

// ServeFuncs must be the first statement of the main function, or of TestMain, of a program that calls functions in
// sandboxes, unless [Main] is, or Main or Init of package cwsandboxtest: in a process that was started in a sandbox to run
// one it does that and ends the process, and anywhere else it returns at once. What a program does before this, it also does
// in the sandbox.
func ServeFuncs() {
	name, asked := askedFor()
	functions.mu.Lock()
	functions.served = true
	functions.mu.Unlock()
	if !asked {
		return
	}
	os.Unsetenv(funcVariable) // what the function starts serves nothing
	if err := serveFunc(name); err != nil {
		fmt.Fprintln(os.Stderr, "cwsandbox: serve", name+":", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// askedFor returns the function that this process is to serve.
func askedFor() (name string, asked bool) {
	if len(os.Args) != 3 || os.Args[1] != funcWord {
		return "", false
	}
	return os.Args[2], os.Getenv(funcVariable) == os.Args[2]
}

// errNotServing keeps a program that should serve a function from going on with its own work, sandboxes of its own perhaps.
var errNotServing = errors.New("this process was started in a sandbox to run a function: " +
	"the first thing that main does must be cwsandbox.ServeFuncs or cwsandbox.Main")

// serveFunc answers the one request.
func serveFunc(name string) error {
	in, out, err := ownStreams()
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, greeting); err != nil {
		return err
	}
	head, err := readPart(in, maxHead)
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	var req request
	if err := json.Unmarshal(head, &req); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	input, err := readPart(in, maxPayload)
	if err != nil {
		return fmt.Errorf("read the input: %w", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go watch(in, cancel)
	output, failed := runServable(ctx, name, req, input)
	return writeAnswer(out, answerHead{failed}, output)
}

// runServable runs a function, if this is a build of the program that agrees with the caller's on it.
func runServable(ctx context.Context, name string, req request, input []byte) ([]byte, *funcFailure) {
	functions.mu.Lock()
	f := functions.byName[req.Name]
	functions.mu.Unlock()
	switch {
	case f == nil || name != req.Name:
		return nil, &funcFailure{Kind: failedUnknown, Message: "the executable has no function " + req.Name}
	case f.signature() != req.Signature:
		text := fmt.Sprintf("the executable's function is a %s, not a %s", f.signature(), req.Signature)
		return nil, &funcFailure{Kind: failedUnknown, Message: text}
	}
	return f.serve(ctx, input)
}

// watch ends the function, and a while later the process, when the caller has gone.
func watch(in io.Reader, cancel context.CancelCauseFunc) {
	_, _ = io.Copy(io.Discard, in)
	cancel(errors.New("the caller has gone"))
	time.Sleep(abandoned)
	os.Exit(1)
}

func writeAnswer(w io.Writer, head answerHead, output []byte) error {
	encoded, err := json.Marshal(head)
	if err != nil {
		return err
	}
	if err := writePart(w, encoded); err != nil {
		return err
	}
	return writePart(w, output)
}

// writePart writes a counted part.
func writePart(w io.Writer, part []byte) error {
	if _, err := w.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part)))); err != nil {
		return err
	}
	_, err := w.Write(part)
	return err
}

// readPart reads a counted part.
func readPart(r io.Reader, limit uint64) ([]byte, error) {
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint64(length[:])
	if n > limit {
		return nil, fmt.Errorf("a part of %d bytes", n)
	}
	part := make([]byte, n)
	_, err := io.ReadFull(r, part)
	return part, err
}
