package cwsandbox

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
)

// answered is the failure of a call, with a reason of the service unless that is empty.
func answered(code codes.Code, reason Reason, message string) *rpcerr.Error {
	e := &rpcerr.Error{Method: "/coreweave.sandbox.v1.SandboxService/Any", Status: status.New(code, message), Sent: true, Attempts: 1}
	if reason != "" {
		e.Reason, e.Domain = string(reason), rpcerr.Domain
	}
	return e
}

// sentinels are all of them, by name.
var sentinels = map[string]error{
	"ErrInvalidArgument": ErrInvalidArgument, "ErrUnauthenticated": ErrUnauthenticated,
	"ErrPermissionDenied": ErrPermissionDenied, "ErrNotFound": ErrNotFound, "ErrNotRunning": ErrNotRunning,
	"ErrFailed": ErrFailed, "ErrTerminated": ErrTerminated, "ErrTimeout": ErrTimeout,
	"ErrCommandTimeout": ErrCommandTimeout, "ErrUnavailable": ErrUnavailable,
	"ErrResourceExhausted": ErrResourceExhausted, "ErrPlacement": ErrPlacement, "ErrPrecondition": ErrPrecondition,
	"ErrConflict": ErrConflict, "ErrNotImplemented": ErrNotImplemented, "ErrUndecided": ErrUndecided,
	"ErrClosed": ErrClosed, "ErrFile": ErrFile, "ErrFileNotFound": ErrFileNotFound,
	"ErrFilePermission": ErrFilePermission, "ErrIsDirectory": ErrIsDirectory, "ErrFileTooLarge": ErrFileTooLarge,
	"ErrSnapshotFailed": ErrSnapshotFailed, "ErrStream": ErrStream, "ErrBackpressure": ErrBackpressure,
	"ErrTruncated": ErrTruncated, "fs.ErrNotExist": fs.ErrNotExist, "fs.ErrPermission": fs.ErrPermission,
	"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded,
}

// matches asserts that err matches exactly these, of all that there are.
func matches(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	for _, name := range slices.Sorted(maps.Keys(sentinels)) {
		if errors.Is(err, sentinels[name]) {
			got = append(got, name)
		}
	}
	assert.ElementsMatch(t, want, got, "%v", err)
}

