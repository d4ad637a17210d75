package localserver

import (
	"context"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/cwsandbox/cwsandbox-go/internal/localserver/scripted"
	sandboxv1 "github.com/cwsandbox/cwsandbox-go/proto/coreweave/sandbox/v1"
)

// mainServices are the services of the main listener.
var mainServices = []protoreflect.ServiceDescriptor{
	sandboxv1.File_coreweave_sandbox_v1_sandbox_proto.Services().ByName("SandboxService"),
	sandboxv1.File_coreweave_sandbox_v1_sandbox_template_proto.Services().ByName("SandboxTemplateService"),
	sandboxv1.File_coreweave_sandbox_v1_volume_proto.Services().ByName("VolumeService"),
	sandboxv1.File_coreweave_sandbox_v1_discovery_proto.Services().ByName("DiscoveryService"),
	sandboxv1.File_coreweave_sandbox_v1_settings_proto.Services().ByName("SettingsService"),
}

// methods lists every rpc of the main listener.
func methods() []protoreflect.MethodDescriptor {
	var list []protoreflect.MethodDescriptor
	for _, service := range mainServices {
		for i := range service.Methods().Len() {
			list = append(list, service.Methods().Get(i))
		}
	}
	return list
}

// callEmpty calls any rpc with an empty request and returns its error.
func (w *world) callEmpty(ctx context.Context, m protoreflect.MethodDescriptor) error {
	name := "/" + string(m.Parent().FullName()) + "/" + string(m.Name())
	desc := &grpc.StreamDesc{ClientStreams: m.IsStreamingClient(), ServerStreams: true}
	stream, err := w.cc.NewStream(ctx, desc, name)
	if err != nil {
		return err
	}
	if err := stream.SendMsg(dynamicpb.NewMessage(m.Input())); err != nil {
		return stream.RecvMsg(dynamicpb.NewMessage(m.Output()))
	}
	_ = stream.CloseSend()
	return lastError(func() error { return stream.RecvMsg(dynamicpb.NewMessage(m.Output())) })
}

func TestCredentials(t *testing.T) {
	withAuth := func(values ...string) context.Context {
		return metadata.AppendToOutgoingContext(context.Background(), values...)
	}

	t.Run("C-005", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, header := range []string{"Bearer x", "bearer x", "BEARER some-token"} {
				_, err := w.api.ListSandboxes(withAuth("authorization", header), &sandboxv1.ListSandboxesRequest{})
				assert.NoError(t, err, header)
			}
		})
	})
	t.Run("C-006", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, m := range methods() {
				for _, ctx := range []context.Context{
					context.Background(), withAuth("authorization", "Bearer  "), withAuth("authorization", "Basic x"), withAuth("x-wandb-api-key", " "),
				} {
					w.requireRefused(refused{code: codes.Unauthenticated}, w.callEmpty(ctx, m))
				}
			}
		})
	})
	t.Run("C-007", func(t *testing.T) {
		keys := []Key{{Token: "plain", User: "ann"}, {Token: "boss", User: "bob", Admin: true}}
		inWorld(t, Options{Keys: keys}, func(w *world) {
			var guarded []string
			for _, m := range methods() {
				w.requireRefused(refused{code: codes.Unauthenticated}, w.callEmpty(as(context.Background(), "other"), m))
				if status.Code(w.callEmpty(as(context.Background(), "plain"), m)) == codes.PermissionDenied {
					guarded = append(guarded, string(m.Name()))
					require.NotEqual(t, codes.PermissionDenied, status.Code(w.callEmpty(as(context.Background(), "boss"), m)))
				}
			}
			assert.ElementsMatch(t, slices.Collect(maps.Keys(adminMethods)), guarded)
		})
	})
	t.Run("C-008", func(t *testing.T) {
		inWorld(t, Options{Keys: []Key{{Token: "another"}}}, func(w *world) {
			one := withAuth("x-wandb-api-key", "k1", "x-entity-id", "team")
			sb, err := w.api.CreateSandbox(one, createOf(aSpec()))
			require.NoError(t, err)
			two := withAuth("x-wandb-api-key", "k2", "x-entity-id", "team")
			_, err = w.api.GetSandbox(two, &sandboxv1.GetSandboxRequest{SandboxId: sb.GetSandboxId()})
			w.requireRefused(isGone, err)
		})
	})
	t.Run("a list of keys can hold for W&B keys too", func(t *testing.T) {
		inWorld(t, Options{Keys: []Key{{Token: "k1", User: "ann", Organization: "acme", Admin: true}}, OnlyListed: true}, func(w *world) {
			w.ctx = withAuth("x-wandb-api-key", "k2")
			_, err := w.api.ListSandboxes(w.ctx, &sandboxv1.ListSandboxesRequest{})
			w.requireRefused(refused{code: codes.Unauthenticated}, err)
			w.ctx = withAuth("x-wandb-api-key", "k1")
			id := w.run()
			_, err = w.settings().CreateSecretStore(w.ctx, &sandboxv1.CreateSecretStoreRequest{})
			w.requireRefused(refused{code: codes.PermissionDenied}, err)
			w.ctx = as(context.Background(), "k1")
			assert.Equal(t, running, w.state(id), "the administrator is of the same organization")
		})
	})
}

