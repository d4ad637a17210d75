package cwsandbox

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
	"unicode"

	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// The sentinels that the errors of this package match by [errors.Is]. An error may match several.
var (
	// ErrInvalidArgument: the request is wrong, as found here or by the service; see the error's Violations.
	ErrInvalidArgument = errors.New("invalid argument")
	// ErrUnauthenticated: there is no valid credential, or it could not be obtained.
	ErrUnauthenticated = errors.New("not authenticated")
	// ErrPermissionDenied: the credential does not allow this.
	ErrPermissionDenied = errors.New("permission denied")
	// ErrNotFound: there is no such sandbox, or whatever the error's Resource names. Never a file.
	ErrNotFound = errors.New("not found")
	// ErrNotRunning: the sandbox exists but is not in a state for this.
	ErrNotRunning = errors.New("sandbox is not running")
	// ErrFailed: the sandbox ended because it could not run, or ran out of time.
	ErrFailed = errors.New("sandbox failed")
	// ErrTerminated: the sandbox was stopped.
	ErrTerminated = errors.New("sandbox was stopped")
	// ErrTimeout: a limit ended the operation: the SDK's, the caller's, or the service's.
	ErrTimeout = errors.New("timeout")
	// ErrCommandTimeout: the command's own limit ended it. Also ErrTimeout.
	ErrCommandTimeout = implying("command timeout", ErrTimeout)
	// ErrUnavailable: the service, a runner or the connection is away, in passing; see the error's RetryAfter.
	ErrUnavailable = errors.New("unavailable")
	// ErrResourceExhausted: a quota, a rate or a capacity is used up.
	ErrResourceExhausted = errors.New("resource exhausted")
	// ErrPlacement: no runner can take this sandbox now.
	ErrPlacement = errors.New("no placement")
	// ErrPrecondition: the request is right, but something else is in the wrong state for it.
	ErrPrecondition = errors.New("failed precondition")
	// ErrConflict: it collides with something that exists, is in use, or was changed meanwhile.
	ErrConflict = errors.New("conflict")
	// ErrNotImplemented: the service does not offer this, or not to this organization.
	ErrNotImplemented = errors.New("not implemented")
	// ErrUndecided: it may or may not have happened, and that could not be found out.
	ErrUndecided = errors.New("outcome unknown")
	// ErrClosed: the client, session, process or stream was closed in this program.
	ErrClosed = errors.New("closed")
	// ErrFile: a file operation failed; the error's Path says on what.
	ErrFile = errors.New("file operation failed")
	// ErrFileNotFound: there is no such path. Also ErrFile and fs.ErrNotExist.
	ErrFileNotFound = implying("file not found", ErrFile, fs.ErrNotExist)
	// ErrFilePermission: the container's user may not do this. Also ErrFile and fs.ErrPermission.
	ErrFilePermission = implying("file permission denied", ErrFile, fs.ErrPermission)
	// ErrIsDirectory: the path is a directory. Also ErrFile.
	ErrIsDirectory = implying("is a directory", ErrFile)
	// ErrFileTooLarge: the file is above what one call can carry. Also ErrFile.
	ErrFileTooLarge = implying("file too large", ErrFile)
	// ErrSnapshotFailed: an archive, or a restore from one, ended in failure.
	ErrSnapshotFailed = errors.New("snapshot failed")
	// ErrSnapshotConflict: this stop can no longer take the snapshot. Also ErrConflict.
	ErrSnapshotConflict = implying("snapshot no longer possible", ErrConflict)
	// ErrStream: a stream ended by an error in it, or without its last frame.
	ErrStream = errors.New("stream failed")
	// ErrBackpressure: the reader was too slow, and output was lost. Also ErrStream.
	ErrBackpressure = implying("reader too slow", ErrStream)
	// ErrLeaseLost: the heartbeats of a sandbox with a lease did not arrive in time, so that it has ended, or is about to.
	ErrLeaseLost = errors.New("lease lost")
	// ErrTruncated: output, or the content of a file, was lost or cut.
	ErrTruncated = errors.New("truncated")
)

// special is a sentinel that is also others: whoever matches it matches them.
type special struct {
	text   string
	others []error
}

func implying(text string, others ...error) error { return &special{text, others} }

func (s *special) Error() string   { return s.text }
func (s *special) Unwrap() []error { return s.others }