func TestReasons(t *testing.T) {
	rows := map[Reason]string{
		"SANDBOX_NOT_FOUND":    "ErrNotFound",
		"RUNNER_NOT_FOUND":     "ErrNotFound",
		"FSS_NOT_FOUND":        "ErrNotFound",
		"VOLUME_NOT_FOUND":     "ErrNotFound",
		"LOGS_DELETED":         "ErrNotFound",
		"SANDBOX_NOT_RUNNING":  "ErrNotRunning",
		"SANDBOX_NOT_TERMINAL": "ErrPrecondition",
		"LOGS_NOT_ENABLED":     "ErrPrecondition",

		"INVALID_REQUEST":           "ErrInvalidArgument",
		"RESOURCE_CEILING_EXCEEDED": "ErrInvalidArgument",
		"FSS_SIZE_EXCEEDED":         "ErrInvalidArgument",

		"NOT_IMPLEMENTED":                 "ErrNotImplemented",
		"FSS_NOT_SUPPORTED":               "ErrNotImplemented",
		"VOLUME_TYPE_NOT_SUPPORTED":       "ErrNotImplemented",
		"HTTPS_SHARE_TOKEN_NOT_SUPPORTED": "ErrNotImplemented",

		"COMMAND_TIMEOUT":  "ErrCommandTimeout ErrTimeout",
		"FSS_WAIT_TIMEOUT": "ErrTimeout",

		"RUNNER_UNAVAILABLE":        "ErrUnavailable",
		"BACKEND_UNAVAILABLE":       "ErrUnavailable",
		"SANDBOX_ROUTE_UNAVAILABLE": "ErrUnavailable",
		"RUNNER_SHARD_RETIRING":     "ErrUnavailable",
		"VOLUME_RUNNER_UNAVAILABLE": "ErrUnavailable",
		"FSS_BACKEND_THROTTLED":     "ErrUnavailable",
		"FSS_INFLIGHT_LIMIT":        "ErrUnavailable",
		"FSS_BUCKET_PROVISIONING":   "ErrUnavailable",

		"RUNNER_CAPACITY_EXHAUSTED":        "ErrPlacement",
		"RUNNER_OVERLOADED":                "ErrPlacement",
		"NO_SUITABLE_RUNNER":               "ErrPlacement",
		"PLACEMENT_REJECTED":               "ErrPlacement",
		"PLACEMENT_CONSTRAINT_UNSATISFIED": "ErrPlacement",

		"SERVERLESS_NOT_ALLOWED":       "ErrPrecondition",
		"SERVERLESS_DISABLED":          "ErrPrecondition",
		"SERVERLESS_MISCONFIGURED":     "ErrPrecondition",
		"GPU_NOT_ALLOWED":              "ErrPrecondition",
		"SECRET_STORE_NOT_PROVISIONED": "ErrPrecondition",
		"FSS_NOT_READY":                "ErrPrecondition",
		"FSS_BUCKET_MISMATCH":          "ErrPrecondition",
		"VOLUME_NOT_READY":             "ErrPrecondition",
		"VOLUME_RUNNER_INELIGIBLE":     "ErrPrecondition",
		"VOLUME_NOT_SNAPSHOTTABLE":     "ErrPrecondition",
		"VOLUME_BACKEND_NOT_FOUND":     "ErrPrecondition",
		"VOLUME_PLACEMENT_CONFLICT":    "ErrPrecondition",

		"FSS_QUOTA_EXCEEDED":    "ErrResourceExhausted",
		"VOLUME_QUOTA_EXCEEDED": "ErrResourceExhausted",
		"VOLUME_IN_USE":         "ErrConflict",
		"ETAG_MISMATCH":         "ErrConflict",

		"FILE_NOT_FOUND":         "ErrFileNotFound ErrFile fs.ErrNotExist",
		"FILE_IS_DIRECTORY":      "ErrIsDirectory ErrFile",
		"FILE_PERMISSION_DENIED": "ErrFilePermission ErrFile fs.ErrPermission",
		"FILE_IO_FAILED":         "ErrFile",
		"FILE_TOO_LARGE":         "ErrFileTooLarge ErrFile",
		"FILE_TRUNCATED":         "ErrTruncated ErrFile",

		"FSS_BUCKET_UNAVAILABLE": "ErrSnapshotFailed",
		"FSS_RESTORE_FAILED":     "ErrSnapshotFailed",
		"FSS_CREATE_FAILED":      "ErrSnapshotFailed",
		"FSS_CREATE_TIMED_OUT":   "ErrSnapshotFailed",
		"FSS_AUTH_FAILED":        "ErrSnapshotFailed",
		"FSS_TRANSPORT_FAILED":   "ErrSnapshotFailed",
		"FSS_CANCELED":           "ErrSnapshotFailed",
	}
	// The reason decides, whatever the code: these belong to no reason.
	for _, code := range []codes.Code{codes.Internal, codes.NotFound, codes.AlreadyExists} {
		for reason, want := range rows {
			t.Run(fmt.Sprintf("%s/%v", reason, code), func(t *testing.T) {
				err := call{op: "get", sandbox: "sb-1"}.wrap(answered(code, "CWSANDBOX_"+reason, "no"))
				matches(t, err, strings.Fields(want)...)
				assert.Equal(t, code, status.Code(err))
				assert.True(t, HasReason(err, "CWSANDBOX_"+reason))
			})
		}
	}
	t.Run("K-155", func(t *testing.T) {
		declared := declaredReasons(t)
		assert.Len(t, declared, len(rows))
		for _, reason := range declared {
			short := Reason(strings.TrimPrefix(string(reason), "CWSANDBOX_"))
			assert.Contains(t, rows, short, "no row here")
			assert.Contains(t, reasonSentinels, reason, "no row in the table")
		}
		assert.Len(t, reasonSentinels, len(rows))
	})
}

// declaredReasons are the values of the constants of reasons.go.
func declaredReasons(t *testing.T) []Reason {
	t.Helper()
	values := stringConstants(t, "internal/rpcerr/reasons.go")
	var reasons []Reason
	file, err := parser.ParseFile(token.NewFileSet(), "reasons.go", nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			source, ok := spec.Values[0].(*ast.SelectorExpr)
			require.True(t, ok, "%s", spec.Names[0])
			reasons = append(reasons, Reason(values[source.Sel.Name]))
		}
		return true
	})
	return reasons
}

