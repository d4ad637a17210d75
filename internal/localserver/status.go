package localserver

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const (
	errorDomain = "cwsandbox.com"
	// maxText bounds every text of an error, and maxViolations the field violations together: several clients accept
	// no more than 8 KiB of trailers, where the text occurs twice, once of it with three bytes for each that is not
	// ASCII.
	maxText       = 1024
	maxViolations = 1024
)

// The reasons that this server gives.
const (
	reasonInvalidRequest        = "CWSANDBOX_INVALID_REQUEST"
	reasonNotImplemented        = "CWSANDBOX_NOT_IMPLEMENTED"
	reasonSandboxNotFound       = "CWSANDBOX_SANDBOX_NOT_FOUND"
	reasonSandboxNotRunning     = "CWSANDBOX_SANDBOX_NOT_RUNNING"
	reasonNoSuitableRunner      = "CWSANDBOX_NO_SUITABLE_RUNNER"
	reasonRunnerNotFound        = "CWSANDBOX_RUNNER_NOT_FOUND"
	reasonServerlessNotAllowed  = "CWSANDBOX_SERVERLESS_NOT_ALLOWED"
	reasonRunnerUnavailable     = "CWSANDBOX_RUNNER_UNAVAILABLE"
	reasonResourceCeiling       = "CWSANDBOX_RESOURCE_CEILING_EXCEEDED"
	reasonNoShareTokens         = "CWSANDBOX_HTTPS_SHARE_TOKEN_NOT_SUPPORTED"
	reasonGPUNotAllowed         = "CWSANDBOX_GPU_NOT_ALLOWED"
	reasonSecretStore           = "CWSANDBOX_SECRET_STORE_NOT_PROVISIONED"
	reasonCommandTimeout        = "CWSANDBOX_COMMAND_TIMEOUT"
	reasonFileNotFound          = "CWSANDBOX_FILE_NOT_FOUND"
	reasonFileIsDirectory       = "CWSANDBOX_FILE_IS_DIRECTORY"
	reasonFilePermission        = "CWSANDBOX_FILE_PERMISSION_DENIED"
	reasonFileIO                = "CWSANDBOX_FILE_IO_FAILED"
	reasonFileTooLarge          = "CWSANDBOX_FILE_TOO_LARGE"
	reasonVolumeNotFound        = "CWSANDBOX_VOLUME_NOT_FOUND"
	reasonVolumeNotReady        = "CWSANDBOX_VOLUME_NOT_READY"
	reasonVolumeInUse           = "CWSANDBOX_VOLUME_IN_USE"
	reasonVolumeQuota           = "CWSANDBOX_VOLUME_QUOTA_EXCEEDED"
	reasonVolumeBackendNotFound = "CWSANDBOX_VOLUME_BACKEND_NOT_FOUND"
	reasonETagMismatch          = "CWSANDBOX_ETAG_MISMATCH"
	reasonFSSNotFound           = "CWSANDBOX_FSS_NOT_FOUND"
	reasonFSSNotReady           = "CWSANDBOX_FSS_NOT_READY"
	reasonFSSNotSupported       = "CWSANDBOX_FSS_NOT_SUPPORTED"
	reasonFSSSizeExceeded       = "CWSANDBOX_FSS_SIZE_EXCEEDED"
	reasonFSSQuotaExceeded      = "CWSANDBOX_FSS_QUOTA_EXCEEDED"
	reasonFSSBucketMismatch     = "CWSANDBOX_FSS_BUCKET_MISMATCH"
	reasonFSSInflightLimit      = "CWSANDBOX_FSS_INFLIGHT_LIMIT"
	reasonFSSRestoreFailed      = "CWSANDBOX_FSS_RESTORE_FAILED"
	reasonFSSCreateFailed       = "CWSANDBOX_FSS_CREATE_FAILED"
	reasonFSSCreateTimedOut     = "CWSANDBOX_FSS_CREATE_TIMED_OUT"
	reasonFSSCanceled           = "CWSANDBOX_FSS_CANCELED"
	reasonNotSnapshottable      = "CWSANDBOX_VOLUME_NOT_SNAPSHOTTABLE"
)

