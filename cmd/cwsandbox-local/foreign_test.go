//go:build unix

package main

import (
	"context"
	"encoding/json"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// The program serves an API and not one client: these tests reach it without the SDK.

const (
	greet  = `echo "hello $NAME"; echo oops >&2; exit 3`
	killed = 128 + 9 // exit code of a main process that a delete without grace has ended
)

func TestGeneratedStubs(t *testing.T) {
	api := start(t, t.TempDir()).api(t)
	id := api.running(t, "sleep", "1000")

	t.Run("exec", func(t *testing.T) {
		reply, err := api.Exec(api.ctx, &sandboxv1.ExecRequest{
			SandboxId: id, Command: []string{"sh", "-c", greet}, Env: map[string]string{"NAME": "stub"},
		})
		require.NoError(t, err)
		assert.Equal(t, "hello stub\n", string(reply.GetStdout()))
		assert.Equal(t, "oops\n", string(reply.GetStderr()))
		assert.EqualValues(t, 3, reply.GetExitCode())
	})

	t.Run("exec with a stream", func(t *testing.T) {
		out, code := api.converse(t, id, "cat; exit 4", "first\n", "second\n")
		assert.Equal(t, "first\nsecond\n", out)
		assert.EqualValues(t, 4, code)
	})

	t.Run("files", func(t *testing.T) {
		content := []byte("a\x00\xff\n")
		_, err := api.WriteFile(api.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/tmp/f", Content: content})
		require.NoError(t, err)
		reply, err := api.ReadFile(api.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/tmp/f"})
		require.NoError(t, err)
		assert.Equal(t, content, reply.GetContent())
		_, err = api.ReadFile(api.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/tmp/missing"})
		assert.Equal(t, "CWSANDBOX_FILE_NOT_FOUND", reason(err), "%v", err)
	})

	t.Run("list and delete", func(t *testing.T) {
		assert.Contains(t, api.listed(t), id)
		_, err := api.DeleteSandbox(api.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id})
		require.NoError(t, err)
		require.EventuallyWithT(t, func(t *assert.CollectT) {
			sb, err := api.GetSandbox(api.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			require.NoError(t, err)
			assert.Equal(t, sandboxv1.State_STATE_COMPLETED, sb.GetStatus().GetState())
			assert.EqualValues(t, killed, sb.GetStatus().GetExitCode())
		}, patience, 10*time.Millisecond)
		assert.NotContains(t, api.listed(t), id)
	})
}

// converse runs a shell script that repeats its input, and sends a line only when the one before has come back.
func (a *api) converse(t *testing.T, id, script string, lines ...string) (out string, code int32) {
	t.Helper()
	stream, err := a.StreamExec(a.ctx)
	require.NoError(t, err)
	send := func(frame *sandboxv1.ExecStreamRequest) {
		t.Helper()
		require.NoError(t, stream.Send(frame))
	}
	receive := func() *sandboxv1.ExecStreamResponse {
		t.Helper()
		frame, err := stream.Recv()
		require.NoError(t, err)
		return frame
	}
	init := &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"sh", "-c", script}}
	send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Init{Init: init}})
	require.NotNil(t, receive().GetReady())
	for _, line := range lines {
		send(&sandboxv1.ExecStreamRequest{Message: &sandboxv1.ExecStreamRequest_Stdin{Stdin: []byte(line)}})
		for want := out + line; len(out) < len(want); {
			out += string(receive().GetOutput().GetData())
		}
	}
	end := &sandboxv1.ExecStreamRequest_Close{Close: &sandboxv1.ExecStreamClose{}}
	send(&sandboxv1.ExecStreamRequest{Message: end})
	exit := receive().GetExit()
	require.NotNil(t, exit)
	require.NoError(t, stream.CloseSend())
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	return out, exit.GetExitCode()
}

// reason returns the name that the service gives to an error.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}