// stringConstants reads the string constants of a file.
func stringConstants(t *testing.T, name string) map[string]string {
	t.Helper()
	values := make(map[string]string)
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	require.NoError(t, err)
	ast.Inspect(file, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok && len(spec.Values) == 1 {
			if literal, ok := spec.Values[0].(*ast.BasicLit); ok && literal.Kind == token.STRING {
				values[spec.Names[0].Name] = strings.Trim(literal.Value, `"`)
			}
		}
		return true
	})
	return values
}

func TestCodes(t *testing.T) {
	for code, want := range map[codes.Code]string{
		codes.Canceled:           "ErrUnavailable",
		codes.Unknown:            "",
		codes.Internal:           "",
		codes.DataLoss:           "",
		codes.InvalidArgument:    "ErrInvalidArgument",
		codes.OutOfRange:         "ErrInvalidArgument",
		codes.DeadlineExceeded:   "ErrTimeout",
		codes.NotFound:           "ErrNotFound",
		codes.AlreadyExists:      "ErrConflict",
		codes.Aborted:            "ErrConflict",
		codes.PermissionDenied:   "ErrPermissionDenied",
		codes.Unauthenticated:    "ErrUnauthenticated",
		codes.ResourceExhausted:  "ErrResourceExhausted",
		codes.FailedPrecondition: "ErrPrecondition",
		codes.Unimplemented:      "ErrNotImplemented",
		codes.Unavailable:        "ErrUnavailable",
	} {
		t.Run(code.String(), func(t *testing.T) {
			err := call{op: "get", sandbox: "sb-1"}.wrap(answered(code, "", "no"))
			matches(t, err, strings.Fields(want)...)
			assert.Equal(t, code, status.Code(err))

			unknown := answered(code, "CWSANDBOX_NEW_THING", "no")
			matches(t, call{op: "get"}.wrap(unknown), strings.Fields(want)...)
		})
	}
}

func TestDetails(t *testing.T) {
	c := call{op: "get", sandbox: "sb-1"}

	t.Run("K-123", func(t *testing.T) {
		matches(t, c.wrap(answered(codes.Internal, ReasonSandboxNotFound, "no")), "ErrNotFound")
	})
	for name, domain := range map[string]string{"K-124": "example.com", "K-125": "CWSANDBOX.COM"} {
		t.Run(name, func(t *testing.T) {
			rpc := answered(codes.Internal, ReasonSandboxNotFound, "no")
			rpc.Domain, rpc.Metadata = domain, map[string]string{"sandbox_id": "sb-9", "filepath": "/p"}
			e := wrapped(t, call{op: "get"}, rpc)
			matches(t, e)
			assert.Equal(t, ReasonSandboxNotFound, e.Reason)
			assert.Equal(t, domain, e.Domain)
			assert.Equal(t, "sb-9", e.Metadata["sandbox_id"])
			assert.Empty(t, e.SandboxID, "a stranger's word")
			assert.Empty(t, e.Path)
		})
	}
	t.Run("K-127", func(t *testing.T) {
		rpc := answered(codes.Unavailable, ReasonBackendUnavailable, "no")
		rpc.RetryDelay, rpc.HasRetryDelay = 3*time.Second, true
		e := wrapped(t, c, rpc)
		assert.Equal(t, ReasonBackendUnavailable, e.Reason)
		assert.Equal(t, 3*time.Second, e.RetryAfter)
	})
	t.Run("K-131", func(t *testing.T) {
		for _, delay := range []time.Duration{0, -3 * time.Second} {
			rpc := answered(codes.Unavailable, "", "no")
			rpc.RetryDelay, rpc.HasRetryDelay = delay, true
			assert.Zero(t, wrapped(t, c, rpc).RetryAfter)
		}
	})
	t.Run("K-132", func(t *testing.T) {
		rpc := answered(codes.InvalidArgument, "", "no")
		rpc.Violations = []rpcerr.Violation{{Field: "a", Description: "1"}, {Field: "b", Description: "2"}}
		assert.Equal(t, []Violation{{"a", "1"}, {"b", "2"}}, wrapped(t, c, rpc).Violations)
	})
	t.Run("K-137", func(t *testing.T) {
		rpc := answered(codes.NotFound, ReasonSandboxNotFound, "no")
		rpc.Metadata = map[string]string{"k": "v"}
		wrapped(t, c, rpc).Metadata["k"] = "changed"
		assert.Equal(t, "v", wrapped(t, c, rpc).Metadata["k"])
	})
	t.Run("what the call does not know comes from the service", func(t *testing.T) {
		rpc := answered(codes.NotFound, ReasonFileNotFound, "no")
		rpc.Metadata = map[string]string{"sandbox_id": "sb-9", "filepath": "/theirs"}
		e := wrapped(t, call{op: "read file"}, rpc)
		assert.Equal(t, "sb-9", e.SandboxID)
		assert.Equal(t, "/theirs", e.Path)
		e = wrapped(t, call{op: "read file", sandbox: "sb-1", path: "/mine"}, rpc)
		assert.Equal(t, "sb-1", e.SandboxID)
		assert.Equal(t, "/mine", e.Path)
	})
	t.Run("the resource of a not-found", func(t *testing.T) {
		for reason, want := range map[Reason]string{
			ReasonSandboxNotFound: "sandbox", ReasonRunnerNotFound: "runner", ReasonFSSNotFound: "snapshot",
			ReasonVolumeNotFound: "volume", ReasonLogsDeleted: "logs", "": "template",
		} {
			assert.Equal(t, want, wrapped(t, call{op: "get", resource: "template"}, answered(codes.NotFound, reason, "no")).Resource)
		}
		assert.Equal(t, "sandbox", wrapped(t, c, answered(codes.NotFound, "", "no")).Resource)
		assert.Empty(t, wrapped(t, c, answered(codes.Unavailable, "", "no")).Resource)
	})
}