func TestVisibility(t *testing.T) {
	keys := []Key{
		{Token: "ann", User: "ann"}, {Token: "bob", User: "bob"}, {Token: "boss", User: "boss", Admin: true},
		{Token: "far", User: "ann", Organization: "elsewhere", Admin: true},
	}
	t.Run("C-009", func(t *testing.T) {
		inWorld(t, Options{Keys: keys}, func(w *world) {
			w.ctx = as(context.Background(), "ann")
			id := w.run()
			for _, token := range []string{"bob", "far"} {
				w.ctx = as(context.Background(), token)
				for name, err := range w.everyCall(id) {
					assert.NotNil(t, err, name)
					w.requireRefused(isGone, err)
				}
				assert.Empty(t, w.list(&sandboxv1.ListSandboxesRequest{}))
			}
			w.ctx = as(context.Background(), "boss")
			assert.Empty(t, w.list(&sandboxv1.ListSandboxesRequest{}), "a list is the caller's own")
			w.delete(id, 0)
			synctest.Wait()
			assert.Equal(t, completed, w.state(id))
		})
	})
}

// everyCall makes each call that takes the id of a sandbox.
func (w *world) everyCall(id string) map[string]error {
	errs := w.dataCalls(id)
	_, errs["GetSandbox"] = w.api.GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
	_, errs["DeleteSandbox"] = w.api.DeleteSandbox(w.ctx, &sandboxv1.DeleteSandboxRequest{SandboxId: id})
	return errs
}

// dataCalls makes each call that needs a running sandbox.
func (w *world) dataCalls(id string) map[string]error {
	errs := make(map[string]error)
	_, errs["Exec"] = w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"true"}})
	_, errs["ReadFile"] = w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: "/f"})
	_, errs["WriteFile"] = w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/f"})
	logs, err := w.api.StreamLogs(w.ctx, &sandboxv1.StreamLogsRequest{SandboxId: id})
	require.NoError(w, err)
	errs["StreamLogs"] = lastError(func() error { _, err := logs.Recv(); return err })
	exec, err := w.api.StreamExec(w.ctx)
	require.NoError(w, err)
	w.sendInit(exec, &sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"true"}})
	errs["StreamExec"] = lastError(func() error { _, err := exec.Recv(); return err })
	return errs
}

func TestServices(t *testing.T) {
	t.Run("C-010", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			ctx := context.Background()
			names := []string{""}
			for _, s := range mainServices {
				names = append(names, string(s.FullName()))
			}
			for _, name := range names {
				resp, err := healthv1.NewHealthClient(w.cc).Check(ctx, &healthv1.HealthCheckRequest{Service: name})
				require.NoError(t, err, name)
				assert.Equal(t, healthv1.HealthCheckResponse_SERVING, resp.GetStatus(), name)
			}
			stream, err := reflectionv1.NewServerReflectionClient(w.cc).ServerReflectionInfo(ctx)
			require.NoError(t, err)
			require.NoError(t, stream.Send(&reflectionv1.ServerReflectionRequest{
				MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{},
			}))
			resp, err := stream.Recv()
			require.NoError(t, err)
			var listed []string
			for _, s := range resp.GetListServicesResponse().GetService() {
				listed = append(listed, s.GetName())
			}
			assert.Subset(t, listed, names[1:])
			assert.Contains(t, listed, "grpc.reflection.v1alpha.ServerReflection")
			require.NoError(t, stream.CloseSend())
		})
	})
	t.Run("C-011", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			_, err := sandboxv1.NewSandboxDataPlaneServiceClient(w.cc).Exec(w.ctx, &sandboxv1.ExecRequest{})
			w.requireRefused(refused{code: codes.Unimplemented}, err)
			err = w.cc.Invoke(w.ctx, "/coreweave.sandbox.v1.NetworkService/ListNetworks", &emptypb.Empty{}, &emptypb.Empty{})
			w.requireRefused(refused{code: codes.Unimplemented}, err)
		})
	})
	t.Run("every method is served", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for _, m := range methods() {
				if m.Name() != "ConnectSandbox" { // there are no direct connections here
					assert.NotEqual(t, codes.Unimplemented, status.Code(w.callEmpty(w.ctx, m)), m.Name())
				}
			}
		})
	})
	t.Run("C-018", func(t *testing.T) {
		inWorld(t, Options{DisabledMethods: []string{"ReadFile", "StreamLogs"}}, func(w *world) {
			errs := w.dataCalls("sb-none")
			for _, name := range []string{"ReadFile", "StreamLogs"} {
				w.requireRefused(refused{code: codes.Unimplemented, reason: "CWSANDBOX_NOT_IMPLEMENTED"}, errs[name])
			}
			w.requireRefused(isGone, errs["Exec"])
			_, err := w.api.ReadFile(context.Background(), &sandboxv1.ReadFileRequest{})
			w.requireRefused(refused{code: codes.Unauthenticated}, err)
		})
	})
}