// listed returns the ids of the active sandboxes.
func (a *api) listed(t *testing.T) []string {
	t.Helper()
	reply, err := a.ListSandboxes(a.ctx, &sandboxv1.ListSandboxesRequest{})
	require.NoError(t, err)
	require.Empty(t, reply.GetNextPageToken())
	var ids []string
	for _, sb := range reply.GetSandboxes() {
		ids = append(ids, sb.GetSandboxId())
	}
	return ids
}

// object is a message as JSON, for requests.
type object map[string]any

// sandbox is what the client below reads of one.
type sandbox struct {
	SandboxID string
	Status    struct {
		State    string
		ExitCode int
	}
}

func TestReflectionClient(t *testing.T) {
	c := reflect(t, start(t, t.TempDir()), "coreweave.sandbox.v1.SandboxService")

	var created sandbox
	main := object{"name": "main", "image": "any", "command": "sleep", "args": []string{"1000"}}
	spec := object{"containers": []object{main}, "tags": []string{"foreign"}}
	require.NoError(t, c.call("CreateSandbox", object{"sandbox": object{"spec": spec}}, &created))
	id := created.SandboxID
	require.NotEmpty(t, id)
	c.await(t, id, "STATE_RUNNING")

	t.Run("exec", func(t *testing.T) {
		var reply struct {
			Stdout, Stderr []byte
			ExitCode       int
		}
		request := object{"sandboxId": id, "command": []string{"sh", "-c", greet}, "env": object{"NAME": "mirror"}}
		require.NoError(t, c.call("Exec", request, &reply))
		assert.Equal(t, "hello mirror\n", string(reply.Stdout))
		assert.Equal(t, "oops\n", string(reply.Stderr))
		assert.Equal(t, 3, reply.ExitCode)
	})

	t.Run("exec with a stream", func(t *testing.T) {
		stream := c.open(t, "StreamExec")
		stream.send(t, object{"init": object{"sandboxId": id, "command": []string{"sh", "-c", "cat; exit 4"}}})
		require.NotNil(t, stream.receive(t).Ready)
		stream.send(t, object{"stdin": []byte("over and out\n")})
		stream.send(t, object{"close": object{}})
		var out []byte
		frame := stream.receive(t)
		for ; frame.Output != nil; frame = stream.receive(t) {
			assert.Equal(t, "STREAM_STDOUT", frame.Output.Stream)
			out = append(out, frame.Output.Data...)
		}
		assert.Equal(t, "over and out\n", string(out))
		require.NotNil(t, frame.Exit)
		assert.Equal(t, 4, frame.Exit.ExitCode)
		stream.end(t)
	})

	t.Run("files", func(t *testing.T) {
		content := []byte("a\x00\xff\n")
		require.NoError(t, c.call("WriteFile", object{"sandboxId": id, "path": "/tmp/f", "content": content}, &object{}))
		var reply struct{ Content []byte }
		require.NoError(t, c.call("ReadFile", object{"sandboxId": id, "path": "/tmp/f"}, &reply))
		assert.Equal(t, content, reply.Content)
		err := c.call("ReadFile", object{"sandboxId": id, "path": "/tmp/missing"}, &reply)
		assert.Equal(t, "CWSANDBOX_FILE_NOT_FOUND", reason(err), "%v", err)
	})

	t.Run("list and delete", func(t *testing.T) {
		assert.Equal(t, []string{id}, c.listed(t, "foreign"))
		assert.Empty(t, c.listed(t, "other"))
		require.NoError(t, c.call("DeleteSandbox", object{"sandboxId": id}, &object{}))
		assert.Equal(t, killed, c.await(t, id, "STATE_COMPLETED").Status.ExitCode)
		assert.Empty(t, c.listed(t, "foreign"))
	})
}

// mirror is a client of a service of which it knows what the server tells by reflection, as tools like grpcurl are.
type mirror struct {
	ctx     context.Context
	conn    *grpc.ClientConn
	service protoreflect.ServiceDescriptor
}

// reflect asks the program for the description of a service.
func reflect(t *testing.T, c *child, service string) *mirror {
	t.Helper()
	conn, err := grpc.NewClient(c.address(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)

	files, err := protodesc.NewFiles(description(t, ctx, conn, service))
	require.NoError(t, err)
	found, err := files.FindDescriptorByName(protoreflect.FullName(service))
	require.NoError(t, err)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.key)
	return &mirror{ctx, conn, found.(protoreflect.ServiceDescriptor)}
}