// wrapped is the *Error of a failure.
func wrapped(t *testing.T, c call, rpc *rpcerr.Error) *Error {
	t.Helper()
	var e *Error
	require.ErrorAs(t, c.wrap(rpc), &e)
	return e
}

func TestMapping(t *testing.T) {
	get := call{op: "get", sandbox: "sb-1"}
	read := call{op: "read file", sandbox: "sb-1", path: "/f"}

	t.Run("K-138", func(t *testing.T) {
		matches(t, get.wrap(answered(codes.Unauthenticated, "", "no")), "ErrUnauthenticated")
		matches(t, get.wrap(answered(codes.PermissionDenied, "", "no")), "ErrPermissionDenied")
	})
	t.Run("K-139", func(t *testing.T) {
		matches(t, read.wrap(answered(codes.PermissionDenied, "", "no")), "ErrPermissionDenied")
	})
	t.Run("K-140", func(t *testing.T) {
		matches(t, read.wrap(answered(codes.NotFound, ReasonFileNotFound, "no")), "ErrFileNotFound", "ErrFile", "fs.ErrNotExist")
	})
	t.Run("K-141", func(t *testing.T) {
		e := wrapped(t, read, answered(codes.NotFound, "", "no"))
		matches(t, e, "ErrNotFound")
		assert.Equal(t, "sandbox", e.Resource)
	})
	t.Run("K-142", func(t *testing.T) {
		matches(t, get.wrap(answered(codes.Unavailable, "", "no")), "ErrUnavailable")
	})
	t.Run("K-143", func(t *testing.T) {
		matches(t, get.wrap(answered(codes.Canceled, "", "no")), "ErrUnavailable")
	})
	t.Run("K-144", func(t *testing.T) {
		reason := errors.New("the user left")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		err := get.wrap(rpcerr.Ended(ctx, "/s/m"))
		matches(t, err, "context.Canceled")
		assert.ErrorIs(t, err, reason)
		assert.ErrorContains(t, err, "the user left")
	})
	t.Run("K-145", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), -1)
		defer cancel()
		matches(t, get.wrap(rpcerr.Ended(ctx, "/s/m")), "context.DeadlineExceeded", "ErrTimeout")
		matches(t, get.wrap(answered(codes.DeadlineExceeded, "", "our own limit")), "ErrTimeout")
	})
	t.Run("K-146", func(t *testing.T) {
		rpc := answered(codes.DeadlineExceeded, ReasonCommandTimeout, "no")
		matches(t, get.wrap(rpc), "ErrCommandTimeout", "ErrTimeout")
		assert.False(t, rpcerr.Transient(rpc))
	})
	t.Run("K-147", func(t *testing.T) {
		rpc := answered(codes.InvalidArgument, "", "no")
		rpc.Violations = []rpcerr.Violation{{Field: "spec.tags[0]", Description: "too long"}}
		err := get.wrap(rpc)
		matches(t, err, "ErrInvalidArgument")
		assert.ErrorContains(t, err, "spec.tags[0]: too long")
	})
	t.Run("K-148", func(t *testing.T) {
		bare := get.wrap(answered(codes.Unimplemented, "", "unknown service"))
		matches(t, bare, "ErrNotImplemented")
		assert.ErrorContains(t, bare, "base URL")
		assert.NotContains(t, get.wrap(answered(codes.Unimplemented, ReasonNotImplemented, "no")).Error(), "base URL")
	})
	t.Run("K-149", func(t *testing.T) {
		matches(t, get.wrap(answered(codes.AlreadyExists, "", "no")), "ErrConflict")
		matches(t, get.wrap(answered(codes.Aborted, ReasonETagMismatch, "no")), "ErrConflict")
		matches(t, get.wrap(answered(codes.FailedPrecondition, ReasonVolumeInUse, "no")), "ErrConflict")
	})
	t.Run("K-150", func(t *testing.T) {
		rpc := answered(codes.ResourceExhausted, ReasonFSSQuotaExceeded, "no")
		matches(t, get.wrap(rpc), "ErrResourceExhausted")
		assert.False(t, rpcerr.Transient(rpc), "one attempt")
	})
	t.Run("K-151", func(t *testing.T) {
		rpc := answered(codes.DeadlineExceeded, ReasonFSSWaitTimeout, "no")
		rpc.Metadata = map[string]string{"file_system_snapshot_id": "fss-1"}
		e := wrapped(t, get, rpc)
		matches(t, e, "ErrTimeout")
		assert.Equal(t, "fss-1", e.Metadata["file_system_snapshot_id"])
	})
	t.Run("K-152", func(t *testing.T) {
		e := wrapped(t, get, answered(codes.FailedPrecondition, "CWSANDBOX_NEW_THING", "no"))
		matches(t, e, "ErrPrecondition")
		assert.Equal(t, Reason("CWSANDBOX_NEW_THING"), e.Reason)
		assert.ErrorContains(t, e, "CWSANDBOX_NEW_THING")
	})
	t.Run("K-154", func(t *testing.T) {
		matches(t, get.wrap(rpcerr.Local("/s/m", codes.Canceled, rpcerr.ErrClosed)), "ErrClosed")
	})
	t.Run("K-156", func(t *testing.T) {
		for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
			err := read.wrap(answered(code, "", "two\nlines\tand \x1b more"))
			assert.NotRegexp(t, `[\x00-\x1f]`, err.Error())
			assert.Regexp(t, `^cwsandbox: read file sb-1 "/f": `, err.Error())
			assert.Equal(t, code, status.Code(err))
			assert.Equal(t, code, status.Code(fmt.Errorf("wrapped: %w", err)))
		}
	})
	t.Run("K-157", func(t *testing.T) {
		one, two := get.wrap(answered(codes.NotFound, "", "no")), read.wrap(answered(codes.NotFound, ReasonFileNotFound, "no"))
		for _, err := range []error{errors.Join(one, two), fmt.Errorf("both: %w, %w", one, two)} {
			assert.ErrorIs(t, err, ErrNotFound)
			assert.ErrorIs(t, err, fs.ErrNotExist)
		}
	})
	t.Run("a failure that was being repeated", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		rpc := rpcerr.Ended(ctx, "/s/m")
		rpc.Last, rpc.Attempts = answered(codes.Unavailable, ReasonBackendUnavailable, "away"), 2
		err := get.wrap(rpc)
		matches(t, err, "context.Canceled", "ErrUnavailable")
		assert.True(t, HasReason(err, ReasonBackendUnavailable))
		assert.EqualError(t, err, "cwsandbox: get sb-1: context canceled, after 2 attempts; the last failure: away")
	})
	t.Run("credentials", func(t *testing.T) {
		cause := errors.New("sealed")
		rpc := rpcerr.Local("/s/m", codes.Unauthenticated, fmt.Errorf("%w: %w", rpcerr.ErrCredentials, cause))
		matches(t, get.wrap(rpc), "ErrUnauthenticated")
		assert.ErrorIs(t, get.wrap(rpc), cause)
	})
	t.Run("message size", func(t *testing.T) {
		rpc := answered(codes.ResourceExhausted, "", "grpc: received message larger than max (105 vs. 104)")
		matches(t, read.wrap(rpc), "ErrFileTooLarge", "ErrFile")
		matches(t, get.wrap(rpc), "ErrInvalidArgument")
	})
	t.Run("placement", func(t *testing.T) {
		for _, op := range []string{"create", "run"} {
			create := call{op: op}
			matches(t, create.wrap(answered(codes.Unavailable, ReasonRunnerUnavailable, "no")), "ErrUnavailable", "ErrPlacement")
			matches(t, create.wrap(answered(codes.ResourceExhausted, ReasonRunnerCapacityExhausted, "no")), "ErrPlacement", "ErrResourceExhausted")
			matches(t, create.wrap(answered(codes.Unavailable, ReasonRunnerOverloaded, "no")), "ErrPlacement")
		}
		matches(t, get.wrap(answered(codes.ResourceExhausted, ReasonRunnerUnavailable, "no")), "ErrUnavailable")
	})
}

