package cwsandbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// reasonSentinels says what a reason of the service means, whatever the code beside it. A reason that is not here leaves
// that to the code.
var reasonSentinels = map[Reason][]error{
	ReasonSandboxNotFound: {ErrNotFound},
	ReasonRunnerNotFound:  {ErrNotFound},
	ReasonFSSNotFound:     {ErrNotFound},
	ReasonVolumeNotFound:  {ErrNotFound},
	ReasonLogsDeleted:     {ErrNotFound},

	ReasonSandboxNotRunning:  {ErrNotRunning},
	ReasonSandboxNotTerminal: {ErrPrecondition},
	ReasonLogsNotEnabled:     {ErrPrecondition},

	ReasonInvalidRequest:          {ErrInvalidArgument},
	ReasonResourceCeilingExceeded: {ErrInvalidArgument},
	ReasonFSSSizeExceeded:         {ErrInvalidArgument},

	ReasonNotImplemented:              {ErrNotImplemented},
	ReasonFSSNotSupported:             {ErrNotImplemented},
	ReasonVolumeTypeNotSupported:      {ErrNotImplemented},
	ReasonHTTPSShareTokenNotSupported: {ErrNotImplemented},

	ReasonCommandTimeout: {ErrCommandTimeout},
	ReasonFSSWaitTimeout: {ErrTimeout},

	ReasonRunnerUnavailable:       {ErrUnavailable},
	ReasonBackendUnavailable:      {ErrUnavailable},
	ReasonSandboxRouteUnavailable: {ErrUnavailable},
	ReasonRunnerShardRetiring:     {ErrUnavailable},
	ReasonVolumeRunnerUnavailable: {ErrUnavailable},
	ReasonFSSBackendThrottled:     {ErrUnavailable},
	ReasonFSSInflightLimit:        {ErrUnavailable},
	ReasonFSSBucketProvisioning:   {ErrUnavailable},

	ReasonRunnerCapacityExhausted: {ErrPlacement},
	ReasonRunnerOverloaded:        {ErrPlacement},
	ReasonNoSuitableRunner:        {ErrPlacement},
	ReasonPlacementRejected:       {ErrPlacement},
	ReasonPlacementUnsatisfied:    {ErrPlacement},

	ReasonServerlessNotAllowed:      {ErrPrecondition},
	ReasonServerlessDisabled:        {ErrPrecondition},
	ReasonServerlessMisconfigured:   {ErrPrecondition},
	ReasonGPUNotAllowed:             {ErrPrecondition},
	ReasonSecretStoreNotProvisioned: {ErrPrecondition},
	ReasonFSSNotReady:               {ErrPrecondition},
	ReasonFSSBucketMismatch:         {ErrPrecondition},
	ReasonVolumeNotReady:            {ErrPrecondition},
	ReasonVolumeRunnerIneligible:    {ErrPrecondition},
	ReasonVolumeNotSnapshottable:    {ErrPrecondition},
	ReasonVolumeBackendNotFound:     {ErrPrecondition},
	ReasonVolumePlacementConflict:   {ErrPrecondition},

	ReasonFSSQuotaExceeded:    {ErrResourceExhausted},
	ReasonVolumeQuotaExceeded: {ErrResourceExhausted},
	ReasonVolumeInUse:         {ErrConflict},
	ReasonETagMismatch:        {ErrConflict},

	ReasonFileNotFound:         {ErrFileNotFound},
	ReasonFileIsDirectory:      {ErrIsDirectory},
	ReasonFilePermissionDenied: {ErrFilePermission},
	ReasonFileIOFailed:         {ErrFile},
	ReasonFileTooLarge:         {ErrFileTooLarge},
	ReasonFileTruncated:        {ErrTruncated, ErrFile},

	ReasonFSSBucketUnavailable: {ErrSnapshotFailed},
	ReasonFSSRestoreFailed:     {ErrSnapshotFailed},
	ReasonFSSCreateFailed:      {ErrSnapshotFailed},
	ReasonFSSCreateTimedOut:    {ErrSnapshotFailed},
	ReasonFSSAuthFailed:        {ErrSnapshotFailed},
	ReasonFSSTransportFailed:   {ErrSnapshotFailed},
	ReasonFSSCanceled:          {ErrSnapshotFailed},
}

// codeSentinels says what a status means when no reason decides. UNKNOWN, INTERNAL and DATA_LOSS mean nothing that a
// program could act on.
var codeSentinels = map[codes.Code][]error{
	codes.Canceled:           {ErrUnavailable}, // not by the caller: that is seen before
	codes.InvalidArgument:    {ErrInvalidArgument},
	codes.OutOfRange:         {ErrInvalidArgument},
	codes.DeadlineExceeded:   {ErrTimeout},
	codes.NotFound:           {ErrNotFound},
	codes.AlreadyExists:      {ErrConflict},
	codes.Aborted:            {ErrConflict},
	codes.PermissionDenied:   {ErrPermissionDenied},
	codes.Unauthenticated:    {ErrUnauthenticated},
	codes.ResourceExhausted:  {ErrResourceExhausted},
	codes.FailedPrecondition: {ErrPrecondition},
	codes.Unimplemented:      {ErrNotImplemented},
	codes.Unavailable:        {ErrUnavailable},
}

// resources names what a not-found reason is about.
var resources = map[Reason]string{
	ReasonSandboxNotFound: "sandbox",
	ReasonRunnerNotFound:  "runner",
	ReasonFSSNotFound:     "snapshot",
	ReasonVolumeNotFound:  "volume",
	ReasonLogsDeleted:     "logs",
}