func TestTransport(t *testing.T) {
	t.Run("C-012", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			write := func(size int) error {
				_, err := w.api.WriteFile(w.ctx, &sandboxv1.WriteFileRequest{SandboxId: id, Path: "/f", Content: make([]byte, size)})
				return err
			}
			w.requireRefused(refused{code: codes.FailedPrecondition, reason: "CWSANDBOX_FILE_TOO_LARGE"}, write(99<<20))
			err := write(101 << 20)
			w.requireRefused(refused{code: codes.ResourceExhausted}, err)
			assert.Contains(t, err.Error(), "message")
			assert.Contains(t, err.Error(), "larger than max")
		})
	})
	t.Run("C-014", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			ctx := metadata.AppendToOutgoingContext(w.ctx, "x-cwsandbox-client-version", "9", "x-nobody-knows", "this")
			req := createOf(aSpec())
			req.Sandbox.Spec.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 900, protowire.BytesType), "future"))
			sb, err := w.api.CreateSandbox(ctx, req, grpc.UseCompressor(gzip.Name))
			require.NoError(t, err)
			assert.Contains(t, string(sb.GetSpec().ProtoReflect().GetUnknown()), "future")
		})
	})
	t.Run("C-015", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			w.srv.PauseServer()
			ctx, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
			defer cancel()
			_, err := w.api.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			w.requireRefused(refused{code: codes.DeadlineExceeded}, err)
			w.srv.ResumeServer()
			assert.Equal(t, running, w.state(id))
		})
	})
	t.Run("a stream limit", func(t *testing.T) {
		inWorld(t, Options{MaxConcurrentStreams: 1}, func(w *world) {
			id := w.run()
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"cat"}})
			ctx, cancel := context.WithTimeout(w.ctx, time.Second)
			defer cancel()
			_, err := w.api.GetSandbox(ctx, &sandboxv1.GetSandboxRequest{SandboxId: id})
			w.requireRefused(refused{code: codes.DeadlineExceeded}, err)
			require.NoError(t, stream.CloseSend())
			require.NoError(t, lastError(func() error { _, err := stream.Recv(); return err }))
			assert.Equal(t, running, w.state(id))
		})
	})
}

func TestErrorShape(t *testing.T) {
	t.Run("C-016", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			id := w.run()
			for _, long := range []string{strings.Repeat("x", 5000), strings.Repeat("ü", 3000), "/" + strings.Repeat("€", 2000)} {
				var trailer metadata.MD
				_, err := w.api.ReadFile(w.ctx, &sandboxv1.ReadFileRequest{SandboxId: id, Path: long}, grpc.Trailer(&trailer))
				text := status.Convert(err).Message()
				path := w.info(err).GetMetadata()["filepath"]
				for _, s := range []string{text, path} {
					assert.LessOrEqual(t, len(s), 1024)
					assert.Greater(t, len(s), 1020)
					assert.Equal(t, strings.ToValidUTF8(s, "?"), s)
				}
				assert.True(t, strings.HasPrefix(long, path))
				assert.Less(t, wireSize(trailer, text), 8<<10)
			}
			bad := createOf(aSpec())
			for range 500 {
				bad.Sandbox.Spec.Tags = append(bad.Sandbox.Spec.Tags, "-")
			}
			var trailer metadata.MD
			_, err := w.api.CreateSandbox(w.ctx, bad, grpc.Trailer(&trailer))
			assert.Less(t, wireSize(trailer, status.Convert(err).Message()), 8<<10)
		})
	})
	t.Run("C-017", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			for name, err := range w.everyCall("sb-none") {
				assert.Equal(t, "cwsandbox.com", w.info(err).GetDomain(), name)
				assert.NotEmpty(t, w.info(err).GetReason(), name)
				var trailer metadata.MD
				_, err := w.api.GetSandbox(w.ctx, &sandboxv1.GetSandboxRequest{SandboxId: "sb-none"}, grpc.Trailer(&trailer))
				require.Len(t, trailer.Get("grpc-status-details-bin"), 1)
				inner := status.Convert(err).Proto()
				assert.Equal(t, int32(status.Code(err)), inner.GetCode())
				assert.Equal(t, status.Convert(err).Message(), inner.GetMessage())
			}
		})
	})
}