// description returns the file that has the symbol, and all that it imports.
func description(t *testing.T, ctx context.Context, conn *grpc.ClientConn, symbol string) *descriptorpb.FileDescriptorSet {
	t.Helper()
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{
		MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol},
	}))
	reply, err := stream.Recv()
	require.NoError(t, err)
	require.Nil(t, reply.GetErrorResponse())
	set := new(descriptorpb.FileDescriptorSet)
	for _, raw := range reply.GetFileDescriptorResponse().GetFileDescriptorProto() {
		file := new(descriptorpb.FileDescriptorProto)
		require.NoError(t, proto.Unmarshal(raw, file))
		set.File = append(set.File, file)
	}
	require.NoError(t, stream.CloseSend())
	return set
}

func (m *mirror) method(name string) (path string, method protoreflect.MethodDescriptor) {
	return "/" + string(m.service.FullName()) + "/" + name, m.service.Methods().ByName(protoreflect.Name(name))
}

// call makes a unary call. Request and reply go through JSON.
func (m *mirror) call(name string, request object, reply any) error {
	path, method := m.method(name)
	in, out := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := fromJSON(request, in); err != nil {
		return err
	}
	if err := m.conn.Invoke(m.ctx, path, in, out); err != nil {
		return err
	}
	return toJSON(out, reply)
}

func fromJSON(from object, to proto.Message) error {
	text, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return protojson.Unmarshal(text, to)
}

func toJSON(from proto.Message, to any) error {
	text, err := protojson.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, to)
}

// await waits until the sandbox is in a state, and returns what was seen then.
func (m *mirror) await(t *testing.T, id, state string) (got sandbox) {
	t.Helper()
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		require.NoError(t, m.call("GetSandbox", object{"sandboxId": id}, &got))
		assert.Equal(t, state, got.Status.State)
	}, patience, 10*time.Millisecond)
	return got
}

// listed returns the ids of the active sandboxes with a tag.
func (m *mirror) listed(t *testing.T, tag string) []string {
	t.Helper()
	var reply struct{ Sandboxes []sandbox }
	require.NoError(t, m.call("ListSandboxes", object{"tags": []string{tag}}, &reply))
	var ids []string
	for _, sb := range reply.Sandboxes {
		ids = append(ids, sb.SandboxID)
	}
	return ids
}

// mirrorStream is a call with streams in both directions.
type mirrorStream struct {
	grpc.ClientStream
	method protoreflect.MethodDescriptor
}

// execFrame is a frame of a running command: one of its fields is set.
type execFrame struct {
	Ready  *struct{}
	Output *struct {
		Stream string
		Data   []byte
	}
	Exit *struct{ ExitCode int }
}

func (m *mirror) open(t *testing.T, name string) mirrorStream {
	t.Helper()
	path, method := m.method(name)
	desc := &grpc.StreamDesc{StreamName: name, ClientStreams: true, ServerStreams: true}
	stream, err := m.conn.NewStream(m.ctx, desc, path)
	require.NoError(t, err)
	return mirrorStream{stream, method}
}

func (s mirrorStream) send(t *testing.T, frame object) {
	t.Helper()
	message := dynamicpb.NewMessage(s.method.Input())
	require.NoError(t, fromJSON(frame, message))
	require.NoError(t, s.SendMsg(message))
}

func (s mirrorStream) receive(t *testing.T) execFrame {
	t.Helper()
	message := dynamicpb.NewMessage(s.method.Output())
	require.NoError(t, s.RecvMsg(message))
	var frame execFrame
	require.NoError(t, toJSON(message, &frame))
	return frame
}

// end expects that the server has nothing more to say.
func (s mirrorStream) end(t *testing.T) {
	t.Helper()
	require.NoError(t, s.CloseSend())
	err := s.RecvMsg(dynamicpb.NewMessage(s.method.Output()))
	require.ErrorIs(t, err, io.EOF)
}