// K-158 goes through HTTP: what matters is what grpc-go makes of a proxy's answer.
func TestAnswersOfProxies(t *testing.T) {
	for code, want := range map[int]error{
		http.StatusBadGateway:   ErrUnavailable,
		http.StatusNotFound:     ErrNotImplemented,
		http.StatusUnauthorized: ErrUnauthenticated,
		http.StatusForbidden:    ErrPermissionDenied,
	} {
		t.Run(fmt.Sprintf("K-158/%d", code), func(t *testing.T) {
			proxy := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
			proxy.Config.Protocols = new(http.Protocols)
			proxy.Config.Protocols.SetUnencryptedHTTP2(true)
			proxy.Start()
			defer proxy.Close()
			client, err := NewClient(WithAPIKey("k"), WithBaseURL("http://"+proxy.Listener.Addr().(*net.TCPAddr).String()), WithRetryBudget(0))
			require.NoError(t, err)
			defer client.Close()
			_, err = client.Attach(t.Context(), "sb-1")
			assert.ErrorIs(t, err, want)
		})
	}
}

func TestInBand(t *testing.T) {
	c := call{op: "exec", sandbox: "sb-1"}
	for code, want := range map[string]string{
		"STREAM_BACKPRESSURE":         "ErrBackpressure ErrStream",
		"STREAM_TRUNCATED":            "ErrTruncated ErrStream",
		"SANDBOX_NOT_FOUND":           "ErrNotFound ErrStream",
		"PERMISSION_DENIED":           "ErrPermissionDenied ErrStream",
		"RUNNER_UNAVAILABLE":          "ErrUnavailable ErrStream",
		"RUNNER_DRAINING":             "ErrUnavailable ErrStream",
		"STREAM_INTERRUPTED":          "ErrUnavailable ErrStream",
		"STDIN_CLOSE_GRACE_EXPIRED":   "ErrStream",
		"SESSION_NOT_FOUND":           "ErrStream",
		"CWSANDBOX_SANDBOX_NOT_FOUND": "ErrStream",
		"":                            "ErrStream",
	} {
		t.Run("K-153/"+code, func(t *testing.T) {
			var e *Error
			require.ErrorAs(t, c.inBand(code, "bad\nthing"), &e)
			matches(t, e, strings.Fields(want)...)
			assert.Equal(t, code, e.StreamCode)
			assert.Empty(t, e.Reason)
			assert.Nil(t, e.GRPCStatus())
			text := "cwsandbox: exec sb-1: bad thing"
			if code != "" {
				text += " (" + code + ")"
			}
			assert.EqualError(t, e, text)
		})
	}
	assert.EqualError(t, c.inBand("X", ""), "cwsandbox: exec sb-1: the service ended the stream (X)")
}