// A refusal is an error of this API: a gRPC status with a reason and whatever detail belongs to it.
type refusal struct {
	code       codes.Code
	reason     string
	text       string
	metadata   map[string]string
	violations []violation
	retryAfter time.Duration // zero: no hint
}

// A violation names a field of the request and says what is allowed there.
type violation struct{ field, text string }

func (r refusal) err() error {
	for key, value := range r.metadata {
		r.metadata[key] = cut(value)
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: r.reason, Domain: errorDomain, Metadata: r.metadata}}
	if len(r.violations) > 0 {
		details = append(details, badRequest(r.violations))
	}
	if r.retryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.retryAfter)})
	}
	st, err := status.New(r.code, cut(r.text)).WithDetails(details...)
	if err != nil {
		return status.Errorf(codes.Internal, "encode error details: %v", err)
	}
	return st.Err()
}

func badRequest(list []violation) *errdetails.BadRequest {
	m, size := &errdetails.BadRequest{}, 0
	for _, v := range list {
		field, text := cut(v.field), cut(v.text)
		size += len(field) + len(text)
		if size > maxViolations && len(m.FieldViolations) > 0 {
			break
		}
		m.FieldViolations = append(m.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: field, Description: text})
	}
	return m
}

// cut shortens a text to maxText bytes without splitting a rune, and replaces what is not UTF-8, because protobuf
// would not carry it.
func cut(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// bad refuses a request for its shape.
func bad(field, format string, args ...any) error {
	return badFields([]violation{{field, fmt.Sprintf(format, args...)}})
}

func badFields(list []violation) error {
	texts := make([]string, len(list))
	for i, v := range list {
		texts[i] = v.field + ": " + v.text
	}
	return refusal{
		code:       codes.InvalidArgument,
		reason:     reasonInvalidRequest,
		text:       "invalid request: " + strings.Join(texts, "; "),
		violations: list,
	}.err()
}

// notServed refuses fields that this server does not act on.
func notServed(fields ...string) error {
	r := refusal{
		code:   codes.Unimplemented,
		reason: reasonNotImplemented,
		text:   "not implemented by this server: " + strings.Join(fields, ", "),
	}
	for _, f := range fields {
		r.violations = append(r.violations, violation{f, "is not implemented by this server"})
	}
	return r.err()
}

// notServedMethod refuses a whole rpc.
func notServedMethod(method string) error {
	return refusal{
		code:   codes.Unimplemented,
		reason: reasonNotImplemented,
		text:   method + " is not implemented by this server",
	}.err()
}

// gone says that the caller can see no such sandbox.
func gone(id string) error {
	return refusal{
		code:     codes.NotFound,
		reason:   reasonSandboxNotFound,
		text:     "sandbox " + id + " was not found",
		metadata: map[string]string{"sandbox_id": id},
	}.err()
}

// notRunning says that a sandbox, or, when a name is given, one container of it, is in no state for the operation.
func notRunning(id string, state sandboxv1.State, containerName string) error {
	r := refusal{
		code:     codes.FailedPrecondition,
		reason:   reasonSandboxNotRunning,
		text:     fmt.Sprintf("sandbox %s is not running: it is %s", id, stateWord(state)),
		metadata: map[string]string{"sandbox_id": id, "state": stateWord(state)},
	}
	if containerName != "" {
		r.text = fmt.Sprintf("container %s of sandbox %s is not running", containerName, id)
		r.metadata["container"] = containerName
	}
	return r.err()
}

// noHost says that nothing here can offer what the spec asks for.
func noHost(constraint, text string) error {
	return refusal{
		code:     codes.FailedPrecondition,
		reason:   reasonNoSuitableRunner,
		text:     "no suitable runner: " + text,
		metadata: map[string]string{"constraint": constraint},
	}.err()
}

// stateWord is the name of a state as messages show it: "running".
func stateWord(s sandboxv1.State) string {
	return strings.ToLower(strings.TrimPrefix(s.String(), "STATE_"))
}

// endOf translates the end of a call's context: the cause where the server has given one, else the caller's doing.
func endOf(ctx context.Context) error {
	if _, ok := status.FromError(context.Cause(ctx)); ok {
		return context.Cause(ctx)
	}
	return status.FromContextError(ctx.Err()).Err()
}