// wireSize is what trailers take on the wire: binary values in base64, the message percent-encoded.
func wireSize(trailer metadata.MD, message string) int {
	size := 0
	for key, values := range trailer {
		for _, v := range values {
			size += len(key) + len(v)*4/3 + 4 + 32
		}
	}
	for _, b := range []byte(message) {
		if size++; b < ' ' || b > '~' || b == '%' {
			size += 2
		}
	}
	return size
}

func TestClose(t *testing.T) {
	t.Run("calls in flight end unavailable", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, Options{})
			id := w.run(command("ignore-term"))
			stream := w.openExec(&sandboxv1.ExecStreamInit{SandboxId: id, Command: []string{"cat"}})
			logs, err := w.api.StreamLogs(w.ctx, &sandboxv1.StreamLogsRequest{SandboxId: id, Follow: true})
			require.NoError(t, err)
			unary := make(chan error)
			go func() {
				_, err := w.api.Exec(w.ctx, &sandboxv1.ExecRequest{SandboxId: id, Command: []string{"sleep", "infinity"}})
				unary <- err
			}()
			synctest.Wait()
			began := time.Now()
			closed := make(chan error)
			go func() { closed <- w.srv.Close() }()
			unavailable := refused{code: codes.Unavailable}
			w.requireRefused(unavailable, <-unary)
			w.requireRefused(unavailable, lastError(func() error { _, err := stream.Recv(); return err }))
			w.requireRefused(unavailable, lastError(func() error { _, err := logs.Recv(); return err }))
			_, err = w.api.CreateSandbox(w.ctx, createOf(aSpec()))
			w.requireRefused(unavailable, err)
			resp, err := healthv1.NewHealthClient(w.cc).Check(context.Background(), &healthv1.HealthCheckRequest{})
			require.NoError(t, err)
			assert.Equal(t, healthv1.HealthCheckResponse_NOT_SERVING, resp.GetStatus())
			require.NoError(t, <-closed)
			assert.Equal(t, 2*time.Second, time.Since(began), "the grace, and no longer")
			require.NoError(t, w.cc.Close())
			require.NoError(t, w.srv.Close(), "a second Close does nothing")
		})
	})
	t.Run("held calls and sandboxes do not hold it up", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			w.srv.Hold("held", creating)
			w.srv.Hold("held", terminating)
			w.delete(w.create(tagged("held")).GetSandboxId(), 0)
			w.create(tagged("held"))
			w.srv.PauseServer()
			go func() { _, _ = w.api.ListSandboxes(w.ctx, &sandboxv1.ListSandboxesRequest{}) }()
			synctest.Wait()
		})
	})
	t.Run("nor do clients that say nothing", func(t *testing.T) {
		inWorld(t, Options{}, func(w *world) {
			l := bufconn.Listen(1 << 10)
			served := make(chan error)
			go func() { served <- w.srv.Serve(l) }()
			conn, err := l.Dial()
			require.NoError(t, err)
			defer conn.Close()
			synctest.Wait()
			began := time.Now()
			require.NoError(t, w.srv.Close())
			assert.LessOrEqual(t, time.Since(began), closeGrace)
			require.NoError(t, <-served)
		})
	})
	t.Run("with a manual clock", func(t *testing.T) {
		inWorld(t, Options{Clock: NewManualClock(time.Now())}, func(w *world) { w.run(command("ignore-term")) })
	})
}

func TestServeOnLoopback(t *testing.T) {
	srv, err := New(Options{Runtime: scripted.New(programs...)})
	require.NoError(t, err)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(lis) }()
	cc, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	_, err = sandboxv1.NewSandboxServiceClient(cc).CreateSandbox(as(t.Context(), "k"), createOf(aSpec()))
	require.NoError(t, err)
	require.NoError(t, cc.Close())
	require.NoError(t, srv.Close())
	require.NoError(t, <-served)
	_, err = net.Dial("tcp", lis.Addr().String())
	assert.Error(t, err, "nothing listens any more")
}

func TestOptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no runtime":          func(o *Options) { o.Runtime = nil },
		"lifetime state":      func(o *Options) { o.LifetimeEndsIn = running },
		"delete state":        func(o *Options) { o.DeleteEndsIn = failed },
		"key without a token": func(o *Options) { o.Keys = []Key{{User: "ann"}} },
		"processor ceiling":   func(o *Options) { o.ResourceCeiling.CPU = "many" },
		"memory ceiling":      func(o *Options) { o.ResourceCeiling.Memory = "much" },
		"unknown method":      func(o *Options) { o.DisabledMethods = []string{"Fly"} },
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Runtime: scripted.New()}
			change(&o)
			_, err := New(o)
			assert.Error(t, err)
		})
	}
}
