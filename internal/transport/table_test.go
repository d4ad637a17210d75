package transport

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/cwsandbox/cwsandbox-go/internal/rpcerr"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// contract lists the files with services.
var contract = []protoreflect.FileDescriptor{
	sandboxv1.File_coreweave_sandbox_v1_sandbox_proto,
	sandboxv1.File_coreweave_sandbox_v1_sandbox_data_plane_proto,
	sandboxv1.File_coreweave_sandbox_v1_sandbox_template_proto,
	sandboxv1.File_coreweave_sandbox_v1_volume_proto,
	sandboxv1.File_coreweave_sandbox_v1_discovery_proto,
	sandboxv1.File_coreweave_sandbox_v1_settings_proto,
}

func TestTable(t *testing.T) {
	names := map[string]bool{}
	for _, file := range contract {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				names[fmt.Sprintf("/%s/%s", service.FullName(), service.Methods().Get(j).Name())] = true
			}
		}
	}
	t.Run("K-159", func(t *testing.T) {
		assert.Greater(t, len(names), 40)
		for name := range names {
			assert.Contains(t, methods, name)
		}
		for name := range methods {
			assert.True(t, names[name], "%s is not in the contract", name)
		}
	})
	t.Run("streams are not repeated", func(t *testing.T) {
		for _, file := range contract {
			for i := range file.Services().Len() {
				service := file.Services().Get(i)
				for j := range service.Methods().Len() {
					if m := service.Methods().Get(j); m.IsStreamingServer() || m.IsStreamingClient() {
						assert.Equal(t, never, ruleFor(fmt.Sprintf("/%s/%s", service.FullName(), m.Name()), nil).class)
					}
				}
			}
		}
	})
}

func TestRuleDependsOnTheRequest(t *testing.T) {
	for _, row := range []struct {
		method  string
		request any
		want    class
	}{
		{sandboxv1.SandboxService_CreateSandbox_FullMethodName, &sandboxv1.CreateSandboxRequest{RequestId: "r"}, token},
		{sandboxv1.SandboxService_CreateSandbox_FullMethodName, &sandboxv1.CreateSandboxRequest{}, never},
		{sandboxv1.SandboxService_CreateSandbox_FullMethodName, "not a message", never},
		{sandboxv1.SandboxService_DeleteSandbox_FullMethodName, &sandboxv1.DeleteSandboxRequest{RequestId: "r"}, remove},
		{sandboxv1.SandboxService_DeleteSandbox_FullMethodName, &sandboxv1.DeleteSandboxRequest{GracePeriodSeconds: -5}, remove},
		{sandboxv1.SandboxService_DeleteSandbox_FullMethodName, &sandboxv1.DeleteSandboxRequest{RequestId: "r", SnapshotVolumes: []string{"v"}}, token},
		{sandboxv1.SandboxService_DeleteSandbox_FullMethodName, &sandboxv1.DeleteSandboxRequest{SnapshotVolumes: []string{"v"}}, never},
		{sandboxv1.SandboxService_PurgeSandboxes_FullMethodName, &sandboxv1.PurgeSandboxesRequest{DryRun: true}, read},
		{sandboxv1.SandboxService_PurgeSandboxes_FullMethodName, &sandboxv1.PurgeSandboxesRequest{}, never},
	} {
		r := ruleFor(row.method, row.request)
		assert.Equal(t, row.want, r.class, "%s %v", row.method, row.request)
		assert.GreaterOrEqual(t, r.attempt, 0*deleteMargin)
	}
}

func TestClasses(t *testing.T) {
	answer := func(code codes.Code, reason string, hint bool) *rpcerr.Error {
		return &rpcerr.Error{Status: status.New(code, "x"), Details: rpcerr.Details{Reason: reason, Domain: rpcerr.Domain, HasRetryDelay: hint}}
	}
	for _, row := range []struct {
		name                       string
		err                        *rpcerr.Error
		read, write, token, remove bool
	}{
		{"unavailable", answer(codes.Unavailable, "", false), true, true, true, true},
		{"transient reason", answer(codes.FailedPrecondition, rpcerr.ReasonFSSInflightLimit, false), true, true, true, true},
		{"transient reason of pressure", answer(codes.ResourceExhausted, rpcerr.ReasonFSSInflightLimit, false), true, true, true, true},
		{"pressure", answer(codes.ResourceExhausted, "", false), true, true, false, true},
		{"pressure with a hint", answer(codes.ResourceExhausted, "", true), true, true, true, true},
		{"quota", answer(codes.ResourceExhausted, rpcerr.ReasonVolumeQuotaExceeded, true), false, false, false, false},
		{"deadline", answer(codes.DeadlineExceeded, "", false), true, true, false, true},
		{"internal", answer(codes.Internal, "", false), false, false, false, true},
		{"unknown", answer(codes.Unknown, "CWSANDBOX_NEW_THING", false), false, false, false, true},
		{"canceled", answer(codes.Canceled, "", false), false, false, false, true},
		{"invalid", answer(codes.InvalidArgument, "", true), false, false, false, false},
		{"closed", rpcerr.Local("/s/m", codes.Canceled, rpcerr.ErrClosed), false, false, false, false},
	} {
		t.Run(row.name, func(t *testing.T) {
			assert.Equal(t, row.read, read.repeats(row.err))
			assert.Equal(t, row.write, write.repeats(row.err))
			assert.Equal(t, row.token, token.repeats(row.err))
			assert.Equal(t, row.remove, remove.repeats(row.err))
			assert.False(t, never.repeats(row.err))
		})
	}
}
