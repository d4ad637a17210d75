package cwsandbox

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

const contractPackage = "coreweave.sandbox.v1"

// TestCoverage makes every call that the public API has, with every option, and holds what arrives at the service against
// the contract: each method is called, each field of a request and each word that it may hold is sent, or deliberately
// says why not.
func TestCoverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{seen: make(map[string]bool)}
		c := r.client(t)
		sb, err := c.Run(t.Context())
		require.NoError(t, err)
		for _, call := range publicCalls {
			require.NoError(t, call.make(t.Context(), c, sb), call.name)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(sendable())) {
			assert.True(t, r.seen[name], "nothing in the public API sends %s", name)
		}
		for name := range deliberately {
			assert.False(t, r.seen[name], "the public API does send %s", name)
		}
	})
}

func TestDeliberateOmissions(t *testing.T) {
	all := make(map[string]bool)
	everything(all, nil)
	for name, reason := range deliberately {
		assert.True(t, all[name], "%s is not in the contract", name)
		assert.NotEmpty(t, reason)
	}
}

func TestDirectCoverage(t *testing.T) {
	onPlanes(t, "data plane", func(t *testing.T, p *planes) {
		sb := run(t, p.client(t))
		require.NoError(t, second(sb.Exec(t.Context(), []string{"true"})))
		require.NoError(t, sb.WriteFile(t.Context(), "/f", nil))
		require.NoError(t, second(sb.ReadFile(t.Context(), "/f")))
		require.NoError(t, second(Collect(sb.Logs(t.Context()))))
		for name, reason := range deliberately {
			if method, ok := strings.CutPrefix(name, "SandboxDataPlaneService."); ok && reason == direct {
				calls := p.Calls(method)
				require.Len(t, calls, 1, method)
				assert.Empty(t, calls[0].Metadata.Get("authorization"), "%s goes through the gateway", method)
			}
		}
	})
}

// sendable returns the methods, fields and words of the contract that the public API must be able to send.
func sendable() map[string]bool {
	names := make(map[string]bool)
	everything(names, deliberately)
	return names
}

// everything collects the names of all methods, of the fields that their requests can hold, and of the values that these
// can have, but for those to leave out and what is only reached through them.
func everything(names map[string]bool, leaveOut map[string]string) {
	protoregistry.GlobalFiles.RangeFilesByPackage(contractPackage, func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				m := service.Methods().Get(j)
				if addName(names, leaveOut, m) {
					reachable(names, leaveOut, m.Input())
				}
			}
		}
		return true
	})
}

func reachable(names map[string]bool, leaveOut map[string]string, m protoreflect.MessageDescriptor) {
	if m.ParentFile().Package() != contractPackage {
		return
	}
	for i := range m.Fields().Len() {
		field := m.Fields().Get(i)
		if !addName(names, leaveOut, field) {
			continue
		}
		if field.IsMap() {
			field = field.MapValue()
		}
		if field.Message() != nil {
			reachable(names, leaveOut, field.Message())
		}
		if field.Enum() != nil {
			for k := range field.Enum().Values().Len() {
				if v := field.Enum().Values().Get(k); v.Number() != 0 {
					addName(names, leaveOut, v)
				}
			}
		}
	}
}

// addName reports whether the name is new and not to be left out.
func addName(names map[string]bool, leaveOut map[string]string, d protoreflect.Descriptor) bool {
	name := contractName(d)
	if _, out := leaveOut[name]; out || names[name] {
		return false
	}
	names[name] = true
	return true
}

func contractName(d protoreflect.Descriptor) string {
	return strings.TrimPrefix(string(d.FullName()), contractPackage+".")
}

// A recorder is a service that knows every method, accepts everything, and remembers what was asked for.
type recorder struct {
	mu   sync.Mutex
	seen map[string]bool
	made int // sandboxes
}

func (r *recorder) client(t *testing.T) *Client {
	return clientOf(t, grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error { return r.serve(stream) })))
}

func (r *recorder) serve(stream grpc.ServerStream) error {
	path, _ := grpc.MethodFromServerStream(stream)
	name := protoreflect.FullName(strings.ReplaceAll(strings.TrimPrefix(path, "/"), "/", "."))
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
	if err != nil {
		return status.Error(codes.Unimplemented, err.Error())
	}
	method := found.(protoreflect.MethodDescriptor)
	req, err := r.receive(stream, method)
	if err != nil {
		return err
	}
	switch method.Name() {
	case "ConnectSandbox":
		return status.Error(codes.Unimplemented, "no direct connections")
	case "StreamLogs":
		return nil
	case "StreamExec":
		return r.serveExec(stream, method)
	}
	return stream.SendMsg(r.answer(method, req).Interface())
}