// streamSentinels says what the code of an error inside a stream means, beside ErrStream.
var streamSentinels = map[string][]error{
	"STREAM_BACKPRESSURE": {ErrBackpressure},
	"STREAM_TRUNCATED":    {ErrTruncated},
	"SANDBOX_NOT_FOUND":   {ErrNotFound},
	"PERMISSION_DENIED":   {ErrPermissionDenied},
	"RUNNER_UNAVAILABLE":  {ErrUnavailable},
	"RUNNER_DRAINING":     {ErrUnavailable},
	"STREAM_INTERRUPTED":  {ErrUnavailable},
}

// wrap translates a failure of the transport, the error of a context or any other cause into an *Error. Nil stays nil,
// and what is an *Error already stays as it is. It looks at err itself and not at what err wraps: the reader of a
// command's input, for one, may fail with the error of another sandbox.
func (c call) wrap(err error) error {
	switch err := err.(type) {
	case nil:
		return nil
	case *Error:
		return err
	case *rpcerr.Error:
		return c.translate(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return c.make(err.Error(), err, ErrTimeout)
	}
	return c.make(err.Error(), err)
}

// translate is the one place where the failure of a call gets its meaning.
func (c call) translate(rpc *rpcerr.Error) *Error {
	e := c.make(describe(rpc), append(c.sentinels(rpc), c.causes(rpc)...)...)
	e.status = rpc.Status
	e.Reason, e.Domain, e.Metadata = Reason(rpc.Reason), rpc.Domain, maps.Clone(rpc.Metadata)
	if rpc.RetryDelay > 0 {
		e.RetryAfter = rpc.RetryDelay
	}
	for _, v := range rpc.Violations {
		e.Violations = append(e.Violations, Violation(v))
	}
	if rpc.Trusted() {
		e.Resource = cmp.Or(resources[e.Reason], e.Resource)
		e.SandboxID = cmp.Or(c.sandbox, rpc.Metadata["sandbox_id"])
		e.Path = cmp.Or(c.path, rpc.Metadata["filepath"])
	}
	return e
}

// causes are rpc, with what it holds, and the translated failure that was about to be repeated when it ended.
func (c call) causes(rpc *rpcerr.Error) []error {
	var last *rpcerr.Error
	if errors.As(rpc.Last, &last) {
		return []error{rpc, c.translate(last)}
	}
	return []error{rpc}
}

// sentinels decides in the order of what is known for sure: the end of the caller's context, a cause in this program, the
// service's own reason, the code.
func (c call) sentinels(rpc *rpcerr.Error) []error {
	switch {
	case errors.Is(rpc.Context, context.DeadlineExceeded):
		return []error{ErrTimeout}
	case rpc.Context != nil:
		return nil
	case errors.Is(rpc.Err, rpcerr.ErrClosed):
		return []error{ErrClosed}
	case errors.Is(rpc.Err, rpcerr.ErrCredentials):
		return []error{ErrUnauthenticated}
	case rpcerr.IsMessageSize(rpc) && c.path != "":
		return []error{ErrFileTooLarge}
	case rpcerr.IsMessageSize(rpc):
		return []error{ErrInvalidArgument}
	}
	code, reason := rpc.Status.Code(), Reason(rpc.Reason)
	is, known := reasonSentinels[reason]
	if !known || !rpc.Trusted() {
		return slices.Clone(codeSentinels[code])
	}
	is = slices.Clone(is)
	switch {
	case reason == ReasonRunnerUnavailable && c.creates():
		is = append(is, ErrPlacement)
	case slices.Contains(is, ErrPlacement) && code == codes.ResourceExhausted:
		is = append(is, ErrResourceExhausted)
	}
	return is
}

// answeredNotFound reports whether the service itself says that it does not know what was asked for. The cause of an
// ended context may match ErrNotFound too, and says nothing.
func answeredNotFound(err error) bool {
	var rpc *rpcerr.Error
	return errors.Is(err, ErrNotFound) && errors.As(err, &rpc) && rpc.Context == nil && rpc.Err == nil
}

// creates reports whether the operation makes a sandbox.
func (c call) creates() bool { return c.op == "create" || c.op == "run" }

// describe says in a line what happened; reason and violations come after it.
func describe(rpc *rpcerr.Error) string {
	var text string
	switch {
	case rpc.Context != nil:
		text = rpc.Context.Error()
	case errors.Is(rpc.Err, rpcerr.ErrClosed):
		text = "the client is closed"
	case rpc.Err != nil:
		text = rpc.Err.Error()
	default:
		text = rpc.Status.Message()
		if text == "" {
			text = rpc.Status.Code().String()
		}
		if rpc.Status.Code() == codes.Unimplemented && rpc.Reason == "" {
			text += "; is the base URL right?"
		}
	}
	if rpc.Attempts > 1 {
		text += fmt.Sprintf(", after %d attempts", rpc.Attempts)
	}
	var last *rpcerr.Error
	if errors.As(rpc.Last, &last) {
		text += "; the last failure: " + describe(last)
	}
	return text
}

// inBand makes an *Error of an error frame of a stream.
func (c call) inBand(code, message string) error {
	if message == "" {
		message = "the service ended the stream"
	}
	e := c.make(message+" ("+code+")", append(slices.Clone(streamSentinels[code]), ErrStream)...)
	if code == "" {
		e.text = message
	}
	e.StreamCode = code
	return e
}