// Error is the error of every operation of this package. Programs decide by the sentinels that it matches; the fields are
// for people and logs, and may be empty.
type Error struct {
	Op         string // what was being done: "create", "exec", "read file"
	SandboxID  string
	Resource   string // what ErrNotFound is about: "sandbox", "snapshot", "volume", "runner"
	Reason     Reason // the service's name for it; decides only under the service's domain, see HasReason
	Domain     string // who gave the reason
	Metadata   map[string]string
	RetryAfter time.Duration // the service's wish; zero: none
	Violations []Violation   // what is wrong with the request
	StreamCode string        // of an error inside a stream
	Path       string        // of a file, as given
	RequestID  string        // of a create

	text   string
	is     []error        // sentinels, contexts' errors, causes
	status *status.Status // nil when the service was not asked
}

// Violation is one fault of a request. Field is a path in the service's style, such as spec.containers[0].image.
type Violation struct{ Field, Description string }

// Error returns one line, without credentials.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("cwsandbox: " + e.Op)
	if e.SandboxID != "" {
		b.WriteString(" " + e.SandboxID)
	}
	if e.Path != "" {
		fmt.Fprintf(&b, " %q", e.Path)
	}
	b.WriteString(": " + e.text)
	for i, v := range e.Violations {
		separator := "; "
		if i == 0 && e.text == "" {
			separator = ""
		}
		b.WriteString(separator + v.Field + ": " + v.Description)
	}
	if e.Reason != "" {
		b.WriteString(" (" + string(e.Reason) + ")")
	}
	if e.RequestID != "" && errors.Is(e, ErrUndecided) {
		b.WriteString(", request id " + e.RequestID)
	}
	return oneLine(b.String())
}

// oneLine puts a blank for line breaks and other control characters: the text is partly the service's.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool {
		return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp)
	}), " ")
}

// Unwrap returns what e matches: sentinels, errors of contexts, and causes.
func (e *Error) Unwrap() []error { return e.is }

// GRPCStatus returns the service's status, for [google.golang.org/grpc/status.FromError]; nil when the service was not
// asked.
func (e *Error) GRPCStatus() *status.Status { return e.status }

// with returns a copy of e that matches more.
func (e *Error) with(sentinels ...error) *Error {
	c := *e
	c.is = slices.Concat(e.is, sentinels)
	return &c
}

// HasReason reports whether err, or an error that it wraps or joins, has reason r from the service itself. A reason that
// somebody else attached does not count.
func HasReason(err error, r Reason) bool {
	switch err := err.(type) {
	case nil:
		return false
	case *Error:
		if err.Reason == r && err.Domain == rpcerr.Domain {
			return true
		}
		return slices.ContainsFunc(err.is, func(e error) bool { return HasReason(e, r) })
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), func(e error) bool { return HasReason(e, r) })
	}
	return HasReason(errors.Unwrap(err), r)
}

// ExitError says that a command, or the main process of a sandbox, exited with a code other than 0.
type ExitError struct {
	SandboxID string
	Code      int
	Result    *Result // nil: it was the main process
}

// Error names the sandbox and the code.
func (e *ExitError) Error() string {
	what := "main process"
	if e.Result != nil {
		what = "exec"
	}
	return fmt.Sprintf("cwsandbox: %s %s: exit status %d", what, e.SandboxID, e.Code)
}

// ExitCode returns Code, as the method of os/exec's type of this name does.
func (e *ExitError) ExitCode() int { return e.Code }

// call names an operation for the errors that it may end with.
type call struct {
	op        string // "create", "exec", "read file", …
	sandbox   string // id, when known
	resource  string // what a NOT_FOUND is about; empty: "sandbox"
	path      string // of a file operation, as the caller gave it
	requestID string
}

// refuse makes an *Error for something that was decided here, without the service.
func (c call) refuse(text string, sentinels ...error) error {
	return c.make(text, sentinels...)
}

func (c call) make(text string, sentinels ...error) *Error {
	e := &Error{
		Op: c.op, SandboxID: c.sandbox, Path: c.path, RequestID: c.requestID,
		text: text, is: slices.Clone(sentinels),
	}
	if slices.Contains(sentinels, ErrNotFound) {
		e.Resource = cmp.Or(c.resource, "sandbox")
	}
	return e
}