// receive takes a request and notes what is in it.
func (r *recorder) receive(stream grpc.ServerStream, method protoreflect.MethodDescriptor) (protoreflect.Message, error) {
	req := newMessage(method.Input())
	if err := stream.RecvMsg(req.Interface()); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[contractName(method)] = true
	r.note(req)
	return req, nil
}

func (r *recorder) note(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		r.seen[contractName(field)] = true
		switch {
		case field.IsMap():
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				r.noteValue(field.MapValue(), v)
				return true
			})
		case field.IsList():
			for i := range v.List().Len() {
				r.noteValue(field, v.List().Get(i))
			}
		default:
			r.noteValue(field, v)
		}
		return true
	})
}

func (r *recorder) noteValue(field protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case field.Message() != nil:
		r.note(v.Message())
	case field.Enum() != nil:
		if word := field.Enum().Values().ByNumber(v.Enum()); word != nil {
			r.seen[contractName(word)] = true
		}
	}
}

// serveExec is a command that ends when its input does.
func (r *recorder) serveExec(stream grpc.ServerStream, method protoreflect.MethodDescriptor) error {
	ready := &sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Ready{
		Ready: &sandboxv1.ExecStreamReady{ReadyTime: timestamppb.Now()},
	}}
	if err := stream.SendMsg(ready); err != nil {
		return err
	}
	for {
		req, err := r.receive(stream, method)
		if err == io.EOF || err == nil && req.Interface().(*sandboxv1.ExecStreamRequest).GetClose() != nil {
			break
		}
		if err != nil {
			return err
		}
	}
	return stream.SendMsg(&sandboxv1.ExecStreamResponse{Message: &sandboxv1.ExecStreamResponse_Exit{Exit: &sandboxv1.ExecStreamExit{}}})
}

// answer makes up what a method could answer.
func (r *recorder) answer(method protoreflect.MethodDescriptor, req protoreflect.Message) protoreflect.Message {
	switch q := req.Interface().(type) {
	case *sandboxv1.GetSandboxRequest:
		return withScratch(record(q.GetSandboxId(), sandboxv1.State_STATE_RUNNING)).ProtoReflect()
	case *sandboxv1.DeleteSandboxRequest:
		resp := &sandboxv1.DeleteSandboxResponse{Sandbox: ended(q.GetSandboxId(), sandboxv1.State_STATE_COMPLETED, 0)}
		for range q.GetSnapshotVolumes() {
			resp.FileSystemSnapshotIds = append(resp.FileSystemSnapshotIds, "snapshot-1")
		}
		return resp.ProtoReflect()
	}
	if method.Output() == (&sandboxv1.Sandbox{}).ProtoReflect().Descriptor() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.made++
		return withScratch(record(fmt.Sprint("sb-", r.made), sandboxv1.State_STATE_RUNNING)).ProtoReflect()
	}
	answer := newMessage(method.Output())
	fillAnswer(answer, req, 3)
	return answer
}

// withScratch adds a scratch volume that snapshots can be taken of.
func withScratch(sb *sandboxv1.Sandbox) *sandboxv1.Sandbox {
	sb.Spec.Volumes = []*sandboxv1.SandboxVolume{{Name: "v", Source: &sandboxv1.SandboxVolume_Scratch{Scratch: &sandboxv1.ScratchVolume{}}}}
	return sb
}

func newMessage(d protoreflect.MessageDescriptor) protoreflect.Message {
	found, err := protoregistry.GlobalTypes.FindMessageByName(d.FullName())
	if err != nil {
		panic(err) // every message of the contract is linked in
	}
	return found.New()
}

// fillAnswer gives an answer its ids, good states, one element for each list, and one more page.
func fillAnswer(m, req protoreflect.Message, depth int) {
	if depth == 0 || m.Descriptor().ParentFile().Package() != contractPackage {
		return
	}
	for i := range m.Descriptor().Fields().Len() {
		field := m.Descriptor().Fields().Get(i)
		name := string(field.Name())
		switch {
		case field.IsMap():
		case name == "next_page_token":
			if token := req.Descriptor().Fields().ByName("page_token"); req.Get(token).String() == "" {
				m.Set(field, protoreflect.ValueOfString("page-2"))
			}
		case field.IsList() && field.Message() != nil:
			list := m.Mutable(field).List()
			element := list.NewElement()
			fillAnswer(element.Message(), req, depth-1)
			list.Append(element)
		case field.IsList():
		case field.Message() != nil && field.ContainingOneof() == nil:
			fillAnswer(m.Mutable(field).Message(), req, depth-1)
		case field.Kind() == protoreflect.StringKind && (strings.HasSuffix(name, "_id") || name == "name"):
			m.Set(field, protoreflect.ValueOfString("some-"+name))
		case name == "state":
			for i := range field.Enum().Values().Len() {
				if v := field.Enum().Values().Get(i); strings.HasSuffix(string(v.Name()), "_READY") {
					m.Set(field, protoreflect.ValueOfEnum(v.Number()))
				}
			}
		}
	}
}
